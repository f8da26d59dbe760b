"""The figures of docs/estimation: Rust's group 4, and a Monte Carlo of the estimators.

    python benchmarks/bench_estimation.py estimators --out estimators.jsonl
    python benchmarks/figures_estimation.py docs/figures estimators.jsonl

Without the Monte Carlo's file: the two figures of Rust's data alone.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from bench_estimation import WEAR, buses, group4

BLUE, ORANGE, GREY, GREEN = "#08519c", "#d94801", "#636363", "#238b45"
COLORS = {"mle": BLUE, "npl": GREEN, "ccp": ORANGE}
NORMAL_95 = 1.959964


def save(figure, path):
    """Write a figure, its axes plain."""
    for axes in figure.axes:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def choices(result, path, width=10):
    """How often engines are replaced, by mileage."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    policy = result.counterfactual().policy
    value, half = policy.value[:, 1], NORMAL_95 * policy.standard_error[:, 1]
    mileage = 5 * (np.arange(90) + 0.5)
    axes.fill_between(mileage, value - half, value + half, color=BLUE, alpha=0.15, lw=0)
    axes.plot(mileage, value, color=BLUE, lw=2, label="model, 95 % band")
    panel = result.data.panel
    place = panel.state // width
    seen = np.bincount(place, minlength=9)
    share = np.bincount(place, panel.action, minlength=9) / np.maximum(seen, 1)
    spread = np.sqrt(share * (1 - share) / np.maximum(seen, 1))
    kept = seen > 0
    middle = 5 * width * (np.arange(len(seen)) + 0.5)
    axes.errorbar(
        middle[kept], share[kept], 2 * spread[kept], fmt="o", color=ORANGE, capsize=3,
        label="data, by 50,000 miles",
    )  # fmt: skip
    axes.set(xlabel="1,000 miles since the last replacement", ylabel="replaced in a month")
    axes.set_ylim(0, None)
    save(figure, path)


def profile(result, axes):
    """The profile likelihood of RC and the Hessian's parabola."""
    found = result.profile("RC", 25, 3.0)
    best, top = found.best
    axes.plot(found.points, found.log_likelihood - top, color=BLUE, lw=2, label="profile")
    parabola = -0.5 * ((found.points - best) / result.standard_errors[0]) ** 2
    axes.plot(found.points, parabola, color=ORANGE, ls="--", label="Hessian's parabola")
    low, high = found.interval()
    axes.axhline(-(NORMAL_95**2) / 2, color=GREY, lw=0.8)
    axes.axvspan(low, high, color=BLUE, alpha=0.1, label=f"95 %: {low:.2f} to {high:.2f}")
    axes.set(xlabel="replacement cost RC", ylabel="log L below its maximum", ylim=(-4.5, 0.2))


def counterfactuals(result, path):
    """A demand curve, and what a subsidy is worth."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    prices, shares = result.demand("RC", np.linspace(3, 16, 40), "replace")
    value, half = 12 * shares.value, 12 * NORMAL_95 * shares.standard_error
    left.fill_between(prices, value - half, value + half, color=BLUE, alpha=0.15, lw=0)
    left.plot(prices, value, color=BLUE, lw=2, label="demand, 95 % band")
    left.axvline(result["RC"], color=GREY, lw=0.8, ls=":", label="estimate")
    left.set(xlabel="replacement cost RC", ylabel="replacements a bus and year", ylim=(0, None))
    cuts = np.linspace(0, 0.5, 11)
    gains = [
        result.counterfactual(RC=lambda p, cut=cut: (1 - cut) * p["RC"]).change.welfare
        for cut in cuts
    ]
    value = np.array([float(gain) for gain in gains])
    half = NORMAL_95 * np.array([float(gain.standard_error) for gain in gains])
    right.fill_between(100 * cuts, value - half, value + half, color=BLUE, alpha=0.15, lw=0)
    right.plot(100 * cuts, value, color=BLUE, lw=2, label="change of welfare, 95 % band")
    right.set(xlabel="% off RC", ylabel="utils a bus", ylim=(0, None))
    save(figure, path)


def compared(lines, path):
    """Distributions of three estimators by sample size."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    sizes = sorted({line["units"] for line in lines})
    for place, (axes, (name, truth)) in enumerate(
        zip(figure.subplots(1, 2), WEAR.items(), strict=True)
    ):
        for shift, estimator in zip((-0.22, 0.0, 0.22), COLORS, strict=True):
            for i, units in enumerate(sizes):
                own = [
                    line["values"][place]
                    for line in lines
                    if (line["units"], line["estimator"]) == (units, estimator) and "values" in line
                ]
                low, mean, high = np.mean(own) + np.std(own) * np.array([-1, 0, 1])
                axes.plot([i + shift] * 2, [low, high], color=COLORS[estimator], lw=2)
                label = estimator if not i else None
                axes.plot(i + shift, mean, "o", color=COLORS[estimator], label=label)
        axes.axhline(truth, color=GREY, lw=0.8, ls=":")
        axes.set(xticks=range(len(sizes)), xticklabels=sizes, xlabel="units", ylabel=name)
    save(figure, path)


def errors(lines, result, path):
    """Errors by method beside the Monte Carlo's spread; a profile likelihood."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    kinds = ("fixed", "hessian", "opg", "sandwich", "cluster", "bootstrap")
    own = [x for x in lines if x["units"] == 100 and x["estimator"] == "mle" and "values" in x]
    spread = np.std([line["values"] for line in own], axis=0, ddof=1)
    for i, kind in enumerate(kinds):
        each = np.array([x["errors"][kind] for x in own if kind in x["errors"]]) / spread
        for j, (name, color) in enumerate(zip(WEAR, (BLUE, ORANGE), strict=True)):
            low, middle, high = np.quantile(each[:, j], [0.1, 0.5, 0.9])
            left.plot([i + 0.2 * j - 0.1] * 2, [low, high], color=color, lw=2)
            left.plot(i + 0.2 * j - 0.1, middle, "o", color=color, label=None if i else name)
    left.axhline(1, color=GREY, lw=0.8, ls=":")
    left.set(ylabel="standard error / Monte Carlo's spread")
    left.set_xticks(range(len(kinds)), kinds, rotation=25)
    profile(result, right)
    save(figure, path)


def draw(folder, monte_carlo):
    """All figures."""
    result = buses(0.9999).fit(group4())
    choices(result, folder / "estimation.png")
    counterfactuals(result, folder / "estimation-counterfactuals.png")
    if monte_carlo is not None:
        lines = [json.loads(line) for line in monte_carlo.read_text().splitlines()]
        compared(lines, folder / "estimation-estimators.png")
        errors(lines, result, folder / "estimation-errors.png")


if __name__ == "__main__":
    paths = sys.argv[1:]
    if not 1 <= len(paths) <= 2 or any(path.startswith("-") for path in paths):
        print(__doc__)
        sys.exit(0 if "--help" in paths else 2)
    jax.config.update("jax_enable_x64", True)
    draw(Path(paths[0]), Path(paths[1]) if len(paths) > 1 else None)
