"""Run directories from Python: `sobirl.record` is `minimize` with a directory of its own."""

import contextlib
import dataclasses
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobirl.core.errors import InvalidInputError
from sobirl.runs.curves import draw_history
from sobirl.runs.options import Count, StepwiseOptions

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem, Recorder, Result
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


def record(
    problem: "BilevelProblem",
    x0: Any,
    *,
    out: Path | str,
    name: str = "problem",
    num_steps: int = 500,
    starts: int = 1,
    key: int = 0,
    force: bool = False,
    tensorboard: bool = False,
    checkpoint_seconds: float = 10.0,
    metrics: "Callable[[Result], Mapping[str, float]] | None" = None,
    **options: Any,
) -> "Result":
    """`minimize`, in a run directory: metrics to watch, checkpoints, `sobirl show` and `report`.

    The same call made again goes on where an interrupted one stopped, bit for bit, and returns at
    once what a complete one has found. `sobirl resume` runs the script again that made the call.

    Args:
        problem: follower and objective.
        x0: as for `minimize`.
        out: the directory, for example "runs/tolls"; it gets `config.json`, `metrics.csv`,
            `checkpoint.npz`, and at the end `summary.json`, `x.npz` and `figures/`.
        name: what reports call the problem.
        num_steps: as for `minimize`.
        starts: as for `minimize`.
        key: an integer seed.
        force: replace the run that is in the directory.
        tensorboard: write the metrics as TensorBoard events too.
        checkpoint_seconds: the least time between two checkpoints.
        metrics: what to say of the result in natural units, for example
            `lambda result: {"toll_revenue": -result.objective}`.
        options: the other arguments of `minimize`.

    Returns:
        what `minimize` returns.

    Raises:
        InvalidInputError: as `minimize`; or the directory holds something else, or a run that had
            other arguments. Other functions of the problem are not noticed.
        KeyboardInterrupt: Ctrl-C; what was done is kept.
    """
    from sobirl.bilevel import Checkpoint
    from sobirl.runs import engine
    from sobirl.runs.configuration import fingerprint
    from sobirl.runs.saved import CHECKPOINT, SavedRun, is_run, read_config

    run = Recorded(
        out=Path(out),
        name=name,
        force=force,
        seed=key,
        num_steps=num_steps,
        starts=starts,
        tensorboard=tensorboard,
        checkpoint_seconds=checkpoint_seconds,
        arguments=described(options),
        call=_Call(problem, x0, metrics, options),
    )
    path = Path(out)
    if force or not is_run(path):
        return _result(engine.carry_out(run).outcome)
    run.validate()
    _refuse_other_options(run, SavedRun.load(path))
    finished = engine.resume(path, lambda saved: run)
    if finished is not None:
        return _result(finished.outcome)
    # Nothing is left to do, and nothing is to be written.
    kept = Checkpoint(path / CHECKPOINT, math.inf, fingerprint(run, read_config(path)))
    return _result(run.run(kept))


@dataclasses.dataclass(frozen=True)
class _Call:
    """What a file cannot hold."""

    problem: "BilevelProblem"
    x0: Any
    metrics: "Callable[[Result], Mapping[str, float]] | None"
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded(StepwiseOptions):
    """A problem of a user's own, recorded from Python."""

    name: str = "problem"
    """What reports call it."""
    num_steps: Count = 500
    """Outer steps."""
    starts: Count = 1
    """Starts that run side by side."""
    arguments: str = ""
    """The other arguments of `minimize`, as far as they can be told apart."""
    call: Any = dataclasses.field(default=None, metadata={"unstored": True})

    @property
    def problem(self) -> str:  # type: ignore[override]
        """The problem's name."""
        return self.name

    @staticmethod
    def called(name: str) -> str:
        """An option as it is called in Python."""
        return "key" if name == "seed" else name

    @property
    def command(self) -> list[str]:
        """The script that called."""
        script = _script()
        return ["python", script["path"], *script["arguments"]] if script else ["sobirl.record"]

    @property
    def program(self) -> dict[str, Any]:
        """The script that called, for `sobirl resume` to run again."""
        return {"script": _script()}

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Minimize."""
        from sobirl.bilevel import minimize
        from sobirl.hypergrad.methods import as_method
        from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings

        if self.call is None:
            raise InvalidInputError(
                f"{self.out}: was recorded from Python; make the same call of sobirl.record again"
            )
        problem, x0 = self.call.problem, self.call.x0
        result = minimize(
            problem,
            x0,
            num_steps=self.num_steps,
            starts=self.starts,
            key=self.seed,
            recorder=recorder,
            **self.call.options,
        )
        history = best_history(result)
        return Outcome(
            summary=summarize_result(
                result,
                result.status,
                objective=result.objective,
                problem=self.name,
                method=type(as_method(self.call.options.get("method"))).__name__,
                metrics=dict(self.call.metrics(result)) if self.call.metrics else {},
            ),
            history=history,
            report=[str(result), *warnings(result)],
            figures={"convergence": lambda: draw_history(self.curves, self.name, history)},
            x=result.x,
            result=result,
        )


def described(arguments: Mapping[str, Any]) -> str:
    """Arguments in words that are the same in every process: to notice when they change.

    Functions are known by their names alone, and optimizers by their first step as well.
    """
    import jax
    import numpy as np

    words = []
    for name, value in sorted(arguments.items()):
        numbers = [leaf for leaf in jax.tree.leaves(value) if not callable(leaf)]
        words.append(f"{name}={re.sub(' at 0x[0-9a-f]+', '', repr(value))}")
        words += [str(np.asarray(leaf).tolist()) for leaf in numbers]
        if name == "optimizer" and hasattr(value, "update"):
            probe = np.array([1.0, -2.0])
            with contextlib.suppress(Exception):  # one that asks for a certain x
                words.append(f"{value.update(probe, value.init(probe), probe)[0]}")
    return ", ".join(words)


def _result(outcome: "Outcome") -> "Result":
    assert outcome.result is not None  # `Recorded.run` has one
    return outcome.result


def _script() -> dict[str, Any] | None:
    """The program's file, arguments and folder; None of an interactive session."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    if path is None or not Path(path).is_file():
        return None
    return {"path": str(path), "arguments": sys.argv[1:], "folder": str(Path.cwd())}


def _refuse_other_options(run: Recorded, saved: "SavedRun") -> None:
    """Raise where the directory holds the run of another call.

    Raises:
        InvalidInputError: naming the first option that differs.
    """
    from sobirl.runs.decoding import encode

    now = encode(run)
    for field in dataclasses.fields(run):
        if field.metadata.get("aside") or field.metadata.get("unstored"):
            continue
        then = saved.config["options"].get(field.name)
        if then != now[field.name]:
            raise InvalidInputError(
                f"{saved.path}: holds a run with {run.called(field.name)} {then}, not "
                f"{now[field.name]}; "
                "choose another directory, or replace it with force=True"
            )
