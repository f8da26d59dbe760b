"""The life of a run: made, carried out, completed, or put back; taken up again after any end.

    finished = carry_out(options)             # a new directory
    finished = resume(path, options_of)       # or one that was stopped

The command line, `sobirl.record` and programs of users' own go through the same two functions.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from sobirl.bilevel.interrupts import deferred_interrupt, termination_as_interrupt
from sobirl.core.errors import EnvironmentFailedError, InvalidInputError, SobirlError
from sobirl.core.locks import lock
from sobirl.runs.clock import Clock, Seconds, Share
from sobirl.runs.directory import RunDirectory, clean
from sobirl.runs.options import RunOptions
from sobirl.runs.outcome import Outcome
from sobirl.runs.saved import SavedRun


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that is complete and written.

    Attributes:
        path: its directory, relative where that is shorter.
        outcome: what it found.
        seconds: where the time of this process went.
    """

    path: Path
    outcome: Outcome
    seconds: Seconds


def carry_out(options: RunOptions, clock: Clock | None = None) -> Finished:
    """A new run: check the options, make the directory, compute, and write what was found.

    A new directory in which nothing is kept is removed again if the run ends early.

    Args:
        options: what is run.
        clock: measures it, from an earlier time on than now.

    Raises:
        InvalidInputError: the options or the directory cannot be used, the disk is full or the
            like; the message says what is left to do.
        KeyboardInterrupt: Ctrl-C or SIGTERM, with what is left to do as its message.
    """
    clock = clock or Clock()
    options.validate()
    with RunDirectory.create(options) as directory:
        return _carry_out(directory, clock, is_new=True)


def resume(
    path: Path, options_of: Callable[[SavedRun], RunOptions], clock: Clock | None = None
) -> Finished | None:
    """Go on with a run that was stopped or killed, as if it had not been.

    Args:
        path: its directory, whose last checkpoint and config.json decide everything.
        options_of: finds the options of a saved run.
        clock: measures it, from an earlier time on than now.

    Returns:
        None for a run that has ended already.

    Raises:
        InvalidInputError: as `carry_out`, or the directory is damaged.
        KeyboardInterrupt: as `carry_out`.
    """
    clock = clock or Clock()
    SavedRun.load(path)  # says what is wrong with it, if anything is
    with lock(path):
        saved = SavedRun.load(path)  # as it is now that no other process works on it
        if saved.summary is not None:
            clean(path)
            return None
        options = options_of(saved)
        options.validate()
        return _carry_out(RunDirectory(path, options), clock, is_new=False)


def _carry_out(directory: RunDirectory, clock: Clock, is_new: bool) -> Finished:
    try:
        with termination_as_interrupt():
            with clock.computing():
                outcome = directory.options.run(directory.recorder())
            seconds = directory.finish(outcome, clock)
    except BaseException as error:
        with deferred_interrupt():
            kept = not is_new or directory.is_kept or directory.is_complete
            if isinstance(error, SobirlError) and error.details:
                kept = True
                directory.write_error(error.details)
            if not kept:
                directory.abandon()
            goes_on = isinstance(error, EnvironmentFailedError) and kept
            if not (goes_on or isinstance(error, (KeyboardInterrupt, OSError))):
                raise
            rest = _how_to_go_on(directory) if kept else "nothing was written"
        if isinstance(error, EnvironmentFailedError):
            raise EnvironmentFailedError(f"{error}; {rest}", details=error.details) from error
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"stopped; {rest}") from None
        where, what = error.filename or directory.path, error.strerror or error
        raise InvalidInputError(f"{where}: {what}; {rest}") from error
    return Finished(shown(directory.path), outcome, seconds)


def carry_out_batch(runs: Sequence[RunOptions], clock: Clock | None = None) -> list[Finished]:
    """New runs that are computed in one program, see `RunOptions.batched`.

    Each has its own directory, checkpoint and metrics, and can be resumed alone. Its seconds are
    its share.

    Args:
        runs: what is run, with a directory each.
        clock: measures all of it.

    Raises:
        InvalidInputError: as `carry_out`, or they cannot share a program. What has no checkpoint is
            removed again.
        KeyboardInterrupt: as `carry_out`; what has a checkpoint is kept.
    """
    clock = clock or Clock()
    for run in runs:
        run.validate()
    with contextlib.ExitStack() as held:
        directories = [held.enter_context(RunDirectory.create(run)) for run in runs]
        try:
            with termination_as_interrupt():
                with clock.computing():
                    recorders = [directory.recorder() for directory in directories]
                    outcomes = type(runs[0]).run_batch(runs, recorders)
                share = Share(clock, len(runs))
                return [
                    Finished(shown(directory.path), outcome, directory.finish(outcome, share))
                    for directory, outcome in zip(directories, outcomes, strict=True)
                ]
        except BaseException:
            with deferred_interrupt():
                for directory in directories:
                    if not (directory.has_checkpoint or directory.is_complete):
                        directory.abandon()
            raise


def _how_to_go_on(directory: RunDirectory) -> str:
    if directory.is_complete:
        return f"but everything is written: sobirl show {shown(directory.path)}"
    saved = SavedRun.load(shown(directory.path))
    total = getattr(directory.options, "num_steps", None)
    of_all = "" if total is None else f" of {total}"
    return f"{saved.steps()}{of_all} steps are kept, go on with: {saved.resume_command}"


def shown(path: Path) -> Path:
    """The path as people would type it: relative where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path
