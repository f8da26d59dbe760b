"""Figures of `sobirl run fleet`: the prices, the market, and who is sent into the bay."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from sobirl.problems.fleet import RUST_PRICE, Fleet

if TYPE_CHECKING:
    from sobirl.experiments.fleet.run import Answer

_BEFORE, _AFTER = "#7f7f7f", "#0072b2"


def prices(fleet: Fleet, x: np.ndarray, first: "Answer", found: "Answer") -> Figure:
    """The price by wear, and the wear at which machines are serviced, before and after."""
    wear = fleet.bins * np.arange(fleet.wear_states)
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.step(wear, np.full_like(wear, RUST_PRICE), where="mid", color=_BEFORE, ls="--")
    above.step(wear, np.asarray(x)[fleet.band], where="mid", color=_AFTER, lw=2)
    above.axhline(fleet.service_cost, color="black", lw=0.8, ls=":")
    above.annotate("a service's cost", (wear[-1], fleet.service_cost), ha="right", va="bottom")
    above.set(ylabel="price of a service", ylim=(0, None))
    for answer, color, style, name in (
        (first, _BEFORE, "--", "Rust's price"),
        (found, _AFTER, "-", "these prices"),
    ):
        rate = 12 * np.asarray(answer.services)
        label = f"{name}: {rate.sum():.3f} a year"
        below.step(wear, rate / fleet.bins, where="mid", color=color, ls=style, label=label)
    below.set(xlabel="wear, in Rust's bins of 5,000 miles", ylabel="services a year and bin")
    below.legend(frameon=False)
    _clean(above, below)
    return figure


def single_price(
    grid: np.ndarray,
    incomes: np.ndarray,
    services: np.ndarray,
    rust_price: float,
    x: np.ndarray,
    income: float,
) -> Figure:
    """The workshop's income and the depot's services by one price for all wear.

    Args:
        grid: the prices (N,).
        incomes: a month (N,).
        services: of a machine a month (N,).
        rust_price: what Rust's company paid.
        x: the prices found, one or one a band.
        income: what they bring a month.
    """
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    best = np.argmax(incomes)
    above.plot(grid, incomes, color=_AFTER, lw=2)
    above.plot(grid[best], incomes[best], "o", color=_AFTER, mfc="white")
    one = len(x) == 1
    label = f"found: {x[0]:.2f}" if one else "prices by wear"
    above.axhline(income, color="#d55e00", lw=1.2, ls="-.", label=f"{label}, {income:.3f} a month")
    if one:
        above.plot(x, income, "*", color="#d55e00", ms=12)
    # Below its cost a service is a loss, which is not what the figure is about.
    top = max(income, incomes.max())
    above.set(ylabel="income a month", ylim=(-0.5 * top, 1.15 * top))
    above.legend(frameon=False, loc="lower right")
    below.semilogy(grid, 12 * services, color=_AFTER, lw=2)
    below.set(xlabel="one price for every service", ylabel="services of a machine a year")
    for axes in (above, below):
        axes.axvline(rust_price, color=_BEFORE, lw=1, ls="--")
    below.annotate(
        " what Rust's company paid", (rust_price, 12 * services.max()), va="top", color=_BEFORE
    )
    _clean(above, below)
    return figure


def bay(fleet: Fleet, answers: Mapping[str, "Answer"]) -> Figure:
    """Which machine is sent into the bay, by the wear of the first two; others are new.

    Args:
        fleet: the instance.
        answers: title -> how the depot answers.
    """
    states, edge = fleet.wear_states, fleet.bins * (fleet.wear_states - 0.5)
    extent = (-fleet.bins / 2, edge) * 2
    chances = {
        title: np.asarray(answer.policy).reshape(states, states, -1, fleet.machines + 1)[:, :, 0]
        for title, answer in answers.items()
    }
    # Services are rare: the full color is that of the most frequent ones.
    most = max(chance[..., 1:3].sum(axis=-1).max() for chance in chances.values())
    colors = np.array([[0.0, 0.45, 0.70], [0.84, 0.37, 0.0]])
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    panels = figure.subplots(1, len(answers), sharey=True)
    for axes, (title, chance) in zip(panels, chances.items(), strict=True):
        # The hue says which machine, the saturation how often one of the two.
        image = 1 - chance[..., 1:3] / most @ (1 - colors)
        image = np.clip(image.swapaxes(0, 1), 0, 1)
        axes.imshow(image, origin="lower", extent=extent, interpolation="nearest")
        axes.set(title=title, xlabel="wear of machine 1, in Rust's bins")
    panels[0].set_ylabel("wear of machine 2, in Rust's bins")
    for machine, color in enumerate(colors, start=1):
        label = f"machine {machine} into the bay; full color: {100 * most:.1f} % a month"
        panels[0].plot([], [], "s", color=color, label=label)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _clean(*panels) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
