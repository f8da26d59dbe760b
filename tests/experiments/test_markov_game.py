"""`sobirl run markov-game`: what a run writes."""

import json

import pytest

from runs.conftest import sobirl


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize("game", ["r1", pytest.param("lqr", marks=pytest.mark.slow)])
def test_the_answer(tmp_path, game):
    command = ("run", "markov-game", "--game", game, "--num-steps", 60, "--quiet")
    code, printed, error = sobirl(*command, "--out", tmp_path / "run")
    assert (code, error) == (0, "")
    assert "published: BC-HG" in printed
    metrics = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert metrics["leader_return"] > 10 * metrics["leader_return_at_first"]
    assert metrics["published"]["BC-HG"] == {"r1": 27.0, "lqr": 0.147}[game]
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {
        "convergence",
        "game",
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--game", "r3"), 'Invalid value "r3" for --game'),
        (("--game", "lqr", "--method", "hpgd"), "--method should be exact with --game lqr"),
        (("--method", "plug-in"), 'Invalid value "plug-in" for --method'),
    ],
)
def test_bad_options_are_refused(option, message):
    code, _, error = sobirl("run", "markov-game", *option)
    assert code == 2
    assert message in error
