"""Sweeps by either engine: every cell once, whatever happens in between."""

import csv
import errno
import io
import os
import signal
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from runs.conftest import sobirl
from runs.test_kill import outcome, wait_until
from sobirl.core.errors import InvalidInputError
from sobirl.core.locks import lock
from sobirl.runs.directory import RunDirectory
from sobirl.runs.saved import SavedRun
from sobirl.sweeps import Cell, LocalEngine, run_sweep
from sobirl.sweeps.engines import batches
from sobirl.sweeps.folder import SweepFolder
from sobirl.sweeps.progress import Progress
from sobirl.sweeps.work import Job, Settings, work
from sweeps.conftest import MODULE, TESTS

SMALL = {"states": 4, "dimension": 3, "num_steps": 4}


def waiting(diary, seeds, command="waiting", **options):
    return [Cell(command, {"diary": str(diary.folder), **options, "seed": s}) for s in seeds]


def sweep(cells, out, engine):
    return run_sweep(cells, out, engine, modules=[MODULE], progress=False)


def without_times(rows):
    return [{n: v for n, v in row.items() if not n.endswith("seconds")} for row in rows]


def test_the_table(diary, engine, tmp_path):
    """The same rows by either engine; the second time nothing is done."""
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    diary.go()
    cells = [
        *waiting(diary, [2, 1]),
        *(Cell("random-mdp", {**SMALL, "method": m, "seed": 1}) for m in ("exact", "m-sobirl")),
    ]
    swept = sweep(cells, tmp_path / "out", engine)
    assert swept.failures == {}
    rows = without_times(swept.rows)
    assert [row["cell"] for row in rows] == [cell.id for cell in cells]
    assert rows[0] == {
        "cell": cells[0].id,
        "command": "waiting",
        "diary": str(diary.folder),
        "states": None,
        "dimension": None,
        "num_steps": None,
        "method": "none",
        "seed": 2,
        "status": "done",
        "error": None,
        "steps": 0,
        "objective": 2.0,
        "hypergradient_norm": 0.0,
        "starts": 1,
        "converged": True,
        "follower_status": None,
        "metrics.twice": 4,
        "metrics.more.thrice": 6,
        "metrics.final_objective": None,
        "metrics.best_objective": None,
        "metrics.exact_objective": None,
        "metrics.exact_objective_at_first": None,
    }
    found = SavedRun.load(swept.path / "cells" / cells[2].id).summary
    assert rows[2]["method"] == "exact"
    assert rows[2]["objective"] == rows[2]["metrics.final_objective"] == found["objective"]
    assert swept.rows[2]["seconds"] == found["wall_seconds"]
    # Both files have what is returned.
    with (swept.path / "sweep.csv").open() as file:
        texts = list(csv.DictReader(file))
    texts_wanted = [{n: "" if v is None else str(v) for n, v in r.items()} for r in swept.rows]
    assert texts == texts_wanted
    assert pyarrow.read_table(swept.path / "sweep.parquet").to_pylist() == swept.rows
    again = sweep(cells, tmp_path / "out", engine)
    assert again.rows == swept.rows
    assert diary.count("begin") == {1: 1, 2: 1}
    # The cells are ordinary runs, and a sweep of some of them keeps the others.
    assert sobirl("show", swept.path / "cells" / cells[2].id)[0] == 0
    fewer = sweep(cells[2:], tmp_path / "out", engine)
    assert fewer.rows[0]["objective"] == found["objective"]
    assert SweepFolder(swept.path).is_done(cells[0].id)


@pytest.mark.slow  # a cluster and three sweeps
def test_engines_agree(ray_cluster, tmp_path):
    """Batched or not, here or there: cells with other seeds and step sizes."""
    from sobirl.sweeps import RayEngine

    cells = [
        Cell("random-mdp", {**SMALL, "method": "exact", "learning_rate": rate, "seed": seed})
        for rate in (0.01, 0.02)
        for seed in (0, 1)
    ]
    engines = {"alone": LocalEngine(2, batch=1), "batched": LocalEngine(1), "ray": RayEngine()}
    found = {
        name: without_times(run_sweep(cells, tmp_path / name, engine, progress=False).rows)
        for name, engine in engines.items()
    }
    for row, *others in zip(*found.values(), strict=True):
        assert row["status"] == "done"
        for other in others:
            assert other == {
                name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
                for name, value in row.items()
            }
    # A batched cell has what a run of its own has.
    alone, batched = (SavedRun.load(tmp_path / n / "cells" / cells[3].id) for n in list(found)[:2])
    assert batched.metrics().keys() == alone.metrics().keys()
    assert (batched.path / "checkpoint.npz").exists()


def test_a_killed_worker_loses_nothing_and_repeats_nothing(diary, engine, tmp_path):
    """SIGKILL in the middle of a cell: it is done again, the others are not."""
    seeds = range(4)
    found = []
    thread = threading.Thread(
        target=lambda: found.append(sweep(waiting(diary, seeds), tmp_path / "out", engine))
    )
    thread.start()
    try:
        diary.wait(lambda: len(diary.notes()) == 2)
        (_, killed, process), (_, other, _) = diary.notes()
        diary.go(other)
        diary.wait(lambda: diary.count("end")[other] == 1)
        for seed in {*seeds} - {killed}:
            diary.go(seed)
        os.kill(process, signal.SIGKILL)
        diary.wait(lambda: diary.count("begin")[killed] == 2)
    finally:
        diary.go()
        thread.join(90)
    (swept,) = found
    assert [row["status"] for row in swept.rows] == ["done"] * 4
    assert [row["objective"] for row in swept.rows] == [0.0, 1.0, 2.0, 3.0]
    assert diary.count("begin") == {seed: 1 + (seed == killed) for seed in seeds}
    assert diary.count("end") == dict.fromkeys(seeds, 1)


@pytest.mark.slow  # `test_failures_are_the_exit_code` has one
def test_a_failed_cell_stops_no_other(diary, engine, tmp_path):
    diary.go()
    cells = [*waiting(diary, [0, 1]), *waiting(diary, [2], trouble="error")]
    swept = sweep(cells, tmp_path / "out", engine)
    assert [row["status"] for row in swept.rows] == ["done", "done", "failed"]
    assert swept.rows[2]["error"] == "seed 2 has bad luck"
    assert swept.failures == {"waiting trouble=error seed=2": "seed 2 has bad luck"}
    details = (swept.path / "errors" / f"{cells[2].id}.txt").read_text()
    assert "Traceback" in details
    assert 'raise RuntimeError(f"seed {self.seed}' in details
    sweep(cells, tmp_path / "out", engine)
    assert diary.count("begin") == {0: 1, 1: 1, 2: 2}  # failed ones are tried again


@pytest.mark.slow  # three processes; a worker that is killed is in the default run
def test_a_cell_that_ends_its_process_fails_in_the_end(diary, tmp_path):
    diary.go()
    cells = [*waiting(diary, [0], trouble="death"), *waiting(diary, [1])]
    swept = sweep(cells, tmp_path / "out", LocalEngine(workers=1))
    assert [row["status"] for row in swept.rows] == ["failed", "done"]
    assert "its process ended 3 times, the last one by exit code 3" in swept.rows[0]["error"]
    assert diary.count("begin") == {0: 3, 1: 1}


def test_a_folder_has_one_sweep_at_a_time(diary, tmp_path):
    (tmp_path / "out").mkdir()
    with (
        lock(tmp_path / "out"),
        pytest.raises(InvalidInputError, match="another process is working on it"),
    ):
        sweep(waiting(diary, [0]), tmp_path / "out", LocalEngine(1))
    assert diary.notes() == []
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="file: is not a folder"):
        sweep(waiting(diary, [0]), tmp_path / "file", LocalEngine(1))


def process_of(diary, tmp_path, *engine):
    """`sobirl sweep` of four seeds with two workers, as a process."""
    config = tmp_path / "sweep.toml"
    config.write_text(
        f'command = "waiting"\nmodules = ["{MODULE}"]\nseeds = 4\n'
        f'fixed = {{ diary = "{diary.folder}" }}\n'
    )
    command = [sys.executable, "-m", "sobirl.apps.cli", "sweep", str(config), *engine]
    return subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGKILL, "local"),
        pytest.param(signal.SIGINT, "local", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "local", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "ray", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_sweep_goes_on(diary, tmp_path, request, number, name):
    """Its workers end with it, and the same command does what is missing."""
    words = ["--workers", "2"]
    if name == "ray":
        request.getfixturevalue("ray_cluster")
        import ray

        address = ray.get_runtime_context().gcs_address
        words = ["--engine", "ray", "--address", address]
    process = process_of(diary, tmp_path, *words)
    diary.wait(lambda: len(diary.notes()) == 2)
    (_, done, _), (_, stopped, _) = diary.notes()
    diary.go(done)
    diary.wait(lambda: len(diary.notes()) == 4)  # the third has begun
    process.send_signal(number)
    _, error = process.communicate(timeout=90)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert error.endswith(
            "sobirl: stopped; 1 of 4 cells are done, and what others have done is kept; go on with "
            "the same command\n"
        )
        with (tmp_path / "out" / "sweep.csv").open() as file:
            states = [row["status"] for row in csv.DictReader(file)]
        assert sorted(states) == ["done", "left", "left", "left"]
    process = process_of(diary, tmp_path, *words)
    # Not before: a worker of the first sweep may not have heard yet that it is gone.
    diary.wait(lambda: diary.count("begin")[stopped] == 2)
    diary.go()
    printed, error = process.communicate(timeout=90)
    assert process.returncode == 0, error
    assert "4 of 4 cells are done" in printed
    assert diary.count("end") == dict.fromkeys(range(4), 1)
    assert diary.count("begin")[done] == 1
    assert diary.count("begin")[stopped] == 2


def test_a_table_without_pyarrow(diary, tmp_path, monkeypatch):
    diary.go()
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    config = tmp_path / "sweep.toml"
    config.write_text(
        f'command = "waiting"\nmodules = ["{MODULE}"]\nfixed = {{ diary = "{diary.folder}" }}\n'
    )
    words = ("sweep", config, "--out", tmp_path / "out", "--workers", 1, "--quiet")
    code, printed, error = sobirl(*words)
    assert (code, error) == (0, "")
    assert "sweep.csv, cells/" in printed
    assert "pip install 'sobirl[parquet]'" in printed
    assert not (tmp_path / "out" / "sweep.parquet").exists()


def test_progress_counts_by_command():
    cells = [Cell("random-mdp", {"seed": seed}) for seed in range(3)]
    cells.append(Cell("four-rooms"))
    progress = Progress(cells, [cells[0].id])
    progress.run([cells[3].id])
    assert progress.line().startswith("1 of 4 done, 1 running; 0 s so far")
    progress.end(cells[1].id, failed=True)
    progress.end(cells[3].id, failed=False)
    progress.run([])
    assert progress.line().startswith("2 of 4 done, 1 failed; ")
    assert progress.line().endswith(" left")
    printed = io.StringIO()
    Console(file=printed, width=80).print(progress.table())
    rows = [line.strip("│ ").replace("│", " ").split() for line in printed.getvalue().split("\n")]
    for row in ("random-mdp 1 0 1 1", "four-rooms 1 0 0 0", "all 2 0 1 1"):
        assert row.split() in rows


def test_failures_are_the_exit_code(diary, tmp_path):
    diary.go()
    config = tmp_path / "sweep.toml"
    config.write_text(
        f'command = "waiting"\nmodules = ["{MODULE}"]\n'
        f'fixed = {{ diary = "{diary.folder}" }}\ngrid = {{ trouble = ["", "error"] }}\n'
    )
    code, printed, error = sobirl("sweep", config, "--out", tmp_path / "out", "--workers", 1)
    assert code == 1
    assert "1 of 2 cells are done" in printed
    assert error.endswith("failed: waiting trouble=error seed=0: seed 0 has bad luck\n")
    assert "1 of 2 done, 1 failed" in error  # the progress, where there is no terminal


@pytest.mark.slow  # three runs; `runs/test_kill.py` has one of them
def test_a_half_done_cell_goes_on_from_its_checkpoint(tmp_path):
    """Killed with SIGKILL after some steps, it ends bit for bit where an uninterrupted run ends."""
    options = {"states": 20, "dimension": 8, "num_steps": 3000, "method": "exact"}
    cell = Cell("random-mdp", {**options, "variant": "target-policy", "checkpoint_seconds": 0})
    words = cell.run_options.command[1:]
    assert sobirl(*words, "--quiet", "--out", tmp_path / "whole")[0] == 0
    run = tmp_path / "out" / "cells" / cell.id
    code = (
        "from sobirl.sweeps import *\n"
        f"run_sweep([Cell({cell.command!r}, {cell.options!r})], {str(tmp_path / 'out')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    assert wait_until((run / "checkpoint.npz").exists, process)
    process.kill()
    process.wait()
    steps = SavedRun.load(run).steps()
    assert 0 < steps < 3000
    run_sweep([cell], tmp_path / "out", LocalEngine(1), progress=False)
    assert outcome(run) == outcome(tmp_path / "whole")


@pytest.mark.slow  # two runs; `runs/test_damage.py` has damaged runs of all kinds
def test_a_damaged_cell_is_done_again(tmp_path):
    cell = Cell("random-mdp", SMALL)
    engine = LocalEngine(1)
    first = run_sweep([cell], tmp_path / "out", engine, progress=False)
    run = tmp_path / "out" / "cells" / cell.id
    (run / "summary.json").unlink()
    (run / "checkpoint.npz").write_bytes(b"no checkpoint")
    second = run_sweep([cell], tmp_path / "out", engine, progress=False)
    assert without_times(first.rows) == without_times(second.rows)


def work_together(diary, tmp_path, *troubles):
    """What a worker does with cells of one batch; its folder, and its answers."""
    folder = SweepFolder(tmp_path / "out")
    folder.make()
    cells = [*waiting(diary, range(2), "together"), *waiting(diary, [2], "together", trouble="")]
    cells += [
        cell
        for n, trouble in enumerate(troubles, 3)
        for cell in waiting(diary, [n], "together", trouble=trouble)
    ]
    assert len({cell.program for cell in cells}) == 1
    jobs = [Job(cell.id, cell.command, cell.explicit) for cell in cells]
    return folder, jobs, work(Settings(str(folder.path), str(TESTS)), jobs)


def test_a_batch_has_a_directory_a_cell(diary, tmp_path):
    diary.go()
    folder, jobs, answers = work_together(diary, tmp_path)
    assert [answer.error for answer in answers] == [""] * 3
    assert diary.count("batch") == {0: 1}
    assert diary.count("end") == dict.fromkeys(range(3), 1)
    for seed, job in enumerate(jobs):
        assert SavedRun.load(folder.run(job.id)).summary["objective"] == seed


def test_the_cell_at_fault_fails_alone(diary, tmp_path):
    """A batch that fails is done again cell by cell."""
    diary.go()
    folder, jobs, answers = work_together(diary, tmp_path, "error")
    assert [answer.error for answer in answers] == ["", "", "", "seed 3 has bad luck"]
    assert [folder.state(job.id) for job in jobs] == ["done"] * 3 + ["failed"]
    assert diary.count("batch") == {0: 1}


def test_a_batch_that_is_stopped_leaves_nothing_half_made(diary, tmp_path):
    folder, jobs, answers = work_together(diary, tmp_path, "interrupt")
    with pytest.raises(KeyboardInterrupt):
        next(answers)
    assert [folder.state(job.id) for job in jobs] == ["left"] * 4
    assert list((folder.path / "cells").iterdir()) == []


def test_a_full_disk_keeps_the_checkpoint(tmp_path, monkeypatch):
    """What is half-done is good: it is not begun anew."""
    cell = Cell("random-mdp", SMALL)
    folder, job = SweepFolder(tmp_path / "out"), Job(cell.id, cell.command, cell.explicit)
    folder.make()
    settings = Settings(str(folder.path), str(TESTS))
    (answer,) = work(settings, [job])
    assert answer.error == ""
    run = folder.run(cell.id)
    (run / "summary.json").unlink()
    before = (run / "checkpoint.npz").read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "finish", full)
        (answer,) = work(settings, [job])
    assert "No space left on device; 4 of 4 steps are kept" in answer.error
    assert (run / "checkpoint.npz").read_bytes() == before
    assert folder.state(cell.id) == "failed"
    (answer,) = work(settings, [job])
    assert (answer.error, folder.state(cell.id)) == ("", "done")


def test_batches_leave_no_worker_without_work():
    jobs = [Job(str(n), "random-mdp", {}) for n in range(40)]
    assert [len(b) for b in batches([jobs], 2, None)] == [14, 14, 12]
    assert [len(b) for b in batches([jobs[:4]], 4, None)] == [1, 1, 1, 1]
    assert [len(b) for b in batches([jobs[:3], jobs[3:4]], 2, None)] == [2, 1, 1]
    assert [len(b) for b in batches([jobs[:4]], 1, 3)] == [2, 2]
    assert [j for b in batches([jobs[:5], jobs[5:]], 3, None) for j in b] == jobs


def test_an_address_without_a_cluster_is_refused(tmp_path, monkeypatch):
    """At once, where Ray would try for minutes."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from sobirl.sweeps import RayEngine

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InvalidInputError, match="address: no cluster answers at localhost:1 "):
        run_sweep(
            [Cell("random-mdp", SMALL)],
            tmp_path / "out",
            RayEngine(address="localhost:1"),
            progress=False,
        )


def test_a_cluster_that_is_too_small_is_refused(ray_cluster, tmp_path):
    """Ray would wait for ever."""
    from sobirl.sweeps import RayEngine

    message = "gpus: the cluster has 0, got 1 for a cell; start a machine that has them first"
    with pytest.raises(InvalidInputError, match=message):
        run_sweep([Cell("random-mdp", SMALL)], tmp_path / "out", RayEngine(gpus=1), progress=False)
