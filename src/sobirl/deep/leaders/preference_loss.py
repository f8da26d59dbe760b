"""The objective of the paper: how well preferences between the policy's fragments are predicted."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.deep.leaders.preferences import PreferenceLeader, PreferenceState, counts
from sobirl.experience import Fragment
from sobirl.prefs import preference_entropy, preference_loss


class PreferenceLoss(PreferenceLeader):
    """φ(x) = E l(d_1,d_2; x) over pairs of fragments that the policy makes on r_x.

    l is the cross-entropy of the Bradley-Terry model relative to the teacher. Every fragment meets
    those of all other streams of its half, not one partner (a U-statistic): w(d_i) is 2/M times the
    mean over j of l(i,j), less a mean over pairs without the stream of i. Other arguments are those
    of `PreferenceLeader`.

    Args:
        subtract_entropy: take for l the divergence KL(q || σ(z)) of the teacher's q from the
            prediction: without the teacher's own uncertainty, which is highest where fragments are
            worth the same and which the loss otherwise avoids by moving the policy. q is the
            ensemble's in this, also where someone was asked, for an answer does not tell it.

    Bias: the distribution of a fragment's first state is held fixed.

    Source: Yang, Gao, Yuan (2025), section 2.2; Hoeffding (1948) for U-statistics.
    """

    subtract_entropy: bool = eqx.field(default=False, static=True)

    def weights(self, state: PreferenceState, fragments: Fragment) -> Float[Array, "N M"]:
        """w of fragments (N,M), labelled by the ensemble."""
        streams, each = fragments.mask.shape[:2]
        loss = self._loss(*self.labelled(state, fragments, _every_pair))
        stream = jnp.repeat(jnp.arange(streams), each)
        holds = counts(fragments).reshape(-1)
        meet = holds[:, None] & holds & (stream[:, None] != stream)
        total, count = (
            jnp.sum(leaf, axis=1, dtype=loss.dtype).reshape(streams, each)
            for leaf in (jnp.where(meet, loss, 0), meet)
        )
        mean = total / jnp.maximum(count, 1)
        if self.baseline:
            # Of all pairs, those in which no fragment is of the stream.
            left, number = (
                (jnp.sum(leaf) - 2 * jnp.sum(leaf, axis=1))[:, None] for leaf in (total, count)
            )
            mean -= left / jnp.maximum(number, 1)
        holds = holds.reshape(streams, each)
        return 2 * jnp.where(holds, mean, 0) / jnp.maximum(jnp.sum(holds), 1)

    def corrections(self, state: PreferenceState) -> Float[Array, "n 2"]:
        """w of the answered pairs' fragments: what it is by the answers, less by the ensemble."""
        asked = state.answered
        logit, label = self.labelled(state, asked.pair, lambda returns: -jnp.diff(returns)[..., 0])
        # The entropy that may be subtracted is the same in both.
        answer = jnp.broadcast_to(asked.label, logit.shape)
        off = jnp.mean(self._losses(logit, answer), axis=0)
        off -= jnp.mean(self._losses(logit, label), axis=0)
        holds = (asked.number >= 0).astype(off.dtype)
        count, total = jnp.sum(holds), jnp.sum(holds * off)
        if self.baseline:
            off -= (total - holds * off) / jnp.maximum(count - holds, 1)
        return jnp.repeat((holds * off / jnp.maximum(count, 1))[:, None], 2, axis=1)

    def _loss(self, logit, label):
        """The mean over the members (*B,)."""
        loss = self._losses(logit, label)
        if self.subtract_entropy:
            loss -= jax.vmap(preference_entropy)(label)
        return jnp.mean(loss, axis=0)

    def _losses(self, logit, label):
        return jax.vmap(lambda z, q: preference_loss(z, q, self.rewards.noise))(logit, label)


def _every_pair(returns: Float[Array, "K N M"]) -> Float[Array, "K P P"]:
    """All differences, of P = N M returns."""
    flat = returns.reshape(len(returns), -1)
    return flat[:, :, None] - flat[:, None, :]
