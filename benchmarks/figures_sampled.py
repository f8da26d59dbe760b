"""The figures of bench_estimators.py and bench_sampled_four_rooms.py."""

from matplotlib.figure import Figure

# By family of methods, colors of matplotlib's colorblind style.
COLORS = {
    "PlugIn": "#0b3c5d",
    "AdvantageTrace": "#0173b2",
    "SoBiRL": "#029e73",
    "Stoc-SoBiRL": "#56b4e9",
    "HPGD": "#de8f05",
    "BC-HG": "#d55e00",
    "Naive": "#949494",
    "ZeroOrder": "#cc78bc",
    "AMD": "#ca9161",
    "PBRL": "#000000",
}
_LEAST = 1e-4  # a smaller bias is drawn there
_NOTE = {"rotation": 90, "va": "top", "ha": "center", "fontsize": 8, "color": "0.4"}


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
            color = COLORS[label.split(",")[0]]
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
