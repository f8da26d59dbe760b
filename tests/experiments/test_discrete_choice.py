"""`sobirl run discrete-choice`: models in files, and what a run writes."""

import json
import re

import numpy as np
import pytest

import sobirl as sb
from machines import TRUTH, known
from sobirl.apps import cli
from sobirl.estimation.spec import as_model, formula

SPEC = """
discount = 0.9
actions = ["keep", "replace"]
[states]
wear_state = 6
[transitions]
increments = 3
reset = ["replace"]
[features.rc]
replace = -1
[features.wear]
keep = "-wear_state"
"""


@pytest.fixture
def files(tmp_path):
    panel = known().simulate(TRUTH, units=60, periods=30, seed=1)
    rows = zip(*panel.values(), strict=True)
    text = "\n".join([",".join(panel), *(",".join(map(str, row)) for row in rows)])
    (tmp_path / "panel.csv").write_text(text)
    (tmp_path / "model.toml").write_text(SPEC)
    return tmp_path


def run(capsys, *arguments):
    try:
        cli.main(["run", "discrete-choice", *map(str, arguments)])
        code = 0
    except SystemExit as exit_:
        code = exit_.code
    return code, *capsys.readouterr()


def test_a_run(files, capsys):
    out = files / "run"
    options = ("--data", files / "panel.csv", "--spec", files / "model.toml", "--quiet")
    code, printed, _ = run(capsys, *options, "--cov-type", "cluster", "--out", out)
    assert code in (0, None)
    assert "clustered by unit" in printed
    summary = json.loads((out / "summary.json").read_text())
    metrics = summary["metrics"]
    assert summary["converged"]
    assert metrics["parameters"] == ["rc", "wear"]
    z = (np.array(metrics["estimates"]) - [3.0, 0.8]) / metrics["standard_errors"]
    assert np.abs(z).max() < 3.5
    assert r"\begin{tabular}" in (out / "table.tex").read_text()
    for name in ("estimates", "choices"):
        assert (out / "figures" / f"{name}.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.9\n", "1.5\n"), r"model\.toml: discount: must lie in \[0, 1\), got 1.5"),
        (("[states]", "[state]"), "state: has no meaning here .did you mean 'states'"),
        (("-wear_state", "-wear"), "features.wear.keep: '-wear' has 'wear', which is no column"),
        (('"-wear_state"', '"open(1)"'), "features.wear.keep: 'open.1.' has something else than"),
        (("increments = 3", "steps = 3"), "transitions"),
        (("= 0.9", "= = 0.9"), "is no TOML"),
    ],
)
def test_bad_models(files, capsys, change, message):
    (files / "model.toml").write_text(SPEC.replace(*change))
    options = ("--data", files / "panel.csv", "--spec", files / "model.toml")
    code, _, error = run(capsys, *options, "--out", files / "run")
    assert code == 2
    assert len(error.strip().splitlines()) == 1
    assert re.search(message, error), error
    assert not (files / "run").exists()


def test_bad_data_and_options(files, capsys):
    path = files / "panel.csv"
    path.write_text(path.read_text().replace("0,3,", "0,4,", 1))
    options = ("--data", path, "--spec", files / "model.toml", "--out", files / "run")
    code, _, error = run(capsys, *options)
    assert code == 2
    assert "panel.csv, line" in error
    assert "--spec" in run(capsys, "--data", path)[2]
    assert not (files / "run").exists()


@pytest.mark.parametrize(
    ("spec", "panel", "message"),
    [
        (
            ("wear_state = 6", "wear_state = { bins = [0, 1, 2, 3] }"),
            ("", ""),
            r"panel\.csv, line \d+, column wear_state: \d is outside the bins",
        ),
        (
            ("[features.wear]", "[features.twice]\nkeep = '2 * wear_state'\n[features.wear]"),
            ("", ""),
            "data: do not identify the parameters .rank 2 of 3: .* along which the likelihood is",
        ),
        (("", ""), ("\n0,3,", "\n0,99,"), "column period: unit '0' goes from period 2 to 4"),
        (("", ""), (",action\n", ",choice\n"), "line 1: there is no column action; expected"),
    ],
    ids=["outside the bins", "singular", "a gap", "a missing column"],
)
def test_data_that_are_refused(files, capsys, spec, panel, message):
    """One sentence, exit code 2, and nothing written."""
    (files / "model.toml").write_text(SPEC.replace(*spec))
    path = files / "panel.csv"
    path.write_text(path.read_text().replace(*panel))
    options = ("--data", path, "--spec", files / "model.toml", "--out", files / "run")
    code, _, error = run(capsys, *options)
    assert code == 2
    assert len(error.strip().splitlines()) == 1
    assert re.search(message, error), error
    assert not (files / "run").exists()


def test_formulas():
    columns = np.array([1.0, 4.0]), np.array([2.0, 0.0])
    known = {
        "-0.5 * s + price": [1.5, -2.0],
        "sqrt(s) * (price > 1)": [1.0, 0.0],
        "max(s, 2) ** 2": [4.0, 16.0],
        "-1": [-1.0, -1.0],
    }
    for text, expected in known.items():
        found = formula("f", text, ["s", "price"])(*columns)
        np.testing.assert_allclose(np.broadcast_to(found, 2), expected)
    assert formula("f", 3, []) == 3.0
    timed = formula("f", "s * period", ["s"], True)
    assert timed(2.0, period=3.0) == 6.0
    for text in ("s.real", "s[0]", "'a'", "lambda: 1", "s if s else 0", "__import__('os')", "s +"):
        with pytest.raises(sb.InvalidInputError, match="f: "):
            formula("f", text, ["s", "price"])


def test_all_that_a_file_can_say():
    model, read, fit = as_model(
        {
            "actions": ["keep", "replace"],
            "states": {"s": {"width": 10, "count": 3}, "price": {"quantiles": 4}},
            "types": {"heavy": [0, 1]},
            "transitions": {
                "s": {"increments": 2, "reset": ["replace"]},
                "price": {"frequencies": True, "by_action": False, "smoothing": 1.0},
            },
            "features": {"rc": {"replace": "-1 - heavy"}},
            "available": {"replace": "s > 10"},
            "columns": {"unit": "id"},
            "gaps": "split",
            "fit": {"start": {"rc": 2.0}},
        }
    )
    assert model.transitions["price"] == sb.Frequencies(by_action=False, smoothing=1.0)
    np.testing.assert_array_equal(model.states["s"].edges, [0, 10, 20, 30])
    assert read == {"unit": "id", "gaps": "split"}
    assert fit == {"start": {"rc": 2.0}}


@pytest.mark.parametrize(
    ("actions", "states", "message"),
    [
        ("0010" * 2, "0230" * 2, "perfect separation"),
        ("0000" * 2, "0120" * 2, "nobody ever chooses"),
    ],
)
def test_data_without_an_estimate_write_nothing(files, capsys, actions, states, message):
    """Also where only the fit finds it out."""
    path = files / "bad.csv"
    words = "keep", "replace"
    rows = [
        f"{n // 4},{n % 4},{s},{words[int(a)]}"
        for n, (s, a) in enumerate(zip(states, actions, strict=True))
    ]
    path.write_text("\n".join(["unit,period,wear_state,action", *rows]))
    out = files / "none"
    options = ("--data", path, "--spec", files / "model.toml", "--quiet", "--out", out)
    code, _, error = run(capsys, *options)
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert not out.exists()
