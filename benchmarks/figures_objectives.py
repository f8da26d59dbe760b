"""The figure of bench_objectives.py."""

import numpy as np
from matplotlib.figure import Figure

# Of matplotlib's colorblind style, each with a marker of its own.
_STYLES = {
    "loss": ("loss: cross-entropy φ", "#0173b2", "o"),
    "kl": ("kl: φ less the teacher's entropy", "#de8f05", "s"),
    "win-rate": ("win-rate", "#029e73", "D"),
}
_PANELS = (
    # What is drawn, whether at equal entropy, the title, what lies left and right of 0, the range.
    ("loss", False, "cross-entropy φ on its own pairs", "better", "worse", (-0.13, 0.065)),
    ("return", False, "true return", "worse", "better", (-0.47, 0.25)),
    ("return", True, "true return at equal entropy", "worse", "better", (-0.47, 0.25)),
)


def changes(groups: dict[str, dict]) -> Figure:
    """What each objective's implicit term changes, with 95 % intervals, a row a kind of instances.

    Args:
        groups: by heading and kind, with `change(quantity, objective, controlled)`.
    """
    lines = []  # from above: a heading, or a kind and what was compared
    for heading, kinds in groups.items():
        lines += [(heading, None), *kinds.items()]
    rows = [(place, each) for place, (_, each) in enumerate(lines) if each is not None]
    places = np.array([place for place, _ in rows])
    figure = Figure(figsize=(12, 1.6 + 0.4 * len(lines)), layout="constrained")
    figure.suptitle("What the implicit term changes, beside plain learning from preferences")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (quantity, controlled, title, left, right, limits) in zip(
        panels, _PANELS, strict=True
    ):
        for offset, (name, (label, color, marker)) in zip(
            (-0.24, 0, 0.24), _STYLES.items(), strict=True
        ):
            row = [each.change(quantity, name, controlled) for _, each in rows]
            axes.errorbar(
                [each.mean for each in row],
                places + offset,
                xerr=[each.half_width for each in row],
                fmt=marker,
                color=color,
                ms=5,
                lw=1.6,
                label=label,
            )
        axes.axvline(0, color="black", lw=1)
        axes.set(title=title, xlabel=f"← {left}      change      {right} →", xlim=limits)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        for place in places[::2]:
            axes.axhspan(place - 0.5, place + 0.5, color="black", alpha=0.04, lw=0)
    panels[0].set_yticks(range(len(lines)), [name for name, _ in lines])
    for label, (_, each) in zip(panels[0].get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if each is None else "normal")
    panels[0].set_ylim(len(lines) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
