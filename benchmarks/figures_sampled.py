"""The figures of bench_estimators.py and bench_sampled_four_rooms.py."""

import numpy as np
from matplotlib.figure import Figure

# By family of methods, colors of matplotlib's colorblind style.
COLORS = {
    "plugin": "#0b3c5d",
    "pluginintworounds": "#c1121f",
    "advantagetrace": "#0173b2",
    "sobirl": "#029e73",
    "stocsobirl": "#56b4e9",
    "hpgd": "#de8f05",
    "bchg": "#8a5a00",
    "naive": "#949494",
    "zeroorder": "#cc78bc",
    "amd": "#ca9161",
    "pbrl": "#000000",
}
_LEAST = 1e-4  # a smaller bias is drawn there
_NOTE = {"rotation": 90, "va": "top", "ha": "center", "fontsize": 8, "color": "0.4"}


def color_of(label: str) -> str:
    """The color of a method, as it is called in Python or on the command line."""
    return COLORS[label.split(",")[0].replace("-", "").replace(" ", "").lower()]


def bias_and_deviation(found: dict[str, dict]) -> Figure:
    """Bias against the standard deviation per 1,000 environment steps, one panel a problem.

    Open triangles are upper bounds: the bias was not told apart from 0.
    """
    figure = Figure(figsize=(15, 5.2), layout="constrained")
    panels = figure.subplots(1, len(found))
    for axes, (problem, methods) in zip(panels, found.items(), strict=True):
        sampled = [one.deviation_per_1000 for one in methods.values() if one.deviation_per_1000]
        left = min(sampled) / 5
        axes.axvspan(left / 3, left * 2, color="0.93", lw=0)
        axes.text(left, 0.98, "no samples", transform=axes.get_xaxis_transform(), **_NOTE)
        for number, (label, one) in enumerate(methods.items(), start=1):
            color = color_of(label)
            x = one.deviation_per_1000 or left
            # A bias within twice the noise of its measurement is drawn as that bound.
            known = one.bias > 2 * one.error
            y = max(one.bias if known else 2 * one.error, _LEAST)
            axes.plot(x, y, "o" if known else "v", color=color, ms=7, mfc=color if known else "w")
            axes.annotate(
                f"{number}", (x, y), xytext=(5, 3), textcoords="offset points", color=color
            )
            axes.plot([], [], "o", color=color, label=f"{number} {label}")
        axes.set(
            xscale="log",
            yscale="log",
            title=problem,
            xlabel="standard deviation per 1,000 environment steps",
        )
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(
            frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2
        )
    panels[0].set_ylabel("bias relative to ‖∇φ‖ (triangles: less than)")
    return figure


def learning_curves(cells: list[dict], along: str) -> Figure:
    """The leader's value along the runs, one panel a cell: mean and standard error over the seeds.

    Args:
        cells: of each its `title`, the highest `published` value, and its `curves`: by label
            (color, x (T,), values (seeds, T)).
        along: what x is.
    """
    columns = 3
    rows = -(-len(cells) // columns)
    figure = Figure(figsize=(4.6 * columns, 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, cell in zip(panels.flat, cells, strict=True):
        for label, (color, x, values) in cell["curves"].items():
            mean = values.mean(axis=0)
            error = values.std(axis=0) / np.sqrt(len(values))
            axes.plot(x, mean, color=color, lw=1.4, label=label)
            axes.fill_between(x, mean - error, mean + error, color=color, alpha=0.2, lw=0)
        axes.axhline(cell["published"], color="0.3", ls="--", lw=1, label="best published")
        axes.set(title=cell["title"], xscale="log")
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(along, fontsize=11)
    figure.supylabel("leader value of the best start", fontsize=11)
    handles = {}
    for axes in panels.flat:
        handles |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    handles["best published"] = handles.pop("best published")  # last
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=6, frameon=False
    )
    return figure
