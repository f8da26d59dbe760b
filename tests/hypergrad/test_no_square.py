"""Above the size where factors are dense, nothing of size S×S is formed, by anyone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

import sobirl as sb
from sobirl.hypergrad import METHODS
from sobirl.solvers import solvers
from sobirl.solvers.linear import auto

STATES, ACTIONS = 37, 2  # nothing else has 37 of anything


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """37 states count as many."""
    for module, name in ((auto, "DENSE_STATES"), (auto, "SMALL_STATES"), (solvers, "DENSE_STATES")):
        monkeypatch.setattr(module, name, STATES - 1)


def follower(x):
    states = np.arange(STATES)[:, None, None]
    successors = np.broadcast_to((states + np.array([-1, 0, 1])) % STATES, (STATES, ACTIONS, 3))
    law = sb.SuccessorList(successors, np.full(successors.shape, 1 / 3))
    return sb.SoftMDP(law, x, 0.9, 0.5, np.full(STATES, 1 / STATES))


def shapes(jaxpr):
    """Of everything that a program computes, in whatever it calls."""
    for eqn in jaxpr.eqns:
        for variable in eqn.outvars:
            yield getattr(variable.aval, "shape", ())
        for value in jax.tree.leaves(
            eqn.params, is_leaf=lambda v: isinstance(v, ClosedJaxpr | Jaxpr)
        ):
            if isinstance(value, ClosedJaxpr):
                yield from shapes(value.jaxpr)
            elif isinstance(value, Jaxpr):
                yield from shapes(value)


def squares(function, *args):
    """Shapes with the states in them twice."""
    jaxpr = eqx.filter_make_jaxpr(function)(*args)[0]
    found = list(shapes(jaxpr.jaxpr))
    assert len(found) > 100
    return {s for s in found if sum(n % STATES == 0 for n in s if n) > 1 or STATES**2 in s}


X = jnp.zeros((STATES, ACTIONS))


def test_the_test_sees_squares():
    def dense(x):
        solution = sb.solve(follower(x), sb.PolicyIteration(linear_solver=sb.DenseLU()))
        return jnp.sum(solution.value)

    assert (STATES, STATES) in squares(jax.grad(dense), X)


def respond(x):
    return jnp.sum(sb.solve(follower(x)).policy ** 2)


def evaluate(x):
    mdp = follower(x)
    policy = jax.nn.softmax(x)
    value = sb.policy_value(mdp, policy) + sb.policy_value(mdp, policy, horizon=5)
    visits = sb.occupancy(mdp, policy) + sb.occupancy(mdp, policy, horizon=5)
    return jnp.sum(value) + jnp.sum(visits**2)


@pytest.mark.parametrize("function", [respond, evaluate])
def test_derivatives_form_no_square(function):
    assert not squares(jax.grad(function), X)
    assert not squares(lambda x: jax.jvp(jax.grad(function), (x,), (x,)), X)


def problem_for(needs):
    if needs.objective == "loss":

        def loss(x, trajectories):
            return jnp.sum(x[trajectories.state, trajectories.action] ** 2)

        objective = sb.TrajectoryLoss(follower, loss, horizon=1)
    else:
        objective = sb.LeaderReturn(follower, lambda x: x**2)
    return sb.BilevelProblem(follower, objective)


@pytest.mark.parametrize("name", METHODS)
def test_methods_form_no_square(name):
    method = METHODS[name].make(24)
    problem = problem_for(method.needs)
    key = jax.random.key(0)
    state = method.init(problem, X, key)
    assert not squares(lambda x, state: method.estimate(problem, x, state, key), X, state)
