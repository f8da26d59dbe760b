"""`sobirl.load_run`: what was learned comes back as functions."""

import numpy as np
import pytest

import sobirl as sb
from runs.conftest import sobirl
from sobirl.problems.random_mdp import TargetPolicy

pytestmark = pytest.mark.usefixtures("unrendered")


@pytest.mark.parametrize(
    "command",
    [
        "random-mdp --states 4 --dimension 3 --num-steps 4",
        pytest.param(
            "random-incentives --num-steps 2 --environment-steps 200", marks=pytest.mark.slow
        ),
        pytest.param("rust-bus", marks=pytest.mark.slow),
        pytest.param("maze --size 6 --walls 0.1 --blocks 3 --num-steps 2", marks=pytest.mark.slow),
        pytest.param("four-rooms --starts 2 --num-steps 4 --rounds 1", marks=pytest.mark.slow),
    ],
)
def test_runs_of_tables(tmp_path, command):
    assert sobirl("run", *command.split(), "--quiet", "--out", tmp_path / "run")[0] == 0
    run = sb.load_run(tmp_path / "run")
    expected = np.exp(run.problem.respond(run.x).log_policy)
    if run.problem.contexts is not None:
        np.testing.assert_allclose(run.policy(1, context=1), expected[1, 1])
        expected = expected[0]
    np.testing.assert_allclose(run.policy(1), expected[1])
    np.testing.assert_allclose(run.policy(1).sum(), 1)
    assert isinstance(run.reward(1, 0), float)
    assert len(run.history["objective"]) == run.summary["steps"]


def test_a_recorded_run_and_its_problem(tmp_path):
    instance = TargetPolicy.generate(4, 2, 3, seed=0)
    result = sb.record(instance.problem(), instance.x0, out=tmp_path / "run", num_steps=3)
    run = sb.load_run(tmp_path / "run")
    np.testing.assert_array_equal(run.x, result.x)
    assert run.policy is None
    run = sb.load_run(tmp_path / "run", problem=instance.problem())
    np.testing.assert_allclose(run.policy(2), instance.problem().respond(run.x).policy[2])


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(sb.InvalidInputError, match="there is no such run"):
        sb.load_run(tmp_path / "nothing")
    instance = TargetPolicy.generate(4, 2, 3, seed=0)
    sb.record(instance.problem(), instance.x0, out=tmp_path / "run", num_steps=3)
    with pytest.raises(sb.InvalidInputError, match="x has x, which is not what is expected: a, b"):
        sb.load_run(tmp_path / "run", like={"a": 0.0, "b": 0.0})
    (tmp_path / "run" / "x.npz").write_bytes(b"no arrays")
    with pytest.raises(sb.InvalidInputError, match=r"x.npz: is damaged"):
        sb.load_run(tmp_path / "run")
