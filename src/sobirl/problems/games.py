"""Games of `stackelberg`, as plain numbers: what lists them loads nothing."""

import dataclasses
from collections.abc import Callable

Table = list[list[list[float]]]


@dataclasses.dataclass(frozen=True)
class Game:
    """What is played.

    Attributes:
        actions: the names of the leader's.
        states: the names of the states.
        first: logits of a first commitment (A,).
        leader: its payoffs U (S,A,B).
        follower: the follower's payoffs R (S,A,B).
        next: the state that (S,A,B) leads to.
        discount: γ of both.
        optimum: the value of the best commitment, where it is published.
        without_commitment: what the leader gets in the Nash equilibrium, where it is known.
        source: where these stand.
    """

    actions: tuple[str, ...]
    states: tuple[str, ...]
    first: tuple[float, ...]
    leader: Table
    follower: Table
    next: list[list[list[int]]]
    discount: float
    optimum: float | None = None
    without_commitment: float | None = None
    source: str = ""


def _played_once(
    leader: list[list[float]],
    follower: list[list[float]],
    optimum: float,
    without_commitment: float,
    source: str,
) -> Game:
    """A bimatrix game: one state, and nothing after it."""
    return Game(
        actions=("upper", "lower"),
        states=("once",),
        first=(0.0, 0.2),  # where both rows are alike a reply may be indifferent
        leader=[leader],
        follower=[follower],
        next=[[[0] * len(row) for row in leader]],
        discount=0.0,
        optimum=optimum,
        without_commitment=without_commitment,
        source=source,
    )


def conitzer_sandholm() -> Game:
    """The example of the paper."""
    return _played_once(
        [[2.0, 4.0], [1.0, 3.0]], [[1.0, 0.0], [0.0, 1.0]], 3.5, 2.0, "Conitzer, Sandholm (2006)"
    )


def three_replies() -> Game:
    """A follower with an attractive reply that is worth nothing to the leader."""
    return _played_once(
        [[2.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
        [[0.0, 2.0, 5.0], [0.0, -1.0, -4.0]],
        4 / 3,
        0.0,
        "OpenSpiel's tests, after Conitzer, Sandholm (2006)",
    )


# The intruder's map: from the fence through one of three posts to the vault, or home.
PLACES = ("fence", "gate", "tunnel", "roof", "vault", "over")
POSTS = ("gate", "tunnel", "roof")
WAYS = {
    "fence": ("gate", "tunnel", "roof", "over"),
    "gate": ("vault", "tunnel", "gate", "over"),
    "tunnel": ("vault", "gate", "roof", "over"),
    "roof": ("vault", "tunnel", "roof", "over"),
}
PRIZE, CAUGHT = 1.0, -2.0
STEP = {"gate": -0.05, "tunnel": -0.15, "roof": -0.3}  # what it costs to be there


def patrol() -> Game:
    """A guard and an intruder: who is at the guard's post when it comes there is caught."""

    def table(entry) -> list:
        ways = [WAYS.get(place, ("over",) * 4) for place in PLACES]
        return [[[entry(to, post) for to in of_place] for post in POSTS] for of_place in ways]

    return Game(
        actions=POSTS,
        states=PLACES,
        first=(2.0, 0.0, 0.0),  # nearly all of the time at the way that is easiest
        leader=table(lambda to, post: 1.0 if to == post else -2.0 * (to == "vault")),
        follower=table(
            lambda to, post: CAUGHT if to == post else PRIZE if to == "vault" else STEP.get(to, 0.0)
        ),
        next=table(lambda to, post: PLACES.index("over" if to == post else to)),
        discount=0.95,
    )


GAMES: dict[str, Callable[[], Game]] = {
    "conitzer-sandholm": conitzer_sandholm,
    "three-replies": three_replies,
    "patrol": patrol,
}
