"""What every commitment pays, and the one that was found."""

import numpy as np
from matplotlib.figure import Figure

from sobirl.problems.games import Game


def commitment(
    game: Game,
    shares: np.ndarray,
    payoffs: np.ndarray,
    found: np.ndarray,
    payoff: float,
    replies: np.ndarray,
) -> Figure:
    """The leader's payoff over the simplex, and how the follower replies to what was found.

    Args:
        game: the game.
        shares: commitments (N,A).
        payoffs: what they pay the leader (N,).
        found: the commitment of the run (A,).
        payoff: what it pays.
        replies: the follower's policy (S,B).
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    (_on_a_line if len(game.actions) == 2 else _on_a_triangle)(
        figure, left, game, shares, payoffs, found
    )
    left.set_title(f"What a commitment pays the leader; found: {payoff:.3f}", fontsize=11)
    image = right.imshow(replies, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    right.set(xlabel="reply", ylabel="state", xticks=range(replies.shape[1]))
    right.set_yticks(range(len(replies)), game.states)
    right.set_title("The follower's policy under what was found", fontsize=11)
    figure.colorbar(image, ax=right, label="probability")
    return figure


def _on_a_line(figure, axes, game, shares, payoffs, found):
    axes.plot(shares[:, 0], payoffs, color="#0072b2", label="follower at the own temperature")
    if game.optimum is not None:
        axes.axhline(game.optimum, color="#d55e00", ls="--", label="best commitment, published")
    if game.without_commitment is not None:
        axes.axhline(game.without_commitment, color="gray", ls=":", label="without commitment")
    axes.axvline(found[0], color="black", lw=1, label="found")
    axes.set(xlabel=f"share of {game.actions[0]!r}", ylabel="leader's payoff")
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _on_a_triangle(figure, axes, game, shares, payoffs, found):
    image = axes.tripcolor(*_place(shares).T, payoffs, cmap="viridis", shading="gouraud")
    axes.plot(*_place(found[None]).T, "*", ms=14, color="black", mfc="white")
    for corner, name in zip(np.eye(3), game.actions, strict=True):
        axes.annotate(name, _place(corner[None])[0], ha="center", va="center", weight="bold")
    axes.set(aspect="equal")
    axes.axis("off")
    figure.colorbar(image, ax=axes, label="leader's payoff")


def _place(shares: np.ndarray) -> np.ndarray:
    """Where shares of three (N,3) lie in a triangle (N,2)."""
    return shares @ np.array([[0, 0], [1, 0], [0.5, np.sqrt(3) / 2]])
