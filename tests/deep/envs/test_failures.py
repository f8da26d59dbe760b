"""Environments of users: modules of the current folder, and what goes wrong in them."""

import copy
import sys
import textwrap

import gymnasium
import numpy as np
import pytest

from sobirl.core import EnvironmentFailedError, InvalidInputError
from sobirl.deep import envs

MODULE = '''
import gymnasium
import numpy as np


class Walk(gymnasium.Env):
    """Two steps to the right are one too many."""

    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, limit=2, broken=False):
        if broken:
            raise OSError("no such map")
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return self._seen(), {}

    def step(self, action):
        self.place += int(action)
        share = 1 / (self.limit - self.place)
        return self._seen(), share, False, False, {}

    def _seen(self):
        return np.array([self.place], np.float32)


gymnasium.register("TestWalk-v0", Walk)
gymnasium.register("TestBroken-v0", Walk, kwargs={"broken": True})
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes modules into the current folder, which are forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    before, known, path = set(sys.modules), dict(gymnasium.registry), list(sys.path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))

    yield write
    assert sys.path == path  # whatever happened
    for name in set(sys.modules) - before:
        del sys.modules[name]
    gymnasium.registry.clear()
    gymnasium.registry.update(known)


@pytest.fixture
def walk(write):
    write("sobirl_test_walk", MODULE)
    return "sobirl_test_walk:TestWalk-v0"


def test_a_module_of_the_current_folder(walk):
    assert envs.default_backend(walk) == "gymnasium"
    with envs.make(walk, 2) as environments:
        environments.reset(0)
        step = environments.step(np.array([0, 1]))
    np.testing.assert_allclose(step.reward, [0.5, 1])
    np.testing.assert_array_equal(step.observation, [[0], [1]])


def test_what_a_step_raises(walk):
    with envs.make(walk, 2) as environments:
        environments.reset(0)
        environments.step(np.array([0, 1]))
        with pytest.raises(EnvironmentFailedError) as raised:
            environments.step(np.array([0, 1]))
    line = 1 + MODULE.splitlines().index("        share = 1 / (self.limit - self.place)")
    assert str(raised.value) == (
        f"{walk}: its step raised ZeroDivisionError: division by zero "
        f"(sobirl_test_walk.py, line {line}, in step)"
    )
    details = raised.value.details
    assert details.startswith("Traceback") and "share = 1 / (self.limit" in details
    assert copy.copy(raised.value).details == details


@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium warns of what it raises
def test_what_a_step_raises_in_another_process(walk):
    with envs.make(walk, 1, vectorization_mode="async") as environments:
        environments.reset(0)
        environments.step(np.array([1]))
        message = f"{walk}: its step raised ZeroDivisionError: division by zero$"
        with pytest.raises(EnvironmentFailedError, match=message):
            environments.step(np.array([1]))


def test_an_observation_of_another_shape(write):
    wrong = MODULE.replace("np.array([self.place]", "np.array([self.place] * (1 + self.place)")
    write("sobirl_test_walk", wrong)
    with envs.make("sobirl_test_walk:TestWalk-v0", 1, disable_env_checker=True) as environments:
        environments.reset(0)
        with pytest.raises(EnvironmentFailedError, match=r"TestWalk-v0: its step raised Value"):
            environments.step(np.array([1]))


@pytest.mark.parametrize(
    ("name", "text", "kind", "message"),
    [
        (
            "sobirl_test_walk:TestBroken-v0",
            MODULE,
            EnvironmentFailedError,
            r"its __init__ raised OSError: no such map \(sobirl_test_walk.py, line 14, in __init__",
        ),
        (
            "sobirl_test_walk:TestStroll-v0",
            MODULE,
            InvalidInputError,
            "no environment 'TestStroll-v0'.*TestWalk-v0.*; sobirl_test_walk was imported",
        ),
        (
            "sobirl_test_needs:Anything-v0",
            "import sobirl_test_nowhere",
            InvalidInputError,
            "sobirl_test_needs imports sobirl_test_nowhere, which is not installed",
        ),
        (
            "sobirl_test_typo:Anything-v0",
            "limit = 3\nlimt + 1",
            EnvironmentFailedError,
            r"importing sobirl_test_typo raised NameError: .*\(sobirl_test_typo.py, line 2, in <",
        ),
        (
            "sobirl_test_absent:Anything-v0",
            None,
            InvalidInputError,
            "there is no module sobirl_test_absent, neither in the current folder nor",
        ),
    ],
)
def test_what_cannot_be_made(write, name, text, kind, message):
    if text is not None:
        write(name.partition(":")[0], text)
    with pytest.raises(kind, match=message):
        envs.make(name, 1)
