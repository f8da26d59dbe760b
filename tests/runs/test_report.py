"""`sobirl show` and `sobirl report`."""

import base64
import dataclasses
import re
import shutil

import numpy as np
import pytest

from runs.conftest import sobirl
from sobirl.experiments.rust_bus import RustBusRun
from sobirl.runs.curves import Curve, draw_curves
from sobirl.runs.directory import RunDirectory


def flat(text):
    """Text without the line breaks of a terminal."""
    return " ".join(text.split())


def test_show_an_ended_run(ended_run):
    code, printed, _ = sobirl("show", ended_run)
    assert code == 0
    assert "ended after 12 steps" in printed
    for name in ("command", "m-sobirl", "hypergradient_norm", "figures/convergence.png"):
        assert name in printed
    assert ".lock" not in printed


def test_show_a_stopped_run(stopped_run):
    code, printed, _ = sobirl("show", stopped_run)
    assert code == 0
    assert "12 of 12 steps kept" in flat(printed)
    assert "sobirl resume" in printed
    (stopped_run / "checkpoint.npz").unlink()
    (stopped_run / "metrics.csv").unlink()
    assert "0 of 12 steps kept" in flat(sobirl("show", stopped_run)[1])


def test_report(ended_run, stopped_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed, _ = sobirl("report", ended_run, stopped_run)
    assert code == 0
    assert "hypergradient_norm" in printed
    assert printed.endswith("wrote runs/report-1: report.html and its figures as PNG\n")
    report = tmp_path / "runs" / "report-1"
    page = (report / "report.html").read_text()
    assert (report / "curves-random-mdp.png").read_bytes().startswith(b"\x89PNG")
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(images) == 3  # the curves, and a figure of each run
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)  # nothing is loaded from elsewhere
    assert "<script" not in page
    assert str(stopped_run) in page
    assert sobirl("report", ended_run)[1].count("report-2")


def test_many_runs_fit_into_a_terminal_and_a_page(ended_run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    runs = [tmp_path / f"a-run-with-a-rather-long-name-{number}" for number in range(7)]
    for run in runs:
        shutil.copytree(ended_run, run)
    code, printed, _ = sobirl("report", *runs, "--out", tmp_path / "report")
    assert code == 0
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert printed.count("hypergradient_norm") == 4  # a table for two runs each
    page = (tmp_path / "report" / "report.html").read_text()
    assert all(f"long-name-{number}" in page for number in range(7))
    widths = [
        table.count("<tr><th>") and table.split("</tr>")[0].count("<th>")
        for table in re.findall(r"<table>.*?</table>", page, flags=re.DOTALL)
    ]
    assert widths == [5, 4]  # the names of the numbers, and four runs; then three


def test_estimates_and_their_errors_are_in_a_report(tmp_path):
    options = RustBusRun(out=tmp_path / "run")
    with RunDirectory.create(options) as directory:
        directory.finish(dataclasses.replace(options.run(), figures={}))
    code, printed, _ = sobirl("report", tmp_path / "run", "--out", tmp_path / "report")
    assert code == 0
    assert "2.29309" in printed  # θ
    assert "1.35126 0.553844" in flat(printed)  # and the standard errors


def test_step_axes_of_runs_of_unlike_length():
    """Few steps beside many would be lost on a linear axis."""
    few, many = ({"step": np.arange(1.0, n + 1), "objective": np.ones(n)} for n in (5, 500))
    curves = (Curve("objective"), Curve("other"))
    unlike = draw_curves("p", curves, {"few": few, "many": many})
    alike = draw_curves("p", curves, {"few": few, "again": few})
    assert unlike.axes[0].get_xscale() == "log"
    assert alike.axes[0].get_xscale() == "linear"
    assert len(unlike.axes[1].lines[0].get_xdata()) == 0  # what a run does not have


def test_repetitions_are_averaged():
    metrics = {
        "environment_steps": np.array([10.0, 20.0, 10.0, 20.0]),
        "seed": np.array([0.0, 0.0, 1.0, 1.0]),
        "eval_return": np.array([1.0, np.nan, 3.0, 5.0]),
    }
    curve = Curve("eval_return", x="environment_steps", by="seed")
    x, mean, error = curve.of(metrics)
    np.testing.assert_array_equal(x, [10.0])
    np.testing.assert_allclose((mean, error), ([2.0], [1 / np.sqrt(2)]))
    assert curve.of({"step": np.ones(3)}) is None


def test_report_out_and_force(ended_run, tmp_path):
    out = tmp_path / "report"
    assert sobirl("report", ended_run, "--out", out)[0] == 0
    assert "exists; choose another or add --force" in sobirl("report", ended_run, "--out", out)[2]
    assert sobirl("report", ended_run, "--out", out, "--force")[0] == 0
    for folder in ("thesis", "mixed", "page"):
        (tmp_path / folder).mkdir()
    shutil.copy(out / "report.html", tmp_path / "mixed")
    (tmp_path / "mixed" / "chapter.tex").write_text("years of work")
    (tmp_path / "page" / "report.html").write_text("<title>my own report</title>")
    precious_ones = [tmp_path / folder for folder in ("thesis", "mixed", "page")]
    for precious in (*precious_ones, ended_run):
        error = sobirl("report", ended_run, "--out", precious, "--force")[2]
        assert "is no report of sobirl; --force leaves it alone" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed", "page", "report", "thesis"]


def test_names_are_escaped(ended_run, tmp_path):
    """In the page, and where the terminal would take brackets for markup."""
    link = tmp_path / "<script>[red]alert(1)[b]</script>".replace("/", "&")
    link.symlink_to(ended_run)
    assert "[red]" in sobirl("show", link)[1].replace("\n", "")
    assert sobirl("report", link, "--out", tmp_path / "report")[0] == 0
    assert "<script" not in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", "step,objective\n1,two\n", "step,objective\n1,2,3\n", "\x00\n", "\n\n"],
)
def test_damaged_metrics(stopped_run, tmp_path, text):
    (stopped_run / "metrics.csv").write_text(text)
    code, _, error = sobirl("report", stopped_run, "--out", tmp_path / "report")
    if text == "":  # nothing was written yet
        assert code == 0
        return
    assert code == 2
    assert "metrics.csv: is no table of metrics of sobirl" in error
    assert not (tmp_path / "report").exists()
    assert not list(tmp_path.glob(".report*"))


def test_report_needs_runs():
    code, _, error = sobirl("report")
    assert code == 2
    assert error.count("\n") == 1
