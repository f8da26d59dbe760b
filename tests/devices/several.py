"""Run by `test_devices`: solves, gradients and starts on several devices against one.

Arguments: the number of virtual devices of this process, its number, how many processes there are,
and the address of the first. Of two devices only one solve is compared: programs for several
devices take long to compile.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from quick_compilation import flags

devices, process, processes = map(int, sys.argv[1:4])
os.environ["XLA_FLAGS"] = f"{flags()} --xla_force_host_platform_device_count={devices}"

import jax

jax.config.update("jax_enable_x64", True)
if processes > 1:
    jax.distributed.initialize(sys.argv[4], processes, process)
assert len(jax.devices()) == devices * processes

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

import sobirl as sb

STATES, ACTIONS, SUCCESSORS = 30, 2, 3


def here(array):
    """The whole of an array, wherever its parts are."""
    if processes > 1:
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


def random_mdp(rng, dense):
    successors = rng.integers(0, STATES, (STATES, ACTIONS, SUCCESSORS))
    law = sb.SuccessorList(successors, rng.dirichlet(np.ones(SUCCESSORS), (STATES, ACTIONS)))
    if dense:
        law = sb.Dense(rng.dirichlet(np.ones(STATES), (STATES, ACTIONS)))
    return sb.SoftMDP(
        law,
        rng.uniform(size=(STATES, ACTIONS)),
        0.95,
        0.1,
        rng.dirichlet(np.ones(STATES)),
        rng.uniform(0.1, 1, (STATES, ACTIONS)),
    )


@eqx.filter_jit
def value_and_gradient(mdp, weights, solver):
    def loss(mdp):
        solution = sb.solve(mdp, solver, throw=False)
        visits = sb.occupancy(mdp, solution.policy, linear_solver=solver.linear_solver)
        return jnp.sum(weights * (solution.policy + visits))

    return eqx.filter_value_and_grad(loss)(mdp)


SOLVERS = (
    sb.ValueIteration(linear_solver=sb.Sweeping()),
    sb.PolicyIteration(linear_solver=sb.Krylov(restart=10)),
)


def check_states():
    rng = np.random.default_rng(0)
    few = jax.device_count() == 2 and processes == 1
    for dense in (False,) if few else (False, True):
        mdp = random_mdp(rng, dense)
        padded = sb.pad_states(mdp, jax.device_count())
        size = padded.shape[0]
        weights = np.zeros((size, ACTIONS))
        weights[:STATES] = rng.normal(size=(STATES, ACTIONS))
        spread = sb.shard_states(padded)
        assert spread.reward.addressable_shards[0].data.shape == (
            size // jax.device_count(),
            ACTIONS,
        )
        for solver in SOLVERS[:1] if dense or few else SOLVERS:
            ours, gradient = value_and_gradient(spread, weights, solver)
            expected, expected_gradient = value_and_gradient(padded, weights, solver)
            np.testing.assert_allclose(here(ours), expected, rtol=1e-9)
            for array in ("reward", "temperature", "initial"):
                np.testing.assert_allclose(
                    here(getattr(gradient, array)),
                    getattr(expected_gradient, array),
                    rtol=1e-7,
                    atol=1e-9,
                )
        chosen = sb.solve(spread, throw=False).value
        np.testing.assert_allclose(here(chosen)[:STATES], sb.solve(mdp).value, rtol=1e-9)


def check_starts():
    rng = np.random.default_rng(1)
    mdp = random_mdp(rng, dense=False)
    target = rng.normal(size=(STATES, ACTIONS))

    def follower(x):
        return eqx.tree_at(lambda m: m.reward, mdp, mdp.reward + x)

    def objective(x, response):
        return jnp.sum(target * response.policy) + jnp.sum(x**2)

    problem = sb.BilevelProblem(follower, objective)
    starts = 2 * jax.device_count()
    x0 = 0.1 * rng.normal(size=(starts, STATES, ACTIONS))
    options = {"starts": starts, "num_steps": 3, "optimizer": optax.sgd(0.05)}
    one = sb.minimize(problem, jnp.asarray(x0), **options)
    several = sb.minimize(problem, jnp.asarray(x0), devices=jax.devices(), **options)
    np.testing.assert_allclose(several.x, one.x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(several.history["objective"], one.history["objective"], rtol=1e-9)

    contexts = jnp.linspace(0.5, 1.5, starts)

    def in_context(x, context):
        return eqx.tree_at(lambda m: m.reward, mdp, mdp.reward * context + x)

    def judged(x, response, context):
        return objective(x, response)

    gradients = [
        jax.jit(jax.grad(sb.BilevelProblem(in_context, judged, c).value))(x0[0])
        for c in (contexts, sb.shard_batch(contexts))
    ]
    np.testing.assert_allclose(here(gradients[1]), gradients[0], rtol=1e-8, atol=1e-12)


check_states()
if processes == 1:
    check_starts()
print("agrees", flush=True)
