"""What is particular to Gymnasium: which spaces, which options, and exact resuming."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from sobirl.core import InvalidInputError
from sobirl.deep import envs
from sobirl.deep.envs.gymnasium_envs import GymnasiumEnvironments

BOX = spaces.Box(-1.0, 1.0, (2,))


class Fixed(gymnasium.Env):
    """An environment with the spaces that a test asks for; it shows and expects what it is told."""

    def __init__(self, observation_space=BOX, action_space=BOX, shows=None):
        self.observation_space, self.action_space = observation_space, action_space
        self.shows = np.full(2, 1 / 3) if shows is None else shows
        self.actions = []

    def reset(self, *, seed=None, options=None):
        return self.shows, {}

    def step(self, action):
        self.actions.append(action)
        return self.shows, 1 / 3, False, False, {}


def fixed(mode=AutoresetMode.NEXT_STEP, **spaces_and_more):
    made = [lambda: Fixed(**spaces_and_more)] * 2
    return GymnasiumEnvironments(gymnasium.vector.SyncVectorEnv(made, autoreset_mode=mode), "fixed")


def test_stream_is_that_of_the_environment_itself(drive):
    pendulum = drive("Pendulum-v1", "gymnasium", max_episode_steps=4)
    actions = pendulum.actions(6)
    first, steps = pendulum.stream(3, actions)
    seeds = np.random.SeedSequence(3).generate_state(2) >> 1
    with gymnasium.make("Pendulum-v1", max_episode_steps=4) as alone:
        for i, seed in enumerate(seeds):
            np.testing.assert_array_equal(alone.reset(seed=int(seed))[0], first[i])
            for t in range(6):
                expected = (alone.reset()[0], 0) if t == 4 else alone.step(actions[t, i])[:2]
                np.testing.assert_array_equal(expected[0], steps.observation[t, i])
                np.testing.assert_allclose(expected[1], steps.reward[t, i], rtol=1e-6)


def test_double_precision_becomes_single_and_images_stay():
    environments = fixed()
    assert environments.spec.observation_dtype == np.float32
    assert environments.reset(0).dtype == np.float32
    step = environments.step(np.zeros((2, 2)))
    np.testing.assert_array_equal(step.observation, np.full((2, 2), np.float32(1 / 3)))
    np.testing.assert_array_equal(step.reward, np.full(2, np.float32(1 / 3)))
    image = spaces.Box(0, 255, (4, 4, 3), np.uint8)
    environments = fixed(observation_space=image, shows=np.full((4, 4, 3), 7, np.uint8))
    assert environments.spec.observation_dtype == np.uint8
    assert (environments.reset(0) == 7).all()


def test_numbers_may_begin_anywhere():
    environments = fixed(
        observation_space=spaces.Discrete(3, start=5),
        action_space=spaces.Discrete(2, start=-1),
        shows=6,
    )
    np.testing.assert_array_equal(environments.reset(0), [[0, 1, 0]] * 2)
    environments.step(np.array([0, 1]))
    assert [env.actions for env in environments.vector_env.envs] == [[-1], [0]]


@pytest.mark.parametrize(
    "kind, message",
    [
        ({"observation_space": spaces.Dict({"a": BOX})}, "Dict space; .*FlattenObservation"),
        ({"observation_space": spaces.Tuple([BOX])}, "Tuple space; .*FlattenObservation"),
        ({"observation_space": spaces.Text(3)}, "Text space; .*FlattenObservation"),
        ({"observation_space": spaces.Sequence(BOX)}, "no fixed size; .*TransformObservation"),
        ({"action_space": spaces.MultiDiscrete([2, 2])}, "MultiDiscrete actions.*TransformAction"),
        ({"action_space": spaces.Dict({"a": BOX})}, "Dict actions.*TransformAction"),
        ({"action_space": spaces.Box(-np.inf, 1.0, (2,))}, "not bounded; .*TransformAction"),
        ({"mode": AutoresetMode.SAME_STEP}, "autoreset_mode: fixed must begin"),
    ],
)
def test_what_cannot_be_learned_from(kind, message):
    with pytest.raises(InvalidInputError, match=message):
        fixed(**kind)


def wrapped(wrapper, **spaces_and_more):
    """What a user makes who follows the advice: the wrapper is Gymnasium's own."""
    made = gymnasium.vector.SyncVectorEnv(
        [lambda: wrapper(Fixed(**spaces_and_more))], autoreset_mode=AutoresetMode.NEXT_STEP
    )
    return GymnasiumEnvironments(made, "fixed")


def test_the_advice_on_observations_helps():
    flat = gymnasium.wrappers.FlattenObservation
    parts = spaces.Dict({"a": BOX, "b": spaces.Discrete(3)})
    shows = {"a": np.full(2, 0.5, np.float32), "b": 1}
    environments = wrapped(flat, observation_space=parts, shows=shows)
    np.testing.assert_array_equal(environments.reset(0), [[0.5, 0.5, 0, 1, 0]])
    several = spaces.Sequence(spaces.Discrete(9))
    environments = wrapped(
        lambda env: gymnasium.wrappers.TransformObservation(
            env, lambda seen: np.array([len(seen), 0], np.float32), BOX
        ),
        observation_space=several,
        shows=(3, 4),
    )
    np.testing.assert_array_equal(environments.reset(0), [[2, 0]])


@pytest.mark.parametrize(
    ("space", "func", "learned", "given", "taken"),
    [
        (
            spaces.Box(-np.inf, np.inf, (2,)),
            lambda action: action,
            spaces.Box(-2.0, 2.0, (2,)),
            [1.5, -2],
            [1.5, -2],
        ),
        (
            spaces.MultiDiscrete([2, 3]),
            lambda number: np.array(np.unravel_index(number, (2, 3))),
            spaces.Discrete(6),
            5,
            [1, 2],
        ),
    ],
    ids=["unbounded", "MultiDiscrete"],
)
def test_the_advice_on_actions_helps(space, func, learned, given, taken):
    def wrapper(env):
        return gymnasium.wrappers.TransformAction(env, func, learned)

    environments = wrapped(wrapper, action_space=space)
    environments.reset(0)
    environments.step(np.array([given]))
    (inner,) = environments.vector_env.envs
    np.testing.assert_array_equal(inner.unwrapped.actions, [taken])


def test_misuse():
    with fixed(action_space=spaces.Discrete(2)) as environments:
        with pytest.raises(InvalidInputError, match="call reset"):
            environments.step(np.array([0, 1]))
        with pytest.raises(InvalidInputError, match="seed: must not be negative"):
            environments.reset(-1)
        environments.reset(0)
        with pytest.raises(InvalidInputError, match=r"action: must lie between 0 and 1, got 2"):
            environments.step(np.array([0, 2]))
        with pytest.raises(InvalidInputError, match=r"action: expected shape \(2,\), got \(3,\)"):
            environments.step(np.array([0, 1, 0]))
        with pytest.raises(InvalidInputError, match="action: expected integers, got float64"):
            environments.step(np.array([0.0, 1.0]))
        with pytest.raises(InvalidInputError, match="render_mode='rgb_array', got None"):
            environments.render_frame()
        assert not environments.can_restore
        with pytest.raises(InvalidInputError, match="cannot be saved and restored"):
            environments.get_state()
        with pytest.raises(InvalidInputError, match="cannot be saved and restored"):
            environments.set_state({})
    environments.close()  # again: nothing happens
    with pytest.raises(InvalidInputError, match="fixed: is closed"):
        environments.reset(0)
    environments = fixed()
    environments.reset(0)
    with pytest.raises(
        InvalidInputError, match=r"action: must be finite, got nan at index \[1, 0\]"
    ):
        environments.step(np.array([[0, 0], [np.nan, 0]]))


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("HalfChetah-v5", {}, "closest names are HalfCheetah-v5"),
        ("HalfCheetah-v99", {}, "closest names are HalfCheetah-v"),
        ("SpaceWar", {}, "Atari games are named like ALE/BeamRider-v5"),
        ("nowhere:Pendulum-v1", {}, "there is no module nowhere, neither in the current folder"),
        ("nowhere.at.all:Pendulum-v1", {}, "there is no module nowhere, neither"),
        ("Pendulum-v1", {"color": "red"}, "unexpected keyword argument 'color'"),
        ("Pendulum-v1", {"vectorization_mode": "both"}, "Invalid vectorization mode: 'both'"),
        ("Pendulum-v1", {"max_episode_steps": 0}, "max_episode_steps: must be at least 1, got 0"),
        ("Pendulum-v1", {"num_envs": 0}, "num_envs: must be at least 1, got 0"),
        ("Blackjack-v1", {}, "Blackjack-v1 shows a Tuple space"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(InvalidInputError, match=message):
        envs.make(name, **{"num_envs": 1, "backend": "gymnasium", **options})


def test_wrappers_and_stacks():
    options = {"wrappers": [gymnasium.wrappers.FlattenObservation], "frame_stack": 3}
    with envs.make("Blackjack-v1", 1, **options) as blackjack:
        assert blackjack.spec.observation_shape == (32 + 11 + 2,)
        assert blackjack.spec.frame_stack == 3 and blackjack.spec.max_episode_steps is None
        assert blackjack.reset(0).sum() == 3 and not blackjack.can_restore


NAMES = ["CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1", "Pendulum-v1"]
NAMES += ["HalfCheetah-v5", "Ant-v5", "Humanoid-v5", "Reacher-v5"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("elapsed", [3, 5])
def test_a_restored_environment_goes_on_bit_for_bit(drive, name, elapsed):
    environments = drive(name, "gymnasium", max_episode_steps=5)  # 5: new episodes come next
    actions = environments.actions(12)
    environments.stream(1, actions[:elapsed])
    state = environments.made.get_state()
    assert all(part.dtype.kind in "bifu" for part in state.values())
    expected = [environments.step(action) for action in actions[elapsed:]]
    environments.stream(2, actions)  # whatever happened since
    environments.made.set_state(state)
    for step, action in zip(expected, actions[elapsed:], strict=True):
        for was, now in zip(step, environments.step(action), strict=True):
            np.testing.assert_array_equal(was, now)


def test_a_state_of_others_is_refused(drive):
    cartpole, pendulum = (drive(f"{name}-v1", "gymnasium") for name in ("CartPole", "Pendulum"))
    with pytest.raises(InvalidInputError, match="CartPole-v1: has not begun; call reset"):
        envs.make("CartPole-v1", 1, backend="gymnasium").get_state()
    cartpole.reset(0)
    with pytest.raises(InvalidInputError, match="state: is one of other environments"):
        pendulum.made.set_state(cartpole.made.get_state())


def test_an_unstable_simulation_leaves_no_file(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with envs.make("HalfCheetah-v5", 1) as cheetah:
        cheetah.reset(0)
        cheetah.vector_env.envs[0].unwrapped.data.qvel[:] = 1e300
        cheetah.step(np.zeros((1, 6)))
    assert "unstable" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_frames_of_mujoco():
    with envs.make("HalfCheetah-v5", 1, render_mode="rgb_array") as cheetah:
        cheetah.reset(0)
        before = cheetah.render_frame()
        for _ in range(5):
            cheetah.step(np.ones((1, 6)))
        after = cheetah.render_frame()
    assert before.shape == after.shape and before.shape[-1] == 3 and before.dtype == np.uint8
    assert (before != after).any()
