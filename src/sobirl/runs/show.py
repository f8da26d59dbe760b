"""What `sobirl show` prints of a run."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sobirl.core.locks import is_locked
from sobirl.runs.saved import LABELS, SavedRun

if TYPE_CHECKING:
    from rich.console import RenderableType


def show(run: SavedRun) -> "Iterator[RenderableType]":
    """The run's command, how far it came, and what it found."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(str(run.path)), show_header=False, title_justify="left")
    table.add_column("entry", style="bold")
    table.add_column("value", overflow="fold")
    table.add_row("command", Text(run.command))
    table.add_row("made with", Text(f"sobirl {run.config['versions']['sobirl']}"))
    table.add_row("state", Text(state(run)), end_section=True)
    for name, value in facts(run).items():
        table.add_row(Text(name), Text(shown(value)))
    if (run.path / LABELS).is_dir():
        table.add_section()
        for name, value in people(run).items():
            table.add_row(Text(name), Text(shown(value)))
    paths = [path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file()]
    seen = [path for path in paths if not any(p[0] == "." for p in path.parts)]
    files = sorted({f"{LABELS}/" if path.parts[0] == LABELS else str(path) for path in seen})
    table.add_section()
    table.add_row("files", Text("\n".join(files)))
    yield table


def people(run: SavedRun) -> dict:
    """How many pairs are labelled and wait, and what is known of those who label."""
    from sobirl.prefs import PreferenceStore

    with PreferenceStore(run.path / LABELS) as store:
        waiting, rates = len(store.unlabelled()), store.mistake_rates()
        learned = store.first_seen()
        return {
            "pairs labelled": len(store) - waiting,
            "pairs waiting": waiting,
            "pairs learned from": f"{len(learned)}, the last in round {max(learned.values()) + 1}"
            if learned
            else 0,
        } | {
            f"mistakes of {who or 'a program'}": f"{rate:.0%}, estimated"
            for who, rate in sorted(rates.items())
        }


def state(run: SavedRun) -> str:
    """Whether it has ended, is going on, or waits to be resumed."""
    if run.summary is not None:
        return f"ended after {run.summary['steps']} steps"
    total = run.config["options"].get("num_steps")
    done = f"{run.steps()} of {total} steps kept" if total else "not ended"
    return f"{done}; running now" if is_locked(run.path) else f"{done}; {run.resume_command}"


def facts(run: SavedRun, values: Sequence[str] = ()) -> dict:
    """The numbers that `summary.json` has; of an unfinished run the last row of its metrics.

    Args:
        run: the run.
        values: the metrics that count; all of them by default.
    """
    if run.summary is None:
        return {name: column[-1] for name, column in run.metrics().items() if len(column)}
    known = ("objective", "hypergradient_norm", "projected_gradient_norm", "converged")
    own = {name: run.summary[name] for name in known if name in run.summary}
    # How the follower was solved is of interest only where it was not solved well.
    status = run.summary.get("status", "converged")
    own |= {} if status == "converged" else {"follower": status}
    seconds = {"run_seconds": run.summary.get("run_seconds")}
    metrics = run.summary["metrics"]
    chosen = {name: metrics[name] for name in values if name in metrics} if values else metrics
    return {"method": run.summary["method"], **chosen, **own, **seconds}


def shown(value) -> str:
    """A value for people: six digits, and what is in a list or a table one after another."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown(entry)}" for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(shown, value))
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
