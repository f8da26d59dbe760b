"""Probe problems for followers, with known answers: batches of transitions, and environments."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import sobirl as sb
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.continuous_sac import ContinuousSAC
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.envs import CompiledEnvironments, Discrete, EnvSpec
from sobirl.experience.replay import Replay, Transitions

TWO_ACTIONS = EnvSpec("probe", (1,), np.dtype(np.float32), Discrete(2), "test")


def random_process(states=4, actions=3, seed=0):
    """Rewards, certain moves, and episodes that end in the last state."""
    rng = np.random.default_rng(seed)
    ends = np.zeros((states, actions), bool)
    ends[-1] = True
    return rng.normal(size=(states, actions)), rng.integers(states, size=(states, actions)), ends


def every_transition(rewards, following, ends):
    """One transition for every state and action, states as unit vectors."""
    states, actions = rewards.shape
    state, action = (grid.ravel() for grid in np.indices((states, actions)))
    one_hot = np.eye(states, dtype=np.float32)
    return Transitions(
        observation=jnp.array(one_hot[state]),
        action=jnp.array(action, jnp.int32),
        reward=jnp.array(rewards[state, action], jnp.float32),
        terminated=jnp.array(ends[state, action]),
        next_observation=jnp.array(one_hot[following[state, action]]),
        weight=jnp.ones(len(state), jnp.float32),
    )


def solved_process(discount, temperature):
    """Every transition of the process, and its soft solution as `sobirl.solve` finds it."""
    rewards, following, ends = random_process()
    with jax.enable_x64(True):
        mdp = sb.SoftMDP(
            transition=sb.Dense(np.eye(4)[following]),
            reward=rewards,
            discount=np.where(ends, 0.0, discount),
            temperature=temperature,
            initial=np.full(4, 0.25),
        )
        solution = jax.tree.map(np.asarray, sb.solve(mdp))
    return every_transition(rewards, following, ends), solution


def one_step(rewards, ends=True):
    """A single state; the episode ends with the first step, or never."""
    rewards = np.array([rewards])
    return every_transition(rewards, np.zeros(rewards.shape, int), np.full(rewards.shape, ends))


def trained(follower, batch, updates, reward=None, seed=0):
    """The follower after some updates on the same batch, and the last metrics."""
    key = jax.random.key(seed)
    # Random weights one by one: layers of one shape share a program, which is slow to compile.
    return _trained(follower, follower.init(key), batch, updates, reward, key)


@eqx.filter_jit
def _trained(follower, state, batch, updates, reward, key):
    step = functools.partial(follower.update, batch=batch, reward=reward)
    state, metrics = jax.lax.scan(
        lambda state, key: step(state, key=key),
        state,
        jax.random.split(key, updates),
    )
    return state, jax.tree.map(lambda metric: metric[-1], metrics)


class Probe(eqx.Module):
    """Episodes of a fixed number of steps, whose observations and rewards stand in tables.

    An episode has one of two sights, which is drawn at its beginning.

    Args:
        shows: the observation, by time and sight (L+1,2).
        rewards: by time, sight and action (L,2,A).
        steps: of an episode, at most L.
        cut: whether the last step is a truncation and not a termination.
        spec: actions that are no indices are rewarded with their sum.
    """

    shows: jax.Array
    rewards: jax.Array
    steps: jax.Array
    cut: jax.Array
    spec: EnvSpec = eqx.field(static=True)

    def __init__(self, shows, rewards, steps, cut=False, spec=TWO_ACTIONS):
        self.shows, self.rewards = (jnp.array(table, jnp.float32) for table in (shows, rewards))
        self.steps, self.cut, self.spec = jnp.array(steps, jnp.int32), jnp.array(cut), spec

    def reset(self, key):
        state = jax.random.randint(key, (), 0, 2), jnp.zeros((), jnp.int32)
        return state, self._observe(*state)

    def step(self, state, action, key):
        sight, time = state
        indexed = isinstance(self.spec.actions, Discrete)
        reward = self.rewards[time, sight, action] if indexed else jnp.sum(action)
        over = time + 1 >= self.steps
        state = sight, time + 1
        return state, self._observe(*state), reward, over & ~self.cut, over & self.cut

    def _observe(self, sight, time):
        return self.shows[time, sight][None]


def table(shape, entries):
    """A table of which only some axes matter."""
    return np.broadcast_to(np.asarray(entries, np.float32), shape)


def better_action(length=10):
    """Action 1 has reward 1 and action 0 none; all is always the same, until time is over."""
    return Probe(table((length + 1, 2), 1), table((length, 2, 2), [0, 1]), length, cut=True)


class Walk(eqx.Module):
    """Steps to the left and to the right on a line, from 0; no reward anywhere."""

    spec: EnvSpec = eqx.field(static=True, default=TWO_ACTIONS)
    steps: int = eqx.field(static=True, default=20)

    def reset(self, key):
        state = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        return state, state[0][None]

    def step(self, state, action, key):
        place, time = state[0] + 2 * action - 1, state[1] + 1
        never = jnp.zeros((), bool)
        return (place, time), place[None], jnp.zeros(()), never, time >= self.steps


def loop_of(probe, num_envs=4, episodes=3):
    """An environment to learn in and to be evaluated in."""
    return CompiledLoop(*(CompiledEnvironments(probe, count) for count in (num_envs, episodes)))


class _Counter(eqx.Module):
    """A follower that learns nothing but how often it should have: quick to compile."""

    def update(self, state, batch, reward, key):
        state = eqx.tree_at(lambda s: s.updates, state, state.updates + 1)
        return state, {"weight": jnp.mean(batch.weight)}


class DiscreteCounter(_Counter, DiscreteSAC):
    """Does not learn, but counts."""


class ContinuousCounter(_Counter, ContinuousSAC):
    """Does not learn, but counts."""


def small_learner(num_envs=4, random_steps=0, updates_per_step=0.25, kind=DiscreteSAC, **settings):
    """A follower of two actions with tiny networks, an update for a step of four environments."""
    usual = {"shape": (1,), "widths": (16,), "learning_rate": 1e-2, "target_rate": 0.1}
    return ActorLearner(
        follower=kind(**usual | settings, num_actions=2),
        replay=Replay(num_envs, 256, 32),
        random_steps=random_steps,
        updates_per_step=updates_per_step,
    )
