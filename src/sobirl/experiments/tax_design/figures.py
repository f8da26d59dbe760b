"""What households of either type do under the first and the last taxes."""

import numpy as np
from matplotlib.figure import Figure

from sobirl.problems.tax_design import HOURS, SPENDING, TYPES

_COLORS = {"before": "#9ecae1", "after": "#d94801"}


def households(
    assets: np.ndarray,
    plays: dict[str, tuple[np.ndarray, np.ndarray]],
    taxes: dict[str, dict[str, float]],
    welfare: dict[str, float],
) -> Figure:
    """Taxes, and by assets the hours, the spending and where households are.

    Args:
        assets: the grid (S,).
        plays: "before" and "after" -> policy and discounted visits, each (types, S, 130).
        taxes: "before" and "after" -> rate of every tax.
        welfare: "before" and "after" -> the state's return.
    """
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    grid = figure.add_gridspec(len(TYPES), 4)
    rates = figure.add_subplot(grid[:, 0])
    for shift, (moment, row) in zip((-0.2, 0.2), taxes.items(), strict=True):
        label = f"{moment}: welfare {welfare[moment]:.2f}"
        rates.bar(
            np.arange(len(row)) + shift, list(row.values()), 0.4, color=_COLORS[moment], label=label
        )
    rates.set_xticks(range(len(row)), row.keys(), rotation=30)
    rates.set_title("Taxes", fontsize=11)
    rates.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(-0.05, -0.12))
    hours = np.repeat(HOURS, len(SPENDING))
    spending = np.tile(SPENDING, len(HOURS))
    seen = np.sum([visits.sum((0, 2)) for _, visits in plays.values()], axis=0)
    shown = assets[seen > 1e-3 * seen.max()]
    for kind, preferences in enumerate(TYPES):
        panels = [figure.add_subplot(grid[kind, column]) for column in (1, 2, 3)]
        for moment, (policy, visits) in plays.items():
            style = {"color": _COLORS[moment], "lw": 2}
            panels[0].plot(assets, policy[kind] @ hours, **style)
            panels[1].plot(assets, policy[kind] @ spending, **style)
            # a density, whatever the grid's spacing
            where = visits[kind].sum(-1)
            panels[2].plot(assets, where / where.sum() / (assets[1] - assets[0]), **style)
        for axes, label in zip(panels, ("hours", "spending", "density of visits"), strict=True):
            axes.set(xlim=(shown[0], shown[-1]), xlabel="assets" if kind else None, ylabel=label)
        panels[0].set_title(f"preferences {preferences}", fontsize=10, loc="left")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    return figure
