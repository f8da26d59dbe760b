"""The figure of docs/estimation.md: a profile likelihood and a demand curve, Rust's group 4.

python benchmarks/figures_estimation.py docs/figures/estimation.png
"""

import sys

import jax
import numpy as np
from matplotlib.figure import Figure

from bench_estimation import buses, group4

BLUE, ORANGE, GREY = "#08519c", "#d94801", "#636363"
NORMAL_95 = 1.959964


def draw(path):
    """Draw both panels."""
    result = buses(0.9999).fit(group4())
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    profile = result.profile("RC", 25, 3.0)
    best, top = profile.best
    error = result.standard_errors[0]
    left.plot(profile.points, profile.log_likelihood - top, color=BLUE, lw=2, label="profile")
    parabola = -0.5 * ((profile.points - best) / error) ** 2
    left.plot(profile.points, parabola, color=ORANGE, ls="--", label="Hessian's parabola")
    low, high = profile.interval()
    left.axhline(-(NORMAL_95**2) / 2, color=GREY, lw=0.8)
    left.axvspan(low, high, color=BLUE, alpha=0.1, label=f"95 %: {low:.2f} to {high:.2f}")
    left.set(xlabel="replacement cost RC", ylabel="log L below its maximum", ylim=(-4.5, 0.2))
    prices, shares = result.demand("RC", np.linspace(3, 16, 40), "replace")
    value, half = 12 * shares.value, 12 * NORMAL_95 * shares.standard_error
    right.fill_between(prices, value - half, value + half, color=BLUE, alpha=0.15, lw=0)
    right.plot(prices, value, color=BLUE, lw=2, label="demand, 95 % band")
    right.axvline(best, color=GREY, lw=0.8, ls=":", label="estimate")
    right.set(xlabel="replacement cost RC", ylabel="replacements a bus and year", ylim=(0, None))
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        sys.exit(0 if "--help" in sys.argv else 2)
    jax.config.update("jax_enable_x64", True)
    draw(sys.argv[1])
