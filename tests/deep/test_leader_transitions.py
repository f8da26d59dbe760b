"""A leader whose x acts through the environment too, beside the exact hyper-gradient."""

import functools

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import sobirl as sb
from deep.tabular_pairs import FOLLOWER, LINEAR, A, S, with_table
from estimators import deviation, gradient, quantile
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import CompiledEnvironments, Discrete, EnvSpec
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.leader_return import LeaderReturn, ReturnState
from sobirl.deep.offer import Offer
from sobirl.deep.reward_model import RewardModel
from sobirl.experiments.incentives.design import left_out
from sobirl.experiments.incentives.rounds import loop_of
from sobirl.experiments.incentives.settings import Settings

BATCHES, EACH, STEPS = 100, 100, 30
GAMMA, GAMMA_U, TAU = FOLLOWER.discount, 0.7, FOLLOWER.temperature
_RNG = np.random.default_rng(5)
PRICE = 0.3  # a unit of pay, whatever its sign
LOGITS = _RNG.standard_normal((S, A, S))
BASE, WORTH = (_RNG.standard_normal((S, A, S)) for _ in range(2))
X = {"pay": _RNG.standard_normal((S, A)), "tilt": _RNG.standard_normal(S)}


def log_transition(x):
    """A tilt of s' makes all ways to it likelier."""
    return jax.nn.log_softmax(jnp.asarray(LOGITS) + x["tilt"], axis=-1)


class Tilted(eqx.Module):
    """The table as an environment that takes x, whose rewards depend on where a step leads."""

    x: dict
    spec: EnvSpec = eqx.field(
        default=EnvSpec("tilted", (S,), np.dtype(np.float32), Discrete(A), "test"), static=True
    )

    def with_x(self, x):
        return Tilted(x)

    def log_prob(self, next_observation, observation, action, x):
        return observation @ log_transition(x)[:, action] @ next_observation

    def reset(self, key):
        state = jax.random.randint(key, (), 0, S, jnp.int32)
        return state, jax.nn.one_hot(state, S)

    def step(self, state, action, key):
        after = jax.random.categorical(key, log_transition(self.x)[state, action])
        after = after.astype(jnp.int32)
        reward = jnp.asarray(BASE, jnp.float32)[state, action, after]
        never = jnp.zeros((), bool)
        return after, jax.nn.one_hot(after, S), reward, never, never


def incentive(x, observation, action):
    return jnp.take_along_axis(observation @ x["pay"], action[:, None], axis=1)[:, 0]


def worth(observation, action, next_observation, x):
    table = jnp.asarray(WORTH, jnp.float32) - PRICE * x["pay"][:, :, None]
    return jax.vmap(lambda s, a, n: s @ table[:, a] @ n)(observation, action, next_observation)


def problem():
    def follower(x):
        transition = sb.Dense(jnp.exp(log_transition(x)))
        reward = jnp.asarray(BASE) + x["pay"][:, :, None]
        return sb.SoftMDP(transition, reward, GAMMA, TAU, np.full(S, 1 / S))

    def gain(x):
        return jnp.asarray(WORTH) - PRICE * x["pay"][:, :, None]

    return sb.BilevelProblem(follower, sb.LeaderReturn(follower, gain, GAMMA_U))


@functools.cache
def made():
    """Trajectories of π*, and critics of both levels that are right."""
    with jax.enable_x64(True):
        x = jax.tree.map(jnp.array, X)
        mdp = problem().lower(x)
        solution = sb.solve(mdp)
        policy, own = np.asarray(solution.policy), np.asarray(solution.q)
        chance = np.exp(log_transition(x))
        reward = (chance * WORTH).sum(axis=-1) - PRICE * X["pay"]
        flow = np.einsum("sa,san->sn", policy, chance)
        value = np.linalg.solve(np.eye(S) - GAMMA_U * flow, (policy * reward).sum(axis=1))
        q = reward + GAMMA_U * chance @ value
        expected = gradient(problem(), x)
    state = FOLLOWER.init(jax.random.key(0))
    slow = [with_table(member, own) for member in state.target.members]
    actor = with_table(state.actor, np.log(policy))
    state = eqx.tree_at(lambda s: (s.actor, s.target.members), state, (actor, slow))
    critic = RewardModel((S,), jax.random.key(0), num_actions=A, architecture=LINEAR)
    network = with_table(critic.ensemble.members[0], q)
    critic = eqx.tree_at(lambda m: m.ensemble.members[0], critic, network)
    x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), X)
    walked = CompiledEnvironments(Tilted(jax.tree.map(jnp.zeros_like, x)), BATCHES * EACH)
    loop = CompiledLoop(walked, walked).with_x(x)
    found = loop.trajectories(FOLLOWER, state, jax.random.key(101), STEPS)
    batches = jax.tree.map(lambda leaf: leaf.reshape(BATCHES, EACH, *leaf.shape[1:]), found)
    zero = jnp.zeros((), jnp.int32)
    return x, loop, critic, FollowerView(FOLLOWER, state, zero, zero), batches, expected[:-1]


def estimates(known=True, **settings):
    """Of every batch the estimate of ∇φ, flat."""
    x, loop, critic, view, batches, _ = made()
    log_prob = loop.log_prob if known else None

    def of_batch(x, observation, action, after):
        in_axes = (0, 0, 0, None)
        return jax.vmap(log_prob, in_axes=in_axes)(after, observation, action, x)

    offer = Offer(x, jnp.ones(()), incentive, worth, log_prob=of_batch if known else None)
    leader = LeaderReturn(GAMMA_U, **settings)

    @jax.jit
    def run(batches, keys):
        def one(batch, key):
            explicit, implicit, _ = leader.terms(ReturnState(offer, critic), view, batch, key)
            return ravel_pytree(jax.tree.map(jnp.add, explicit, implicit))[0]

        return jax.vmap(one)(batches, keys)

    keys = jax.random.split(jax.random.key(2), BATCHES)
    return np.asarray(run(batches, keys), np.float64)[:, :-1]  # a tilt of all does nothing


@pytest.mark.parametrize("estimator", ["trace", "bc-hg"])
def test_the_estimate_is_the_exact_gradient_in_the_mean(estimator):
    found, expected = estimates(estimator=estimator), made()[-1]
    assert deviation(found, expected) <= quantile(found, 0.99)


def test_what_is_left_out_without_the_density_is_in_those_of_the_environment_alone():
    found, expected = estimates(known=False), made()[-1]
    pay, tilt = slice(0, S * A), slice(S * A, None)
    assert deviation(found[:, pay], expected[pay]) <= quantile(found[:, pay], 0.99)
    np.testing.assert_array_equal(found[:, tilt], 0)
    assert np.linalg.norm(expected[tilt]) > 0.1 * np.linalg.norm(expected)


class Slope(gymnasium.Env):
    """One push of a ball that rolls to where it is pushed, and x further, give or take."""

    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    x = 0.0

    def set_x(self, x):
        self.x = float(x)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        place = self.x + action + 0.3 * self.np_random.standard_normal()
        return np.array([place], np.float32), 0.0, True, False, {}


class Explained(Slope):
    @staticmethod
    def log_prob(next_observation, observation, action, x):
        return -0.5 * ((next_observation[0] - action - x) / 0.3) ** 2


@pytest.mark.slow  # one in JAX is above
def test_an_environment_of_gymnasium_that_takes_x():
    """The leader wants the ball at 2; whether it is pushed there or not costs the follower 0."""

    def aim(observation, action, next_observation, x):
        return -((next_observation[0] - 2.0) ** 2)

    settings = {"steps": 1600, "round_steps": 40, "random_steps": 20, "episodes": 32, "num_envs": 4}
    settings |= {"batch": 16, "updates_per_step": 0.25, "widths": (8,), "episode_steps": 1}
    settings |= {"incentive": lambda s, a, x: 0.0 * x, "x0": 0.0, "leader_rate": 0.15}
    found = sb.design_incentives(Explained, aim, progress=False, **settings)
    assert float(found.x) == pytest.approx(1.5, abs=0.25) and found.notes == []
    with loop_of(Settings(num_envs=2), False, Slope) as loop:
        assert "what it does there is left out of the gradient" in left_out(loop)
