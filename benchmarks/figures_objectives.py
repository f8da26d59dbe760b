"""The figures of bench_objectives.py and bench_deep_objectives.py."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

# Of matplotlib's colorblind style, each with a marker of its own.
_STYLES = {
    "loss": ("loss: the cross-entropy φ", "#0173b2", "o"),
    "kl": ("kl: φ less the teacher's entropy", "#de8f05", "s"),
    "win-rate": ("win-rate", "#029e73", "D"),
}
_PANELS = (
    # What is drawn, whether at equal entropy, the title, what lies left and right of 0, the range.
    ("loss", False, "cross-entropy φ on its own pairs", "better", "worse", (-0.13, 0.065)),
    ("return", False, "true return", "worse", "better", (-0.47, 0.25)),
    ("return", True, "true return at equal entropy", "worse", "better", (-0.47, 0.25)),
)


def changes(groups: dict[str, tuple[Any, dict[str, Any]]]) -> Figure:
    """What each objective's implicit term changes, with 95 % intervals, a row a kind of instances.

    Args:
        groups: by heading all instances, and by kind those of the kind; each has
            `change(quantity, objective, controlled)`.
    """
    lines = {}  # from above: a heading and all of its instances, then its kinds
    for heading, (together, kinds) in groups.items():
        lines |= {heading: together, **kinds}
    together = np.array([name in groups for name in lines])
    places = np.arange(len(lines))
    figure = Figure(figsize=(12, 1.6 + 0.4 * len(lines)), layout="constrained")
    figure.suptitle(
        "What the implicit term changes, beside plain learning from preferences (bold: all kinds)"
    )
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (quantity, controlled, title, left, right, limits) in zip(
        panels, _PANELS, strict=True
    ):
        for offset, (name, (label, color, marker)) in zip(
            (-0.24, 0, 0.24), _STYLES.items(), strict=True
        ):
            row = [each.change(quantity, name, controlled) for each in lines.values()]
            mean = np.array([each.mean for each in row])
            error = np.array([each.half_width for each in row])
            for those, alpha, large in ((together, 1, 1.5), (~together, 0.55, 1)):
                axes.errorbar(
                    mean[those],
                    places[those] + offset,
                    xerr=error[those],
                    fmt=marker,
                    color=color,
                    alpha=alpha,
                    ms=5 * large,
                    lw=1.6 * large,
                    label=label if large > 1 else None,
                )
        axes.axvline(0, color="black", lw=1)
        axes.set(title=title, xlabel=f"← {left}      change      {right} →", xlim=limits)
        _bare(axes, len(lines))
    _named(panels[0], dict(zip(lines, together, strict=True)))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


_QUANTITIES = (
    ("cross_entropy", "cross-entropy φ on fresh pairs", "change", ("better", "worse")),
    (
        "controlled_return",
        "true return at equal entropy",
        "% of the true reward's gain",
        ("worse", "better"),
    ),
)
_METHODS = {"SoBiRL (loss)": "loss", "SoBiRL (win-rate)": "win-rate"}


def deep(
    changes: dict[tuple[str, str, str], tuple[float, float]], groups: dict[str, list[str]]
) -> Figure:
    """What SoBiRL changes beside DRLHF, a row a task.

    Args:
        changes: mean and two standard errors by quantity, method and task.
        groups: the tasks by heading.
    """
    lines = [row for heading, tasks in groups.items() for row in (heading, *tasks)]
    figure = Figure(figsize=(11, 1.8 + 0.42 * len(lines)), layout="constrained")
    figure.suptitle("Deep followers: SoBiRL beside DRLHF at equal labels and environment steps")
    panels = figure.subplots(1, len(_QUANTITIES), sharey=True)
    for axes, (quantity, title, unit, (left, right)) in zip(panels, _QUANTITIES, strict=True):
        for offset, (method, style) in zip((-0.14, 0.14), _METHODS.items(), strict=True):
            _, color, marker = _STYLES[style]
            rows = [
                (at, *changes[quantity, method, task])
                for at, task in enumerate(lines)
                if (quantity, method, task) in changes
            ]
            at, mean, error = np.array(rows).T
            axes.errorbar(
                mean, at + offset, xerr=error, fmt=marker, color=color, ms=5, lw=1.6, label=method
            )
        axes.axvline(0, color="black", lw=1)
        axes.set(title=title, xlabel=f"← {left}      {unit}      {right} →")
        _bare(axes, len(lines))
    _named(panels[0], {name: name in groups for name in lines})
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _bare(axes, count: int) -> None:
    """A grid, no frame, and every other row shaded."""
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for place in range(1, count, 2):
        axes.axhspan(place - 0.5, place + 0.5, color="black", alpha=0.04, lw=0)


def _named(axes, names: dict[str, bool]) -> None:
    """The rows' names from above, headings bold."""
    axes.set_yticks(range(len(names)), list(names))
    for label, is_heading in zip(axes.get_yticklabels(), names.values(), strict=True):
        label.set_fontweight("bold" if is_heading else "normal")
    axes.set_ylim(len(names) - 0.5, -0.5)
