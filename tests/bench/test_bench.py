"""Benchmarks of a stranger's problem, whose results are known, and of what ships."""

import csv
import dataclasses
from typing import Annotated, Literal

import numpy as np
import pytest

from runs.conftest import sobirl
from sobirl.bench import Budget, cells_of, run_bench, tasks
from sobirl.core.errors import InvalidInputError
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.runs.benchmark import Benchmark, Published
from sobirl.runs.options import Choices, Count, RunOptions, StepwiseOptions, choices_of
from sobirl.runs.outcome import Outcome, summarize
from sobirl.sweeps.work import work_in_this_process

# What each method reaches beyond nothing, of the 10 that are possible.
GAINS = {"careful": 10.0, "hasty": 4.0, "harmful": -2.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hill(RunOptions):
    """A hill whose height is known."""

    problem = "hill"
    benchmarks = (
        Benchmark(
            measure="height",
            first="height_at_first",
            label="height",
            options={"num_steps": 4},
            full={"num_steps": 8},
            published=lambda: [Published("theirs", 7.5, "somebody (1999)")],
        ),
    )
    method: Annotated[str, Choices(lambda: list(GAINS))] = "careful"
    num_steps: Count = 100
    environment_steps: Count = 50

    def run(self, recorder=None):
        """Climb at once."""
        if (self.method, self.seed) == ("hasty", 3):
            raise InvalidInputError("the hill: came down")
        first = 100.0 * self.seed
        height = first + GAINS[self.method] + (self.method == "hasty") * self.seed
        return Outcome(
            summary=summarize(
                problem="hill",
                method=self.method,
                objective=-height,
                metrics={"height": height, "height_at_first": first},
                hypergradient_norm=0.0,
                steps=self.num_steps,
                starts=1,
                converged=True,
            ),
            history={
                "objective": -np.linspace(first, height, self.num_steps),
                "environment_steps": np.full(self.num_steps, float(self.environment_steps)),
            },
            report=[],
            figures={},
        )


class Here:
    """An engine that does all work itself."""

    def carry_out(self, groups, settings):
        for jobs in groups:
            for job in jobs:
                yield from work_in_this_process(settings, [job])


@pytest.fixture
def hill(monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "hill", Hill)


def bench(path, **options):
    return run_bench(["hill"], out=path, engine=Here(), progress=False, **options)


def test_the_leaderboard(hill, tmp_path):
    board = bench(tmp_path / "out", seeds=3)
    (hill_board,) = board.boards
    assert [line.method for line in hill_board.lines] == ["careful", "hasty", "harmful"]
    careful, hasty, harmful = hill_board.lines
    np.testing.assert_allclose(careful.scores, 1)
    np.testing.assert_allclose(hasty.scores, [0.4, 0.5, 0.6])
    np.testing.assert_allclose(harmful.scores, -0.2)
    np.testing.assert_array_equal(careful.values, [10, 110, 210])
    assert careful.value == 110 and careful.interval == (10, 210)
    assert 0.4 <= hasty.score <= 0.6
    np.testing.assert_array_equal(hasty.environment_steps, 4 * 50)
    assert [score.method for score in board.scores] == ["careful", "hasty", "harmful"]
    assert board.scores[1].tasks == 1

    text = (board.path / "leaderboard.md").read_text()
    assert "| theirs (somebody (1999)) | 7.5 | published |" in text
    assert careful.command() in text
    with (board.path / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 and float(rows[4]["score"]) == 0.5
    assert {path.name for path in (board.path / "figures").iterdir()} == {
        "curves-hill.png",
        "scores.png",
    }


def test_a_command_of_the_table_repeats_a_run(hill, tmp_path):
    board = bench(tmp_path / "out", seeds=2)
    line = board.boards[0].lines[1]
    words = line.command(1).split()
    assert words[words.index("run") :] == [
        "run",
        "hill",
        "--seed",
        "1",
        "--method",
        "hasty",
        "--num-steps",
        "4",
    ]


def test_a_failure_stops_no_other_and_is_tried_again(hill, tmp_path, monkeypatch):
    board = bench(tmp_path / "out", seeds=4)
    assert list(board.failures.values()) == ["the hill: came down"]
    lines = {line.method: line for line in board.boards[0].lines}
    assert [len(line.runs) for line in lines.values()] == [4, 3, 4]
    assert "3 of 4" in (board.path / "leaderboard.md").read_text()
    begun = {path: path.stat().st_mtime_ns for path in board.path.glob("cells/*/summary.json")}
    assert len(begun) == 11
    again = bench(tmp_path / "out", seeds=4, methods=["careful"])
    assert not again.failures and len(again.rows()) == 4
    for path, time in begun.items():  # what is done stays
        assert path.stat().st_mtime_ns == time


def test_budgets(hill):
    cell = cells_of(["hill"], [], 1, Budget())["hill"]["careful"][0]
    assert dict(cell.options) == {"num_steps": 4, "method": "careful", "seed": 0}
    assert tasks()["hill"].cell("hasty", 0, Budget(full=True)).options["num_steps"] == 8
    cell = tasks()["hill"].cell("hasty", 0, Budget(environment_steps=401))
    assert cell.options["environment_steps"] == 100
    # By the clock: of the published budget, which is the longer one.
    options = tasks()["hill"].cell("hasty", 0, Budget(seconds=2.0)).options
    assert (options["num_steps"], options["time_limit"]) == (8, 2.0)
    with pytest.raises(InvalidInputError, match="1 for each of the 4 outer steps of hill, got 3"):
        cells_of(["hill"], [], 1, Budget(environment_steps=3))


def test_a_task_that_cannot_be_stopped_by_the_clock_says_so(hill):
    (cell,) = cells_of(["hill"], ["hasty"], 1, Budget(seconds=2.0))["hill"]["hasty"]
    with pytest.raises(InvalidInputError, match="hill has no option 'time_limit'"):
        cell.run_options.validate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hil"], r"tasks: there is no 'hil' \(did you mean 'hill'\?\); there are "),
        (["hill", "--methods", "carful"], r"methods: none of the tasks has 'carful' \(did you"),
        (["hill", "--seeds", "0"], "seeds: must be at least 1, got 0"),
    ],
)
def test_bad_choices(hill, tmp_path, arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        methods = arguments[2:] if "--methods" in arguments else []
        seeds = int(arguments[2]) if "--seeds" in arguments else 1
        cells_of(arguments[:1], methods, seeds, Budget())
    code, _, error = sobirl("bench", *arguments, "--out", tmp_path / "out")
    assert code == 2 and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_ships_can_be_run():
    """Every task's runs are within their options' types, in either budget."""
    shipped = {name: task for name, task in tasks().items() if name != "hill"}
    assert len(shipped) >= 7
    for task in shipped.values():
        assert task.benchmark.steps or "exact" in task.methods  # deep ones have no model
        for full in (False, True):
            task.cell(task.methods[-1], 0, Budget(full, seconds=1.0)).run_options.validate()
        assert issubclass(task.kind, StepwiseOptions)
        task.benchmark.published()


def test_deep_tasks_count_their_steps_in_all():
    task = tasks()["incentives"]
    options = task.cell("explicit", 0, Budget(environment_steps=5000)).options
    assert options["steps"] == 5000 and "environment_steps" not in options


def test_choices_of_types():
    assert choices_of(Hill, "method") == tuple(GAINS)
    assert choices_of(Hill, "seed") == ()

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Coin(Hill):
        """Two sides."""

        side: Literal["heads", "tails"] = "heads"

    assert choices_of(Coin, "side") == ("heads", "tails")
