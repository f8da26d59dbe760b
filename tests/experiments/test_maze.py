"""`sobirl run maze`: what a run writes, and its figure at every size."""

import csv
import json

import numpy as np
import pytest

from runs.conftest import sobirl
from sobirl.experiments.maze import MazeRun, figures
from sobirl.experiments.maze.run import Walkers

SMALL = ("run", "maze", "--size", 8, "--blocks", 4, "--budget", 3, "--walls", 0.1, "--quiet")


@pytest.mark.usefixtures("unrendered")
def test_the_answer(tmp_path):
    code, printed, error = sobirl(*SMALL, "--num-steps", 30, "--out", tmp_path / "run")
    assert (code, error) == (0, "")
    assert "walkers through the quiet quarter" in " ".join(printed.split())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    metrics = summary["metrics"]
    placed, even, none = (
        metrics[name] for name in ("share", "share_with_even_tolls", "share_without_tolls")
    )
    assert 0 < placed < even < none < 1
    assert placed == summary["objective"]
    assert metrics["steps"] > metrics["steps_without_tolls"] > 7
    with (tmp_path / "run" / "tolls.csv").open() as file:
        tolls = [float(row["toll"]) for row in csv.DictReader(file)]
    assert len(tolls) == 16
    assert min(tolls) >= 0
    np.testing.assert_allclose(sum(tolls), metrics["budget_used"])
    assert sum(tolls) <= 3 + 1e-12
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {
        "convergence",
        "maze",
    }


@pytest.mark.usefixtures("unrendered")
@pytest.mark.slow  # every such method has its own tests
def test_a_method_that_samples(tmp_path):
    command = (*SMALL, "--method", "naive", "--environment-steps", 200, "--num-steps", 2)
    assert sobirl(*command, "--out", tmp_path / "run")[0] == 0
    metrics = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    # The explicit gradient is 0: even tolls stay.
    np.testing.assert_allclose(metrics["share"], metrics["share_with_even_tolls"], rtol=1e-6)


def test_defaults_go_by_size():
    assert MazeRun().steps == 100
    assert MazeRun(size=300).steps == 5
    assert MazeRun(size=300, num_steps=7).steps == 7


@pytest.mark.parametrize(("size", "cells"), [(12, 12), (201, 101)])
def test_the_figure(size, cells):
    """Large mazes are drawn by squares of cells."""
    maze = MazeRun(size=size, blocks=5).maze
    visits = np.linspace(0, 1, maze.free.sum())
    walkers = Walkers(visits, np.array(0.5), visits, np.array(0), None)
    figure = figures.tolls_and_flow(maze, np.eye(5), walkers, walkers)
    left = figure.axes[0]
    assert left.images[1].get_array().shape == (cells, cells)
    assert "50% through the quiet quarter" in left.get_title()
    figure.canvas.draw()
