"""The entropy-regularized regulator: SciPy's Riccati equation, Bellman's, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

import sobirl as sb
from estimators import compiled, finite_differences
from sobirl.core.errors import ConvergenceError, InvalidInputError

RNG = np.random.default_rng(0)
A = np.eye(3) + 0.3 * RNG.normal(size=(3, 3))
B = RNG.normal(size=(3, 2))
Q, R = np.diag([1.0, 2.0, 0.5]), np.array([[0.5, 0.1], [0.1, 0.3]])
NOISE = 0.04 * np.eye(3)
DISCOUNT, TEMPERATURE = 0.9, 0.2


def regulator(**changes):
    given = {"A": A, "B": B, "Q": Q, "R": R, "discount": DISCOUNT, "temperature": TEMPERATURE}
    return sb.EntropyLQR(**{**given, "noise": NOISE, **changes})


@pytest.fixture(scope="module")
def response():
    return sb.solve(regulator())


def test_scipy_solves_the_same_equation(response):
    root = np.sqrt(DISCOUNT)
    expected = linalg.solve_discrete_are(root * A, root * B, Q, R)
    np.testing.assert_allclose(response.curvature, expected, rtol=1e-10)
    assert response.status == sb.Status.CONVERGED


def test_the_policy_is_the_softmax_of_the_bellman_backup(response):
    """r + γ E V - V is τ log π, at any state and action."""
    state, action = jnp.asarray(RNG.normal(size=(5, 3))), jnp.asarray(RNG.normal(size=(5, 2)))
    mean = state @ A.T + action @ B.T
    P = np.asarray(response.curvature)
    after = response.offset - np.einsum("ki,ij,kj->k", mean, P, mean) - np.trace(P @ NOISE)
    reward = -np.einsum("ki,ij,kj->k", state, Q, state) - np.einsum(
        "ki,ij,kj->k", action, R, action
    )
    surplus = reward + DISCOUNT * after - response.value(state)
    np.testing.assert_allclose(surplus, TEMPERATURE * response.log_prob(state, action), rtol=1e-9)


def test_moments_are_those_of_samples(response):
    lower = regulator()
    first = jnp.array([1.0, 0.0, -1.0])
    mean, covariance = lower.moments(response, first, 0.1 * jnp.eye(3), 3)

    @compiled
    def play(key):
        keys = jax.random.split(key, 5)
        state = first + np.sqrt(0.1) * jax.random.normal(keys[0], (20_000, 3))
        for act, luck in zip(keys[1:3], keys[3:], strict=True):
            action = response.sample(act, state)
            state = state @ A.T + action @ B.T + 0.2 * jax.random.normal(luck, state.shape)
        return state

    state = np.asarray(play(jax.random.key(0)))
    spread = np.sqrt(np.diag(covariance[2]))
    assert (np.abs(state.mean(0) - mean[2]) < 5 * spread / np.sqrt(20_000)).all()
    np.testing.assert_allclose(np.cov(state.T), covariance[2], atol=0.05 * spread.max() ** 2)


def test_two_witnesses_of_the_derivative():
    x = {"A": jnp.asarray(A), "B": jnp.asarray(B), "R": jnp.asarray(R), "temperature": 0.2}

    def symmetric(x):
        return {**x, "R": (x["R"] + x["R"].T) / 2}

    def judged(response):
        sizes = jnp.arange(1.0, 4.0)
        judged = jnp.sum(jnp.sin(response.gain)) + response.value(sizes)
        return judged + jnp.linalg.slogdet(response.covariance)[1]

    def implicit(x):
        return judged(regulator(**symmetric(x)).solve(throw=False))

    def unrolled(x):
        x = symmetric(x)
        problem = sb.solvers.riccati.Quadratic(x["A"], x["B"], jnp.asarray(Q), x["R"], DISCOUNT)
        P, _ = jax.lax.scan(lambda P, _: (problem.backup(P), None), jnp.asarray(Q), length=250)
        K, S = problem.control(P)
        tau = x["temperature"]
        entropy = 2 * jnp.log(jnp.pi * tau) - jnp.linalg.slogdet(S)[1]
        offset = (tau / 2 * entropy - DISCOUNT * jnp.sum(P * NOISE)) / (1 - DISCOUNT)
        covariance = tau / 2 * jnp.linalg.inv(S)
        zero = jnp.zeros(())
        return judged(sb.GaussianResponse(K, covariance, P, offset, zero, jnp.int32(0)))

    x = jax.tree.map(jnp.asarray, x)
    exact, expected = compiled(jax.grad(implicit))(x), compiled(jax.grad(unrolled))(x)
    for found, wanted in zip(jax.tree.leaves(exact), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(exact)])
    np.testing.assert_allclose(flat, finite_differences(implicit, x), rtol=1e-5, atol=1e-5)


def test_many_at_once_and_second_derivatives():
    """Forward over reverse, in a batch."""

    def gain(scale):
        return jnp.sum(regulator(A=scale * jnp.asarray(A)).solve(throw=False).gain)

    scales = jnp.linspace(0.5, 1.1, 17)
    second = compiled(jax.vmap(jax.hessian(gain)))(scales)
    slope = compiled(jax.vmap(jax.grad(gain)))
    expected = (slope(scales + 1e-5) - slope(scales - 1e-5)) / 2e-5
    np.testing.assert_allclose(second, expected, rtol=1e-5, atol=1e-6)


def test_a_state_that_no_action_reaches_and_that_grows():
    lost = {"A": np.diag([2.0, 0.5, 0.5]), "B": np.eye(3)[:, 1:]}
    with pytest.raises(ConvergenceError, match="no gain keeps the follower's discounted costs"):
        sb.solve(regulator(**lost))
    assert sb.solve(regulator(**lost), throw=False).status == sb.Status.NOT_FINITE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": np.eye(2)}, r"A: expected shape \(3, 3\), got \(2, 2\)"),
        ({"B": np.ones(3)}, "B: must have two axes, states and actions"),
        ({"Q": np.diag([1.0, 1, -1])}, "Q: must be positive semidefinite; its least eigenvalue"),
        ({"R": np.zeros((2, 2))}, "R: must be positive definite; its least eigenvalue"),
        ({"R": np.array([[1.0, 0.5], [0, 1]])}, "R: must be symmetric"),
        ({"A": np.full((3, 3), np.nan)}, "A: must be finite"),
        ({"discount": 1.0}, r"discount: must lie in \(0, 1\), got 1"),
        ({"temperature": 0.0}, "temperature: must be positive, got 0"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        regulator(**changes)
