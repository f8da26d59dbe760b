"""Rust's bus engines: the likelihood around its maximum, and the estimated replacements."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sobirl.problems.rust_bus import COSTS
from sobirl.problems.rust_data import STATES
from sobirl.problems.rust_estimation import Estimate, profile_likelihood, replacement_probability

_LEVELS = (0.5, 0.8, 0.95, 0.99)
_BIN_MILES = 5_000
_BLUE, _ORANGE, _GREEN, _GREY = "#08519c", "#d94801", "#238b45", "#636363"
_FILLS = ("#08519c", "#4292c6", "#9ecae1", "#deebf7")
_NORMAL_95 = 1.959964


def likelihood(found: Estimate, truth: np.ndarray | None = None) -> Figure:
    """Likelihood-ratio regions for (RC, θ₁), and the 95 % ellipse of the inverse Hessian.

    Args:
        found: the estimate; without a covariance there are no regions to draw.
        truth: the true RC and θ (1 + k,), if they are known.
    """
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    axes = figure.subplots()
    centre = found.values[:2]
    if found.result.covariance is None:
        axes.set_title("The Hessian is not positive definite: no confidence region", fontsize=11)
        handles = []
    else:
        handles = _draw_regions(axes, found)
        rest = {0: "", 1: " (θ₂ profiled out)", 2: " (θ₂ and θ₃ profiled out)"}
        title = "Likelihood-ratio confidence regions" + rest[len(found.values) - 2]
        axes.set_title(title, fontsize=11)
    axes.plot(*centre, marker="o", color="white", mec="black", ms=7, ls="")
    handles.append(
        Line2D([], [], color="white", mec="black", marker="o", ls="",
               label=f"estimate, −log L = {found.result.objective:.3f}")
    )  # fmt: skip
    if truth is not None:
        axes.plot(*truth[:2], marker="*", color=_GREEN, mec="white", ms=16, ls="")
        handles.append(Line2D([], [], color=_GREEN, marker="*", ms=12, ls="", label="true value"))
    # The ridge rises to the right: what keeps an engine as often is a higher RC and a higher cost.
    axes.legend(handles=handles, frameon=False, loc="upper left")
    axes.set_xlabel("replacement cost RC (in units of the shocks' scale)")
    axes.set_ylabel(f"θ₁ in the {found.cost} cost {COSTS[found.cost].formula}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_regions(axes, found: Estimate) -> list[Line2D]:
    """Regions of the likelihood ratio and the ellipse that approximates one; their legend."""
    radii = np.sqrt(-2 * np.log(1 - np.array(_LEVELS)))  # χ² with two degrees of freedom
    profile = profile_likelihood(found, reach=radii[-1] ** 2 / 2)
    # The root of the likelihood ratio is nearly a cone, which linear interpolation fits best.
    root = np.sqrt(2 * np.maximum(profile.excess, 0))
    places = profile.points[..., 0], profile.points[..., 1]
    axes.contourf(*places, np.ma.masked_invalid(root), levels=[0, *radii], colors=_FILLS)
    handles = [
        Line2D([], [], color=colour, marker="s", ls="", ms=9, label=f"{100 * level:.0f} % region")
        for colour, level in zip(_FILLS, _LEVELS, strict=True)
    ]

    angle = np.linspace(0, 2 * np.pi, 200)
    circle = radii[_LEVELS.index(0.95)] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    assert found.result.covariance is not None
    axis = np.linalg.cholesky(found.result.covariance[:2, :2])
    ellipse = found.values[:2] + circle @ axis.T
    style = {"color": _ORANGE, "lw": 1.6, "ls": "--"}
    axes.plot(*ellipse.T, **style)
    _set_limits(axes, np.concatenate([profile.points[root < radii[-1]], ellipse]))
    return [*handles, Line2D([], [], label="95 % ellipse of the inverse Hessian", **style)]


def replacement(found: Estimate, truth: np.ndarray | None = None) -> Figure:
    """The estimated probability of replacing at each mileage, with the data's frequencies.

    Args:
        found: the estimate.
        truth: the true RC and θ (1 + k,), if they are known.
    """
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    states = np.arange(STATES)
    probability, errors = replacement_probability(found)
    counts = found.panel.decision_counts
    seen = np.flatnonzero(counts.sum(axis=1)).max()

    high = probability + _NORMAL_95 * np.nan_to_num(errors)
    if np.isfinite(errors).all():
        low = np.maximum(probability - _NORMAL_95 * errors, 0)
        axes.fill_between(states, low, np.minimum(high, 1), color="#9ecae1", alpha=0.6, lw=0,
                          label="95 % band (delta method)")  # fmt: skip
    axes.plot(states[: seen + 1], probability[: seen + 1], color=_BLUE, lw=2,
              label=f"estimate, {found.cost} cost")  # fmt: skip
    if seen < STATES - 1:
        axes.plot(states[seen:], probability[seen:], color=_BLUE, lw=1.5, ls=":",
                  label="estimate beyond the data")  # fmt: skip
    if truth is not None:
        true_probability, _ = replacement_probability(
            found, {"replacement_cost": truth[0], "theta": truth[1:]}
        )
        axes.plot(states, true_probability, color=_GREEN, lw=1.5, ls="--", label="true value")
    highest = _draw_frequencies(axes, counts)
    top = max(high[: seen + 1].max(), probability.max(), highest)  # the band may leave the frame
    axes.set_ylim(0, min(1.02, 1.1 * top))
    axes.set_ylabel("probability of replacement a month")
    axes.legend(frameon=False, loc="upper left")
    thousands = _BIN_MILES / 1000
    convert = (lambda bins: bins * thousands, lambda miles: miles / thousands)
    miles = axes.secondary_xaxis("top", functions=convert)
    miles.set_xlabel("mileage since the last replacement (thousand miles)")

    below.bar(states, counts.sum(axis=1), width=1.0, color="#bdbdbd")
    below.set_ylabel("observations\n(bus-months)")
    below.set_xlabel("mileage bin s (one bin is 5,000 miles)")
    below.set_xlim(-0.5, STATES - 0.5)
    for each in (axes, below):
        each.grid(alpha=0.25)
        each.spines["right"].set_visible(False)
    below.spines["top"].set_visible(False)
    return figure


def _draw_frequencies(axes, counts: np.ndarray, width: int = 6, least: int = 20) -> float:
    """Observed frequencies with Wilson intervals; returns the highest frequency.

    Each point stands for `width` mileage bins, or more where there are few observations.
    """
    totals = counts.sum(axis=1)
    groups, start = [], 0
    for end in range(width, STATES + 1, width):
        if totals[start:end].sum() >= least:
            groups.append(slice(start, end))
            start = end
    if start < STATES:  # what is left joins the last group
        groups = [*groups[:-1], slice(groups[-1].start if groups else 0, STATES)]

    total = np.array([totals[group].sum() for group in groups])
    share = np.array([counts[group, 1].sum() for group in groups]) / total
    mileage = np.array([np.average(np.arange(STATES)[g], weights=totals[g]) for g in groups])
    z2 = _NORMAL_95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    spread = np.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    half = _NORMAL_95 * spread / (1 + z2 / total)
    axes.errorbar(
        mileage, share, yerr=np.abs([share - middle + half, middle + half - share]), fmt="o",
        color=_GREY, ms=5, lw=1, capsize=2, zorder=3, clip_on=True,
        label=f"data, {width} bins a point or more, with 95 % intervals",
    )  # fmt: skip
    return float(share.max())


def _set_limits(axes, points: np.ndarray) -> None:
    """Limits a little wider than what is drawn."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.05 * (high - low)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
