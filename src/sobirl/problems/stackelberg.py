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
from sobirl.problems.games import GAMES, Game


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
        self.leader, self.payoffs = (
            jnp.asarray(payoffs, float) for payoffs in (game.leader, game.follower)
        )
        self.transition = jnp.asarray(np.eye(len(game.states))[np.array(game.next)])
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
