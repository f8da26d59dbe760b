"""Incentives for a follower that learns, where the best one is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sobirl as sb
from estimators import BEST_WAGE
from probes import TWO_ACTIONS, loop_of
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.continuous_sac import ContinuousSAC
from sobirl.deep.envs import CompiledEnvironments, Continuous, EnvSpec
from sobirl.deep.incentive_design import IncentiveDesign
from sobirl.deep.leader_critic import LeaderCritic
from sobirl.deep.leaders.leader_return import LeaderReturn
from sobirl.deep.led_follower import LedFollower
from sobirl.deep.soft_q import SoftQLearning
from sobirl.experience.replay import Replay

GAIN = 3 + float(np.log(2))  # as in `estimators`: the best wage is log 2


class Day(eqx.Module):
    """One choice, to work (0) or not, and the day is over."""

    spec: EnvSpec = eqx.field(static=True, default=TWO_ACTIONS)

    def reset(self, key):
        return jnp.zeros(()), jnp.ones(1)

    def step(self, state, action, key):
        return state, jnp.ones(1), jnp.zeros(()), jnp.ones((), bool), jnp.zeros((), bool)


def wage(x, observation, action):
    return jnp.where(action == 0, x, 0.0)


def profit(observation, action, next_observation, x):
    return jnp.where(action == 0, GAIN - x, 0.0)


def design(temperature=1.0, reward=profit, **settings):
    critic = LeaderCritic((1,), 0.5, num_actions=2, members=1, learning_rate=0.03, target_rate=0.1)
    follower = SoftQLearning(
        (1,), 0.5, temperature, num_actions=2, widths=(8,), learning_rate=0.03, target_rate=0.1
    )
    usual = {
        "loop": loop_of(Day(), num_envs=8, episodes=64),
        "learner": ActorLearner(LedFollower(follower, critic), Replay(8, 512, 64), 0, 0.125),
        "leader": LeaderReturn(0.5),
        "x0": jnp.array(2.0),
        "incentive": wage,
        "reward": reward,
        "optimizer": optax.adam(optax.exponential_decay(0.1, 80, 0.2)),
        "calls": 20,
        "steps": 1,
        "warm_up": 5,
    }
    return IncentiveDesign(**{**usual, **settings})


def learned(design, rounds):
    state, rows = design.init(jax.random.key(0)), []
    for _ in range(rounds):
        state, row = design.round(state)
        rows.append(row)
    return state, {name: np.array([row[name] for row in rows]) for name in rows[0]}


def test_the_best_wage_is_found():
    state, rows = learned(design(), 120)
    assert float(state.x) == pytest.approx(BEST_WAGE, abs=0.12)
    np.testing.assert_array_equal(rows["environment_steps"][:2], [80, 160])  # every other call
    assert (rows["spent"][:6] > 1).all()  # nothing moves before the warm-up is over
    # σ(x)(g - x) at the best wage: 2/3 · 3.
    assert rows["leader_return"][-30:].mean() == pytest.approx(2.0, abs=0.15)


@pytest.mark.slow  # `deep/test_leader_return.py` has the explicit term
def test_without_the_follower_in_the_gradient_nobody_is_paid():
    state, _ = learned(design(leader=LeaderReturn(0.5, estimator="explicit")), 60)
    assert float(state.x) < 0.2


@pytest.mark.slow  # many rounds, each as long as the worker takes to answer
def test_evolution_strategies_find_it_too():
    """With a fifth of the steps a round only the cost of a higher wage is seen, not the answer."""
    steps = optax.adam(optax.exponential_decay(0.05, 100, 0.5))
    state, _ = learned(design(evolution=0.5, optimizer=steps, calls=100), 400)
    assert float(state.x) == pytest.approx(BEST_WAGE, abs=0.35)


class Reporting(Day):
    """What the leader gains stands in the info of every step."""

    def step(self, state, action, key):
        return *super().step(state, action, key), {"leader_reward": jnp.where(action == 0, GAIN, 0)}


def test_a_projection_a_falling_temperature_and_what_the_environment_reports():
    """Wages cost this leader nothing, so that only the bound ends them."""
    loop = CompiledLoop(
        CompiledEnvironments(Reporting(), 8, True), CompiledEnvironments(Reporting(), 64, True)
    )
    usual = design().learner
    learner = ActorLearner(usual.follower, usual.replay, 0, 0.125, keep_leader_rewards=True)
    bounded = design(
        loop=loop,
        learner=learner,
        reward=None,
        projection=sb.box(1.5, 2.5),
        temperatures=(2.0, 1.5, 1.0),
    )
    state, rows = learned(bounded, 40)
    assert float(state.x) == 2.5
    assert rows["leader_return"][-10:].mean() == pytest.approx(GAIN / (1 + np.exp(-2.5)), abs=0.15)
    np.testing.assert_allclose(rows["temperature"][[0, 1, 2, 9]], [2, 1.5, 1, 1], rtol=1e-6)


class Drive(Day):
    """One choice of a speed from -1 to 1, of which the driver likes 0 best."""

    spec: EnvSpec = eqx.field(
        static=True,
        default=EnvSpec("drive", (1,), np.dtype(np.float32), Continuous([-1.0], [1.0]), "test"),
    )

    def step(self, state, action, key):
        state, shown, _, *flags = super().step(state, 0, key)
        return state, shown, -jnp.sum(action**2), *flags


@pytest.mark.slow  # one program with five networks, 15 s to compile
def test_a_tariff_for_a_continuous_action_is_found():
    """π ∝ exp((xa - a²)/τ) has its mean at x/2: for a leader who wants 0.3 the best x is 0.6."""
    tau = 0.1
    critic = LeaderCritic((1,), 0.5, action_size=1, members=1, learning_rate=0.01, target_rate=0.1)
    follower = ContinuousSAC((1,), 0.5, tau, action_size=1, widths=(32,), learning_rate=0.01)
    found = design(
        loop=loop_of(Drive(), num_envs=8, episodes=64),
        learner=ActorLearner(LedFollower(follower, critic), Replay(8, 1024, 64), 160, 0.25),
        x0=jnp.array(0.0),
        incentive=lambda x, observation, action: x * action[:, 0],
        reward=lambda observation, action, after, x: -((action[:, 0] - 0.3) ** 2),
        optimizer=optax.adam(optax.exponential_decay(0.03, 100, 0.3)),
    )
    state, rows = learned(found, 150)
    assert float(state.x) == pytest.approx(0.6, abs=0.12)
    assert rows["leader_return"][-20:].mean() == pytest.approx(-tau / 2, abs=0.02)


def test_what_goes_wrong_is_said():
    def nothing(observation, action, next_observation, x):
        return jnp.log(-1.0 - x**2) * observation[:, 0]

    with pytest.raises(sb.InvalidInputError, match="in round 1 the leader's return is nan"):
        learned(design(reward=nothing), 1)
    with pytest.raises(sb.InvalidInputError, match="temperature: must be a number"):
        design(temperature=None)
    with pytest.raises(sb.InvalidInputError, match="warm_up: must be at least 0, got -1"):
        design(warm_up=-1)
    with pytest.raises(sb.InvalidInputError, match="evolution: must be positive, got 0"):
        design(evolution=0.0)
    with pytest.raises(sb.InvalidInputError, match="an estimate needs at least two"):
        design(loop=loop_of(Day(), 8, 1))
