"""A lower level that ends: backward induction over T periods."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from sobirl.core.status import Status
from sobirl.mdp import TransitionOperator


class Plan(eqx.Module):
    """What to do in each period; the fields are those of a `Response`, a period each."""

    value: Float[Array, "T S"]
    q: Float[Array, "T S A"]
    log_policy: Float[Array, "T S A"]
    status_code: int = eqx.field(static=True, default=int(Status.CONVERGED))

    @property
    def policy(self) -> Float[Array, "T S A"]:
        """Action probabilities π_t(a|s)."""
        return jnp.exp(self.log_policy)


class FiniteHorizon(eqx.Module):
    """A soft MDP of T periods, after which nothing is left:

        Q_t(s,a) = r_t(s,a) + γ Σ_s' P(s'|s,a) V_{t+1}(s'),    V_T = 0

    Args:
        transition: P.
        reward: r (T,S,A).
        discount: γ in [0, 1].
        temperature: τ.
        log_reference: log of the weights of the actions (S,A), -∞ for those not allowed.
    """

    transition: TransitionOperator
    reward: Float[Array, "T S A"]
    discount: Float[Array, ""]
    temperature: Float[Array, ""]
    log_reference: Float[Array, "S A"]

    def solve(self, *, initial_value=None, throw: bool = True) -> Plan:
        """Backward induction; exact, so that nothing can fail."""
        del initial_value, throw

        def back(value, reward):
            q = reward + self.discount * self.transition.expect(value)
            scaled = self.log_reference + q / self.temperature
            value = self.temperature * logsumexp(scaled, axis=-1)
            return value, (value, q, scaled - value[:, None] / self.temperature)

        last = jnp.zeros(self.transition.shape[0], self.reward.dtype)
        _, found = jax.lax.scan(back, last, self.reward, reverse=True)
        return Plan(*found)
