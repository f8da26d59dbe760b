"""`sobirl bench`: its runs by the engine of sweeps, and what is written of them."""

from collections.abc import Sequence
from pathlib import Path

from sobirl.bench import figures
from sobirl.bench.leaderboard import Leaderboard, read_board
from sobirl.bench.tables import markdown
from sobirl.bench.tasks import Budget, cells_of, tasks
from sobirl.runs.files import csv_text, write_file
from sobirl.sweeps.engines import Engine
from sobirl.sweeps.folder import SweepFolder
from sobirl.sweeps.local import LocalEngine
from sobirl.sweeps.sweep import run_sweep


def run_bench(
    names: Sequence[str] = (),
    methods: Sequence[str] = (),
    *,
    seeds: int = 5,
    budget: Budget | None = None,
    out: Path | str = "bench",
    engine: Engine | None = None,
    cache: bool = True,
    progress: bool | None = None,
) -> Leaderboard:
    """Carry out every run that is not done yet, and write the leaderboard.

    The same call again does what is missing; another one in the same folder keeps what is done.

    Args:
        names: tasks; by default the quick ones, with the full budget all.
        methods: of each task those that it has; all by default.
        seeds: runs of a method on a task.
        budget: of every run.
        out: the folder: that of a sweep, with `leaderboard.csv`, `leaderboard.md` and figures.
        engine: who does the work, `LocalEngine()` by default. Within a limit of time a run should
            have a processor for itself.
        cache: whether compiled programs are kept.
        progress: False to show none.

    Raises:
        InvalidInputError: there is no such task or method, or another process works on the folder.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was done is kept.
    """
    budget = budget or Budget()
    wanted = cells_of(names, methods, seeds, budget)
    cells = [cell for own in wanted.values() for runs in own.values() for cell in runs]
    if engine is None:
        engine = LocalEngine(batch=None if budget.seconds is None else 1)
    swept = run_sweep(cells, out, engine, cache=cache, progress=progress)
    folder, known = SweepFolder(swept.path), tasks()
    boards = [read_board(known[name], own, folder) for name, own in wanted.items()]
    board = Leaderboard(swept.path, boards, swept.failures)
    _write(board)
    return board


def _write(board: Leaderboard) -> None:
    rows = board.rows()
    header = list(rows[0]) if rows else ["task"]
    write_file(board.path / "leaderboard.csv", csv_text(header, (row.values() for row in rows)))
    write_file(board.path / "leaderboard.md", markdown(board))
    (board.path / "figures").mkdir(exist_ok=True)
    drawn = {f"curves-{one.task.name}": figures.curves(one) for one in board.boards}
    drawn["scores"] = figures.scores(board.scores)
    for name, figure in drawn.items():
        figure.savefig(board.path / "figures" / f"{name}.png", dpi=150)
