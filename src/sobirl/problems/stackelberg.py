"""Stackelberg games: a leader commits to a mixed strategy, the follower sees it and plans.

The leader's x are logits of p = softmax(x) over its actions a, which it draws anew in every step.
The follower's action b in state s then earns R_p(s,b) = Σ_a p_a R(s,a,b), leads on by
P_p = Σ_a p_a P(·|s,a,b), and earns the leader U_p(s,b) = Σ_a p_a U(s,a,b).

    conitzer-sandholm  one state: payoffs (2,1) (4,0) / (1,0) (3,1). The upper row dominates, and
                       yet to commit to one half of each is best: 3.5. Without commitment it is 2.
    three-replies      one state: (2,0) (0,2) (0,5) / (1,0) (0,-1) (0,-4). Best is 4/3, at (1/3,
                       2/3); without commitment the follower takes the third column: 0.
    patrol             a guard commits to how often it is at each of three posts; an intruder plans
                       its way past them to a vault, or stays at home. Ours. Best is 0: no way may
                       be worth it, and whoever comes all the same costs more than it brings.

A follower breaks ties for the leader in the literature; a soft one mixes, so the optimum at
temperature τ stays within O(τ log 1/τ) of the published value.

Sources: Conitzer, Sandholm (2006), section 2.1, and the second game from the tests of OpenSpiel.
"""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.bilevel import BilevelProblem
from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import Dense, SoftMDP


@dataclasses.dataclass(frozen=True)
class Game:
    """What is played.

    Attributes:
        actions: the names of the leader's.
        states: the names of the states.
        first: logits of a first commitment (A,).
        leader: its payoffs U (S,A,B).
        follower: the follower's payoffs R (S,A,B).
        transition: P(t|s,a,b) (S,A,B,S).
        discount: γ of both.
        optimum: the value of the best commitment, where it is published.
        without_commitment: what the leader gets in the Nash equilibrium, where it is known.
        source: where these stand.
    """

    actions: tuple[str, ...]
    states: tuple[str, ...]
    first: tuple[float, ...]
    leader: np.ndarray
    follower: np.ndarray
    transition: np.ndarray
    discount: float
    optimum: float | None = None
    without_commitment: float | None = None
    source: str = ""


def _played_once(leader, follower, **more) -> Game:
    """A bimatrix game: one state, and nothing after it."""
    leader, follower = (np.array([payoffs], float) for payoffs in (leader, follower))
    # Where both rows are alike a reply may be indifferent.
    first, law = (0.0, 0.2), np.ones((*leader.shape, 1))
    return Game(("upper", "lower"), ("once",), first, leader, follower, law, 0.0, **more)


def conitzer_sandholm() -> Game:
    """The example of the paper."""
    return _played_once(
        [[2, 4], [1, 3]],
        [[1, 0], [0, 1]],
        optimum=3.5,
        without_commitment=2.0,
        source="Conitzer, Sandholm (2006)",
    )


def three_replies() -> Game:
    """A follower with an attractive reply that is worth nothing to the leader."""
    return _played_once(
        [[2, 0, 0], [1, 0, 0]],
        [[0, 2, 5], [0, -1, -4]],
        optimum=4 / 3,
        without_commitment=0.0,
        source="OpenSpiel's tests, after Conitzer, Sandholm (2006)",
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
    number = {place: index for index, place in enumerate(PLACES)}
    shape = (len(PLACES), len(POSTS), len(WAYS["fence"]))
    leader, follower, transition = np.zeros(shape), np.zeros(shape), np.zeros((*shape, len(PLACES)))
    transition[..., number["over"]] = 1
    for place, ways in WAYS.items():
        for way, to in enumerate(ways):
            for guarded, post in enumerate(POSTS):
                where = number[place], guarded, way
                if to == post:
                    leader[where], follower[where] = 1, CAUGHT
                else:
                    transition[where] = np.eye(len(PLACES))[number[to]]
                    follower[where] += STEP.get(to, 0)
                if to == "vault":
                    leader[where], follower[where] = -2, PRIZE
    # At first nearly all of the time at the way that is easiest.
    return Game(POSTS, PLACES, (2.0, 0.0, 0.0), leader, follower, transition, 0.95)


GAMES: dict[str, Callable[[], Game]] = {
    "conitzer-sandholm": conitzer_sandholm,
    "three-replies": three_replies,
    "patrol": patrol,
}


@dataclasses.dataclass(frozen=True)
class Stackelberg:
    """An instance; x (A,) are the logits of the commitment.

    Args:
        game: a name of `GAMES`.
        temperature: the follower's entropy weight τ, in units of its payoffs.

    Raises:
        InvalidInputError: there is no such game, or a temperature of 0 or less.
    """

    game: str = "conitzer-sandholm"
    temperature: float = 0.001

    def __post_init__(self):
        if self.game not in GAMES:
            raise InvalidInputError(f"game: must be one of {', '.join(GAMES)}; got {self.game!r}")
        check_number("temperature", self.temperature, "must be positive", lambda t: t > 0)

    def problem(self) -> BilevelProblem:
        """The bilevel problem over x (A,)."""
        objective = LeaderReturn(self.players.follower, self.players.leader_reward)
        return BilevelProblem(self.players.follower, objective)

    def x0(self) -> Float[Array, "A"]:
        """The game's first commitment."""
        return jnp.array(self.played.first)

    @functools.cached_property
    def played(self) -> Game:
        """The game."""
        return GAMES[self.game]()

    @functools.cached_property
    def players(self) -> "Players":
        """The follower and the leader."""
        return Players(self.played, self.temperature)


class Players(eqx.Module):
    """Both players; the arrays are leaves, as in `four_rooms.Walk`."""

    leader: Float[Array, "S A B"]
    payoffs: Float[Array, "S A B"]
    transition: Float[Array, "S A B S"]
    temperature: Float[Array, ""]
    discount: float = eqx.field(static=True)

    def __init__(self, game: Game, temperature: float):
        self.leader, self.payoffs = jnp.asarray(game.leader), jnp.asarray(game.follower)
        self.transition = jnp.asarray(game.transition)
        self.temperature, self.discount = jnp.asarray(temperature, float), game.discount

    def follower(self, x: Float[Array, "A"]) -> SoftMDP:
        """The follower's soft MDP under the commitment."""
        share = jax.nn.softmax(x)
        return SoftMDP(
            transition=Dense(jnp.einsum("a,sabt->sbt", share, self.transition)),
            reward=jnp.einsum("a,sab->sb", share, self.payoffs),
            discount=self.discount,
            temperature=self.temperature,
            initial=np.eye(1, len(self.payoffs))[0],
        )

    def leader_reward(self, x: Float[Array, "A"]) -> Float[Array, "S B"]:
        """U_p(s,b)."""
        return jnp.einsum("a,sab->sb", jax.nn.softmax(x), self.leader)
