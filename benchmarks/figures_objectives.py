"""The figure of bench_objectives.py."""

import numpy as np
from matplotlib.figure import Figure

# Of matplotlib's colorblind style, each with a marker of its own.
_STYLES = {"loss": ("#0173b2", "o"), "kl": ("#de8f05", "s"), "win-rate": ("#029e73", "D")}
_PANELS = (
    # What is drawn, whether at equal entropy, the title, and what lies left and right of 0.
    ("loss", False, "cross-entropy φ on its own pairs", "better", "worse"),
    ("return", False, "true return", "worse", "better"),
    ("return", True, "true return at equal entropy", "worse", "better"),
)


def changes(results: dict) -> Figure:
    """What each objective's implicit term changes, with 95 % intervals, a row a kind of instances.

    Args:
        results: by kind, with `change(quantity, objective, controlled)`.
    """
    figure = Figure(figsize=(12, 1.6 + 0.42 * len(results)), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    places = np.arange(len(results))
    for axes, (quantity, controlled, title, left, right) in zip(panels, _PANELS, strict=True):
        for offset, (name, (color, marker)) in zip((-0.22, 0, 0.22), _STYLES.items(), strict=True):
            row = [each.change(quantity, name, controlled) for each in results.values()]
            axes.errorbar(
                [each.mean for each in row],
                places + offset,
                xerr=[each.half_width for each in row],
                fmt=marker,
                color=color,
                ms=5,
                lw=1.6,
                label=name,
            )
        axes.axvline(0, color="black", lw=1)
        axes.set(title=title, xlabel=f"← {left}      change      {right} →")
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        for place in places[::2]:
            axes.axhspan(place - 0.5, place + 0.5, color="black", alpha=0.04, lw=0)
    panels[0].set_yticks(places, list(results))
    panels[0].set_ylim(len(results) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure
