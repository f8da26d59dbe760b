"""Estimates along trajectories: the mean of many against the exact gradient, or how far it is off.

The exact gradient is that of `problem.value`, which has its own tests against finite differences.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from estimators import (
    BEST_WAGE,
    INCENTIVES,
    assert_mean,
    assert_not_mean,
    chains,
    compiled,
    estimate,
    estimates,
    gradient,
    learned_wage,
)
from sobirl.hypergrad.experience import Setting, Streams

PROBLEM, X = INCENTIVES.problem(), INCENTIVES.x0()
EPISODES = {"num_envs": 16, "rollout_steps": 40, "episodes": "single"}


@pytest.fixture(scope="module")
def exact():
    return gradient(PROBLEM, X)


@pytest.fixture(scope="module")
def explicit():
    """∂_x f at the follower's policy, held fixed."""
    response = sb.solve(INCENTIVES.follower(X)).response
    return np.asarray(compiled(jax.grad(PROBLEM.upper))(X, response)["pay"])


@pytest.mark.parametrize("advantage", ["exact", pytest.param("rollouts", marks=pytest.mark.slow)])
def test_the_advantage_trace_is_unbiased(exact, advantage):
    samples = estimates(sb.AdvantageTrace(**EPISODES, advantage=advantage), PROBLEM, X, 1000)
    assert_mean(samples, exact)


def steered_contexts():
    """x enters the transitions, two weighted contexts differ, and episodes end in a state."""
    instance = type(INCENTIVES).generate(3, 2, 2, seed=1, steers_transitions=True)
    instance = dataclasses.replace(instance, transition=(instance.transition + 1 / 3) / 2)

    def follower(x, context):
        mdp = instance.follower(x)
        discount = jnp.array([[0.8], [0.8], [0.0]]) * jnp.ones(mdp.shape)
        changed = (mdp.reward + context[:, None], discount)
        return eqx.tree_at(lambda m: (m.reward, m.discount), mdp, changed)

    def leader_reward(x, context):
        return instance.leader_reward(x) * (1 + context[0])

    objective = sb.LeaderReturn(follower, leader_reward)
    contexts, weights = jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, -1.0]]), jnp.array([0.3, 0.7])
    return sb.BilevelProblem(follower, objective, contexts, weights), instance.x0()


def test_transitions_contexts_and_ends_of_episodes_take_part():
    problem, x = steered_contexts()
    method = sb.AdvantageTrace(**EPISODES, advantage="exact")
    assert_mean(estimates(method, problem, x, 1000), gradient(problem, x))


@pytest.mark.slow
@pytest.mark.parametrize("episodes", ["autoreset", "continued"])
def test_batches_that_are_cut_in_other_places(exact, episodes):
    """Once their beginnings are forgotten; a ratio, so not quite unbiased."""
    method = sb.AdvantageTrace(num_envs=4, rollout_steps=60, episodes=episodes, advantage="exact")
    late = chains(method, PROBLEM, X, steps=40, count=1000)[:, 20:].mean(axis=1)
    assert np.linalg.norm(late.mean(axis=0) - exact) < 0.03 * np.linalg.norm(exact)


@pytest.mark.slow
def test_episodes_that_go_on_do_not_keep_in_step(exact):
    """They all take 31 steps: begun together, they would begin in every second batch or so."""
    method = sb.AdvantageTrace(num_envs=8, rollout_steps=20, advantage="exact")
    late = chains(method, PROBLEM, X, steps=40, count=2000)[:, 20:]
    errors = np.linalg.norm(late.mean(axis=0) - exact, axis=-1) / np.linalg.norm(exact)
    assert errors.max() < 0.25


def test_naive_is_the_explicit_derivative(exact, explicit):
    samples = estimates(sb.Naive(**EPISODES), PROBLEM, X, 500)
    assert_mean(samples, explicit)
    assert_not_mean(samples, exact)


@pytest.fixture(scope="module")
def fitted():
    method = sb.AdvantageTrace(num_envs=4, rollout_steps=40, episodes="single")
    return chains(method, PROBLEM, X, steps=20, count=1000)


def relative_error(samples, exact):
    return np.linalg.norm(samples.mean(axis=0) - exact) / np.linalg.norm(exact)


def test_the_fitted_advantage_is_consistent(fitted, exact):
    early, late = fitted[:, 1], fitted[:, 10:].mean(axis=1)
    assert_not_mean(early, exact)
    assert_mean(late, exact)
    assert relative_error(early, exact) > 3 * relative_error(late, exact)


def test_the_fitted_advantage_begins_with_the_explicit_derivative(fitted, explicit):
    assert_mean(fitted[:, 0], explicit)


def test_plug_in_is_consistent(exact):
    method = sb.PlugIn(num_envs=4, rollout_steps=20)
    samples = chains(method, PROBLEM, X, steps=41, count=500)
    errors = [relative_error(samples[:, step], exact) for step in (0, 8, 40)]
    assert_not_mean(samples[:, 0], exact)
    assert errors[0] > 3 * errors[1] > 6 * errors[2]


def discounted_future(values, discount, first):
    """Σ_k γ^k values_{t+k} to the end of the episode, values (N,T,...)."""
    future = np.array(values)
    for t in reversed(range(values.shape[1] - 1)):
        carried = discount * future[:, t + 1]
        future[:, t] += np.where(first[:, t + 1].reshape(-1, *[1] * (values.ndim - 2)), 0, carried)
    return future


def test_the_trace_is_what_hpgds_tables_give():
    """The tables ∇Q̂ and ∇V̂ of S·A·n numbers, formed and used as in the paper."""
    mdp, leader = INCENTIVES.follower(X), np.asarray(INCENTIVES.leader_reward(X))
    own = jnp.full(mdp.shape, INCENTIVES.leader_discount)
    follower = Setting(mdp, sb.solve(mdp).response, jnp.asarray(leader), own)
    streams = Streams.begin(jnp.zeros(4, jnp.int32), float)
    batch, _ = follower.sample(jax.random.key(0), streams, 40, mdp.initial)
    weight = sb.HPGD().implicit(batch, None, jax.random.key(1)).weight

    rollout = jax.tree.map(np.asarray, batch.rollout)
    place = rollout.state, rollout.action
    slopes = INCENTIVES.features[place]
    trace = discounted_future(slopes, INCENTIVES.discount, rollout.first)
    through_trace = np.einsum("nt,ntd->d", weight, trace)

    def table(values):
        """Averages over the visits of (s,a), and of s."""
        sums = np.zeros((*mdp.shape, *values.shape[2:]))
        np.add.at(sums, place, values)
        visits = np.zeros(mdp.shape)
        np.add.at(visits, place, 1)
        visits = visits.reshape(*mdp.shape, *[1] * (values.ndim - 2))
        q = sums / np.maximum(visits, 1)
        return q - (sums.sum(1) / np.maximum(visits.sum(1), 1))[:, None]

    gains = discounted_future(leader[place], INCENTIVES.leader_discount, rollout.first)
    product = table(gains)[..., None] * table(trace)
    through_tables = np.einsum("nt,ntd->d", batch.weight, product[place])
    np.testing.assert_allclose(through_trace, through_tables, rtol=1e-10)


@pytest.mark.slow
def test_hpgd_is_biased_by_its_own_batch(exact):
    """The less, the more it has seen."""
    errors = []
    for num_envs in (1, 16):
        method = sb.HPGD(num_envs=num_envs, rollout_steps=60, episodes="single")
        samples = estimates(method, PROBLEM, X, 1000)
        errors.append(relative_error(samples, exact))
    assert 0.3 > errors[0] > 2 * errors[1]


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["on_policy", "uniform"])
def test_hpgd_with_long_batches(exact, sampling):
    """ρ is uniform here, so that either way states are weighted alike."""
    method = sb.HPGD(num_envs=16, rollout_steps=1000, sampling=sampling)
    assert relative_error(estimates(method, PROBLEM, X, 500), exact) < 0.03


def test_bchg_learns_the_leaders_values(exact):
    """Its first weights have learned from the very steps that they weight; later ones less."""
    method = sb.BCHG(num_envs=4, rollout_steps=40)
    samples = chains(method, PROBLEM, X, steps=30, count=300)
    assert_not_mean(samples[:, 0], exact)
    assert relative_error(samples[:, 0], exact) > 0.3
    assert relative_error(samples[:, 20:].mean(axis=1), exact) < 0.05


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        (sb.AdvantageTrace(3, 5, "single", advantage="rollouts", branches=2), 15 + 2 * 2 * 15),
        pytest.param(sb.HPGD(3, 5, "single", sampling="uniform"), 2 * 15, marks=pytest.mark.slow),
    ],
)
def test_what_a_batch_costs_and_does_not_see(method, steps):
    _, _, metrics = estimate(method, PROBLEM, X)
    assert metrics["environment_steps"] == steps
    np.testing.assert_allclose(metrics["truncation"], 0.7**5)


def test_a_failed_solve_is_reported():
    method = sb.Naive(3, 5, solver=sb.ValueIteration(max_steps=2))
    _, _, metrics = estimate(method, PROBLEM, X)
    assert metrics["status"] == sb.Status.STEP_LIMIT


def test_continued_streams_go_on():
    """Nothing begins in a second batch, if the first was too short for an episode to end."""
    method = sb.Naive(num_envs=3, rollout_steps=5, episodes="continued")
    _, first, _ = estimate(method, PROBLEM, X)
    _, second, _ = estimate(method, PROBLEM, X, first)
    counts = np.array([1, 0, 0])  # the others' first episodes only keep them out of step
    np.testing.assert_allclose(first.streams.weight, counts * 0.7**5)
    np.testing.assert_allclose(second.streams.weight, counts * 0.7**10)
    begun = 1e-3 ** (np.arange(3) / 3)
    np.testing.assert_allclose(second.streams.environments.weight, begun * 0.8**10)
    assert not second.streams.environments.first.any()


SHORT = {"num_envs": 32, "rollout_steps": 20, "solver": sb.ValueIteration(rtol=1e-8)}


@pytest.mark.parametrize(
    "method",
    [
        sb.AdvantageTrace(**SHORT, episodes="single"),
        *(
            pytest.param(method, marks=pytest.mark.slow)
            for method in (
                sb.AdvantageTrace(**SHORT),
                sb.AdvantageTrace(**SHORT, advantage="rollouts"),
                sb.AdvantageTrace(**SHORT, advantage="exact", episodes="autoreset"),
                sb.BCHG(**SHORT),
                sb.HPGD(**SHORT),
                sb.HPGD(**SHORT, sampling="uniform"),
                sb.PlugIn(num_envs=4, rollout_steps=5),
            )
        ),
    ],
    ids=lambda method: type(method).__name__,
)
def test_finds_the_best_wage(method):
    np.testing.assert_allclose(learned_wage(method), BEST_WAGE, atol=0.1)


def test_naive_saves_the_wage_and_loses_the_worker():
    assert learned_wage(sb.Naive(**SHORT)) < -1.0
