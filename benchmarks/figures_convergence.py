"""The figures of bench_convergence.py and bench_divergence.py."""

import numpy as np
from matplotlib.figure import Figure

# Blue, orange and green of matplotlib's colorblind style: told apart with any color vision, and
# each with its own line style.
_BLUE, _ORANGE, _GREEN, _GREY = "#0173b2", "#de8f05", "#029e73", "#636363"
_METHODS = ((_BLUE, "-"), (_ORANGE, "--"), (_GREEN, "-."))


def convergence(means: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """Median and range over instances of the running mean, and of the squared norm itself.

    Args:
        means: by method the running mean of ‖∇φ(x_k)‖², that of the estimate's, and ‖∇φ(x_k)‖²;
            each (instances, K).
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, (exact, estimated, squares)), (color, style) in zip(
        means.items(), _METHODS, strict=True
    ):
        steps = np.arange(1, exact.shape[-1] + 1)
        for axes, rows in ((left, exact), (right, squares)):
            axes.fill_between(steps, rows.min(0), rows.max(0), color=color, alpha=0.15, lw=0)
            axes.loglog(steps, np.median(rows, axis=0), style, color=color, lw=2, label=name)
        if name != "Exact":  # whose estimate is the hyper-gradient
            label = f"{name}: its estimate"
            left.loglog(steps, np.median(estimated, axis=0), ":", color=color, lw=1.5, label=label)
    last = len(steps)
    late = steps[last // 10 - 1 :]
    anchor = 0.4 * min(np.median(exact, axis=0)[-1] for exact, _, _ in means.values()) * last
    left.loglog(late, anchor / late, color=_GREY, lw=1, label="slope -1")
    left.set(
        title="Running mean",
        xlabel="outer steps K",
        ylabel=r"$\frac{1}{K}\,\sum_{k<K}\,\|\nabla\varphi(x_k)\|^2$",
    )
    right.set(title="Single steps", xlabel="outer step k", ylabel=r"$\|\nabla\varphi(x_k)\|^2$")
    left.legend(frameon=False, fontsize=9, loc="lower left")
    for axes in (left, right):
        _tidy(axes)
    return figure


def divergence(
    failed: dict[tuple[str, float, int], dict[str, int]],
    critical: dict[tuple[str, float, int], float],
    labels: dict[str, str],
    paper_zeta: float,
    seeds: int,
    steps: int,
) -> Figure:
    """How many runs fail by method and size, and the critical step of the adjoint alone.

    Args:
        failed: by (family, discount, states) and method, the runs of `seeds` that fail.
        critical: by (family, discount, states), the critical ζ.
        labels: the families' names.
        paper_zeta: a line to compare the critical ζ with.
        seeds: the runs a method.
        steps: the outer steps of a run.
    """
    cases = list(dict.fromkeys((family, discount) for family, discount, _ in failed))
    figure = Figure(figsize=(13, 6.6), layout="constrained")
    panels = figure.subplots(2, 4)
    order = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3)]
    for place, (family, discount) in zip(order, cases, strict=True):
        axes = panels[place]
        sizes = [states for f, d, states in failed if (f, d) == (family, discount)]
        methods = list(failed[family, discount, sizes[0]])
        table = np.array([[failed[family, discount, s][m] for s in sizes] for m in methods])
        axes.imshow(table, cmap="Blues", vmin=0, vmax=seeds * 1.15, aspect="auto")
        for (row, column), count in np.ndenumerate(table):
            color = "white" if count > 0.6 * seeds else "#252525"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=9)
        axes.set_xticks(range(len(sizes)), sizes)
        axes.set_yticks(range(len(methods)), methods if place[1] == 0 else [])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(f"{labels[family]}, γ = {discount}", fontsize=11)
        axes.set_xlabel("states S")
    _critical(panels[1, 3], critical, labels, paper_zeta)
    figure.suptitle(
        f"Runs of {seeds} whose exact ‖∇φ‖ is not below a tenth of its first value "
        f"after {steps} steps",
        fontsize=12,
    )
    return figure


def _critical(axes, critical, labels, paper_zeta: float) -> None:
    """The critical ζ by S, for the smallest and the largest discount."""
    discounts = sorted({discount for _, discount, _ in critical})
    for (family, label), (color, _), marker in zip(labels.items(), _METHODS, "osD", strict=True):
        for discount, style in ((discounts[0], "-"), (discounts[-1], "--")):
            sizes = [s for f, d, s in critical if (f, d) == (family, discount)]
            values = [critical[family, discount, s] for s in sizes]
            axes.loglog(
                sizes, values, style, color=color, marker=marker, ms=4, lw=1.6,
                label=f"{label}, γ = {discount}",
            )  # fmt: skip
    axes.axhline(paper_zeta, color=_GREY, lw=1, ls=":", label=f"the paper's ζ = {paper_zeta:g}")
    sizes = sorted({states for _, _, states in critical})
    axes.set_xticks(sizes, sizes)
    axes.minorticks_off()
    axes.set(title="Adjoint alone", xlabel="states S", ylabel=r"critical $\zeta = 2/\|B\|_2^2$")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 60, high)
    axes.legend(frameon=False, fontsize=7.5, loc="lower left", handlelength=3.5)
    _tidy(axes)
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.spines["right"].set_visible(True)
    axes.spines["left"].set_visible(False)


def _tidy(axes) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
