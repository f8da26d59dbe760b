"""An objective that a policy can be good at: to be preferred to what another policy does."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.core.errors import InvalidInputError
from sobirl.deep.leaders.preferences import (
    PreferenceLeader,
    PreferenceState,
    counts,
    mean_of_others,
)
from sobirl.experience import Fragment
from sobirl.prefs import preference_probability, win_probability


class WinRate(PreferenceLeader):
    """f(x,π) = the cross-entropy of the answers + λ P(the teacher prefers a reference to π).

    The reward explains the answers, and where it cannot explain all it is right where that makes
    the policy better: w(d) is λ/M times the probability that the teacher prefers a reference
    fragment to d, less its mean over other streams. The second part depends on x through the
    policy alone, so that only a hyper-gradient can follow it. λ is the `weight`; other arguments
    are those of `PreferenceLeader`.

    Args:
        reference: where the reference fragments come from: "uniform" has random actions, "earlier"
            the policy of an earlier round.

    Bias: the distribution of a fragment's first state is held fixed. Pairs that someone was asked
    about are of the recent policy alone, so that their answers correct the ensemble only where the
    reference is "earlier", as far as that is the recent one.
    """

    reference: Literal["uniform", "earlier"] = eqx.field(default="earlier", static=True)

    def __check_init__(self):
        if self.reference not in ("uniform", "earlier"):
            raise InvalidInputError(
                f"reference: must be uniform or earlier, got {self.reference!r}"
            )

    def weights(self, state: PreferenceState, fragments: Fragment) -> Float[Array, "N M"]:
        """w of fragments (N,M), labelled by the ensemble.

        Raises:
            InvalidInputError: there are no reference fragments.
        """
        if state.reference is None:
            raise InvalidInputError("reference: there are no reference fragments in the state")
        own, others = (self.returns(state.labeler, some) for some in (fragments, state.reference))
        there = counts(state.reference)
        share = there / jnp.maximum(jnp.sum(there), 1)

        def lost(own, others):
            wins = win_probability(own, others, share, self.rewards.temperature, self.rewards.noise)
            return 1 - wins

        lost, holds = jnp.mean(jax.vmap(lost)(own, others), axis=0), counts(fragments)
        if self.baseline:
            lost -= mean_of_others(lost, holds)
        return jnp.where(holds, lost, 0) / jnp.maximum(jnp.sum(holds), 1)

    def corrections(self, state: PreferenceState) -> Float[Array, "n 2"]:
        """w of the answered pairs' fragments: what it is by the answers, less by the ensemble."""
        asked = state.answered
        first, second = jnp.moveaxis(self.returns(state.labeler, asked.pair), -1, 0)
        logit = (first - second) / self.rewards.temperature
        wins = jnp.mean(preference_probability(logit, self.rewards.noise), axis=0)
        holds = (asked.number >= 0) & (self.reference == "earlier")
        # Either fragment is the policy's once, and the other the reference.
        off = jnp.where(holds, wins - asked.label, 0) / (2 * jnp.maximum(jnp.sum(holds), 1))
        return jnp.stack([off, -off], axis=1)
