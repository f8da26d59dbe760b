"""Inverse reinforcement learning: the true reward and the recovered one beside each other."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from sobirl.estimation.irl_result import IRLResult
from sobirl.problems.inverse_rl import Recovery, World

_BLUE, _GREY = "#08519c", "#636363"
_NORMAL_95 = 1.959964


def reward(world: World, recovered: Float[np.ndarray, "S A"], found: Recovery) -> Figure:
    """The true and the recovered reward: as maps where there is a map, and point by point.

    Both are seen once the recovered one has got the potential that brings it nearest to the true
    one, which changes no policy.
    """
    truth, near = world.reward, found.shaped
    maps = world.shape is not None
    figure = Figure(figsize=(10.5 if maps else 4.8, 3.6 if maps else 4.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, 3 if maps else 1))
    if world.shape is not None:
        cells = world.shape[0] * world.shape[1]
        tables = [table[:cells].mean(axis=1).reshape(world.shape) for table in (truth, near)]
        low, high = min(t.min() for t in tables), max(t.max() for t in tables)
        for place, table, title in zip(axes, tables, ("true reward", "recovered"), strict=False):
            image = place.imshow(table, cmap="viridis", vmin=low, vmax=high)
            place.set(title=title, xticks=[], yticks=[])
        figure.colorbar(image, ax=axes[:2], shrink=0.8, label="reward of a step")
    allowed = np.ones(truth.shape, bool)
    if world.mdp.reference_policy is not None:
        allowed = np.asarray(world.mdp.reference_policy) > 0
    last = axes[-1]
    last.scatter(truth[allowed], near[allowed], s=9, color=_BLUE, alpha=0.35, lw=0)
    ends = [min(truth[allowed].min(), near[allowed].min()), truth[allowed].max()]
    last.plot(ends, ends, color=_GREY, lw=0.8, zorder=0)
    last.set(xlabel="true reward", ylabel="recovered, up to shaping")
    last.set_title(f"{100 * found.explained:.1f} % of the variance")
    last.grid(alpha=0.25)
    last.spines[["top", "right"]].set_visible(False)
    return figure


def weights(world: World, result: IRLResult) -> Figure:
    """The weights of the features with their 95 % intervals."""
    values, errors = np.asarray(result.x), result.standard_errors
    figure = Figure(figsize=(6, 1.2 + 0.45 * len(values)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(values))[::-1]
    margin = None if errors is None else _NORMAL_95 * errors
    axes.errorbar(values, rows, xerr=margin, fmt="o", color=_BLUE, capsize=3)
    axes.axvline(0, color=_GREY, lw=0.8)
    axes.set_yticks(rows, world.names)
    axes.set_xlabel("weight" + ("" if errors is None else ", with its 95 % interval"))
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
