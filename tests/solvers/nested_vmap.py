"""A program that hung for ever in jaxlib 0.10 on two cores; `test_batching` runs it.

Gradient steps on 16 seeds × 2 contexts of a 105-state problem, in one compiled loop.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sobirl.mdp import SoftMDP, SuccessorList
from sobirl.solvers import policy_return, solve

STATES, ACTIONS, SUCCESSORS = 105, 4, 3
SEEDS, CONTEXTS, STEPS = 16, 2, 60
DISCOUNTS = (0.8, 0.85, 0.9, 0.95)


def main():
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)
    transition = SuccessorList(
        rng.integers(STATES, size=(STATES, ACTIONS, SUCCESSORS)),
        rng.dirichlet(np.ones(SUCCESSORS), size=(STATES, ACTIONS)),
    )
    goals = jnp.asarray(rng.normal(size=(CONTEXTS, STATES)))
    starts = jnp.asarray(rng.normal(size=(SEEDS, STATES)))
    initial = np.full(STATES, 1 / STATES)

    def objective(x, goal):
        mdp = SoftMDP(transition, goal - x, 0.9, 1.0, initial)
        policy = solve(mdp, throw=False).policy
        # Evaluations that do not depend on each other are what used to hang.
        returns = [policy_return(mdp, policy, goal + x, discount) for discount in DISCOUNTS]
        return -sum(returns) / len(returns)

    def mean_objective(x):
        return jnp.mean(jax.vmap(objective, (None, 0))(x, goals))

    def descend(x, _):
        value, gradient = jax.value_and_grad(mean_objective)(x)
        return x - 0.1 * gradient, value

    run = jax.jit(jax.vmap(lambda x: jax.lax.scan(descend, x, None, length=STEPS)[1]))
    values = np.asarray(run(starts))
    assert values.shape == (SEEDS, STEPS)
    assert np.all(np.diff(values, axis=1) < 0), values
    print("finished")


if __name__ == "__main__":
    main()
