"""Environments in JAX: a hand-written one whose every number is known, and gymnax."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.core import InvalidInputError
from sobirl.deep import envs
from sobirl.deep.envs import CompiledEnvironments, Discrete, EnvSpec

SPEC = EnvSpec("walk", (2,), np.dtype(np.float32), Discrete(2), "test", max_episode_steps=4)


class Walk(eqx.Module):
    """A walker on the line: action 1 goes right. It arrives at 3; after 4 steps time is over.

    It observes its place and a number that was drawn at the episode's beginning.
    """

    goal: int = 3
    spec: EnvSpec = eqx.field(default=SPEC, static=True)

    def reset(self, key):
        state = (0, 0, jax.random.uniform(key))
        return state, self.observe(state)

    def step(self, state, action, key):
        place, time, drawn = state
        state = (place + action, time + 1, drawn)
        arrived = state[0] >= self.goal
        return state, self.observe(state), 10 * state[0], arrived, state[1] >= 4

    def observe(self, state):
        return jnp.stack([state[0], state[2]]).astype(jnp.float32)


def run(environments, state, actions, key):
    """All steps with actions (T,N), as one scan."""

    def step(state, inputs):
        return environments.step(state, *inputs)

    keys = jax.random.split(key, len(actions))
    return jax.lax.scan(step, state, (jnp.asarray(actions), keys))


def start(environments, seed=0):
    return environments.init(jax.random.key(seed))


def test_known_stream():
    environments = CompiledEnvironments(Walk(), 2)
    assert environments.spec == SPEC
    state, first = start(environments)
    # The first walks straight to its goal; the second stays once and is cut short one step before.
    actions = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [1, 1], [0, 1]])
    state, steps = run(environments, state, actions, jax.random.key(1))
    place = np.array([[1, 1], [2, 2], [3, 2], [0, 2], [1, 0], [1, 1]])
    np.testing.assert_array_equal(steps.observation[..., 0], place)
    np.testing.assert_array_equal(steps.reward, 10 * place)
    np.testing.assert_array_equal(np.argwhere(steps.terminated), [[2, 0]])
    np.testing.assert_array_equal(np.argwhere(steps.truncated), [[3, 1]])
    np.testing.assert_array_equal(state.ended, [False, False])
    # Every episode has drawn its own number.
    drawn = np.concatenate([first[None, :, 1], steps.observation[..., 1]])
    assert len(np.unique(drawn[:, 0])) == len(np.unique(drawn[:, 1])) == 2
    assert len(np.unique(drawn)) == 4


def test_rollouts_branch_off_a_stored_state():
    environments = CompiledEnvironments(Walk(), 3)
    state, first = start(environments)
    state, _ = run(
        environments, state, np.array([[0, 1, 1], [1, 1, 1], [0, 1, 0]]), jax.random.key(1)
    )
    picked = jax.tree.map(lambda leaf: leaf[np.array([2, 2, 1, 0, 2])], state)
    _, steps = run(environments, picked, np.array([[0, 1, 1, 1, 1]]), jax.random.key(2))
    np.testing.assert_array_equal(steps.observation[0, :, 0], [2, 3, 0, 2, 3])
    np.testing.assert_array_equal(steps.observation[0, [0, 1, 3, 4], 1], first[[2, 2, 0, 2], 1])


def test_numbers_of_the_environment_can_be_batched():
    def arrives(goal):
        environments = CompiledEnvironments(Walk(goal), 1)
        state, _ = start(environments)
        return run(environments, state, np.ones((3, 1), int), jax.random.key(0))[1].terminated

    np.testing.assert_array_equal(
        jax.vmap(arrives)(jnp.array([1, 3]))[..., 0], [[1, 0, 1], [0, 0, 1]]
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"observe": lambda self, state: jnp.zeros(3)}, "observation of shape"),
        ({"observe": lambda self, state: jnp.zeros(2, int)}, "int32"),
        ({"reset": lambda self, key: ((False, 0, 1.0), jnp.zeros(2))}, "same structure, shapes"),
        ({"step": lambda self, s, a, k: (s, jnp.zeros(2), jnp.zeros(2), True, True)}, "scalar"),
        ({"step": lambda self, s, a, k: (s, jnp.zeros(2), 0.0, 1, 0)}, "scalar booleans"),
    ],
)
def test_unusable_environments(change, message):
    parts = {"spec": SPEC, **{name: getattr(Walk, name) for name in ("reset", "step", "observe")}}
    broken = type("Broken", (), {**parts, "goal": 3, **change})()
    with pytest.raises(InvalidInputError, match=message):
        CompiledEnvironments(broken, 2)
    with pytest.raises(InvalidInputError, match=r"must have a spec, .*, got object"):
        CompiledEnvironments(object(), 2)


def test_gymnax_has_its_own_limits():
    assert envs.make("CartPole-v1", 1).spec.max_episode_steps == 500
    acrobot = envs.make("Acrobot-v1", 1, frame_stack=2).spec
    assert (acrobot.frame_stack, acrobot.actions) == (2, Discrete(3))
    full = envs.make("Breakout-MinAtar", 1, use_minimal_action_set=False).spec
    assert full.actions == Discrete(6)


def test_breakout_shows_zeros_and_ones(drive):
    breakout = drive("Breakout-MinAtar")
    _, steps = breakout.stream(0, breakout.actions(12))
    assert set(np.unique(steps.observation)) == {0.0, 1.0}
    assert (steps.observation[..., 1].sum(axis=(2, 3)) == 1).all()  # one ball
    assert steps.terminated.any() and not steps.truncated.any()


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("Breakuot-MinAtar", {}, "closest names are Breakout-MinAtar"),
        ("CartPole-v1", {"max_episode_steps": 0}, "max_episode_steps: must be at least 1, got 0"),
        ("CartPole-v1", {"num_envs": 0}, "num_envs: must be at least 1"),
        ("CartPole-v1", {"frame_stack": 0}, "frame_stack: must be at least 1"),
        ("CartPole-v1", {"color": "red"}, "unexpected keyword argument 'color'"),
    ],
)
def test_gymnax_errors(name, options, message):
    with pytest.raises(InvalidInputError, match=message):
        envs.make(name, **{"num_envs": 1, "backend": "gymnax", **options})


def test_gymnax_is_of_single_precision():
    with (
        jax.enable_x64(True),
        pytest.raises(InvalidInputError, match="CartPole-v1 needs JAX in single precision"),
    ):
        envs.make("CartPole-v1", 1)
