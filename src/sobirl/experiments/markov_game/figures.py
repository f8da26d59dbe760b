"""What both players do, before and after."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from sobirl.problems.markov_game import MOVES, STATES, TARGET, WIDTH

_COLORS = {"before": "#9ecae1", "after": "#d94801"}
_MOVES = ("#bdbdbd", "#54278f", "#238b45")


class Policies(NamedTuple):
    """Of the leader (3,2), and of the follower who sees it (3,2,3)."""

    leader: np.ndarray
    follower: np.ndarray


class Course(NamedTuple):
    """Mean (100,2) and deviation (100,2) of the coordinates, and expected rewards (100,)."""

    mean: np.ndarray
    deviation: np.ndarray
    rewards: np.ndarray


def policies(moments: dict[str, Policies]) -> Figure:
    """How often the leader plays 1, and what the follower answers.

    Args:
        moments: "before" and "after".
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    leads, *answers = figure.subplots(1, 3, width_ratios=(1, 1.3, 1.3))
    for shift, (moment, both) in zip((-0.2, 0.2), moments.items(), strict=True):
        heights = both.leader[:, 1]
        leads.bar(np.arange(3) + shift, heights, 0.4, color=_COLORS[moment], label=moment)
    leads.set_xticks(range(3), STATES)
    leads.set_ylim(0, 1)
    leads.set_title("Leader: probability of action 1", fontsize=11)
    leads.legend(frameon=False)
    labels = [f"{state},{action}" for state in STATES for action in (0, 1)]
    for axes, (moment, both) in zip(answers, moments.items(), strict=True):
        chances, bottom = both.follower.reshape(6, 3), np.zeros(6)
        for move, color, chance in zip(MOVES, _MOVES, chances.T, strict=True):
            axes.bar(range(6), chance, 0.7, bottom=bottom, color=color, label=move)
            bottom = bottom + chance
        axes.set_xticks(range(6), labels)
        axes.set_ylim(0, 1)
        axes.set_xlabel("state, leader's action")
        axes.set_title(f"Follower's answer, {moment}", fontsize=11)
    answers[-1].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def courses(moments: dict[str, Course]) -> Figure:
    """The coordinates around the target, and the reward step by step.

    Args:
        moments: "before" and "after".
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    *places, reward = figure.subplots(1, 3)
    for i, axes in enumerate(places):
        low, high = TARGET[i] - WIDTH[i], TARGET[i] + WIDTH[i]
        axes.axhspan(low, high, color="#c7e9c0", label="target ± σ")
        for moment, course in moments.items():
            mean, wide = course.mean[:40, i], course.deviation[:40, i]
            axes.plot(mean, ".-", color=_COLORS[moment], label=moment, lw=1)
            band = {"color": _COLORS[moment], "alpha": 0.25, "lw": 0}
            axes.fill_between(range(len(mean)), mean - wide, mean + wide, **band)
        axes.set_title(f"$x_{i + 1}$, mean and deviation", fontsize=11)
        axes.margins(y=0.2)
    for moment, course in moments.items():
        reward.plot(course.rewards, ".", color=_COLORS[moment])
    reward.set_title("Leader's expected reward", fontsize=11)
    places[0].legend(
        frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.0)
    )
    for axes in figure.axes:
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
