"""Steps of a reward's parameters along the implicit term, one a round.

Between two of them the reward is fitted to the answers in many small steps, which follow the
explicit term. The implicit term is estimated once, from many fragments, and still noisy: what is
followed is a moving mean over rounds.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.reward_learning import RewardState

_TINY = 1e-12
_DECAY, _EPS = 0.999, 1e-8  # optax's, of the second moments


class DescentState(eqx.Module):
    """The moving mean of the implicit terms, and how many there were."""

    mean: PyTree
    steps: Int[Array, ""]


class ImplicitDescent(eqx.Module):
    """x ← x - n η min(|m|, c |e|)/|m| m/(√v + ε), with m the moving mean of the implicit terms.

    n, η and v are those of the fit: updates in a pass over the answers, learning rate, and second
    moments of the explicit term. So the implicit term counts as much as if it had been added in
    every update of a pass. No entry moves further than by n η, which is as far as Adam can go.

    Args:
        momentum: β of the moving mean, whose first values are not held back (m/(1 - β^t)).
        largest_ratio: c; the mean, and not what goes into it, is shortened where it is more than so
            many times as long as the explicit term e, whose length is its mean over the fit.

    Raises:
        InvalidInputError: a number out of its range.
    """

    momentum: float = 0.9
    largest_ratio: float = 1.0

    def __check_init__(self):
        if not 0 <= self.momentum < 1:
            raise InvalidInputError(f"momentum: must be in [0, 1), got {self.momentum}")
        if not self.largest_ratio > 0:
            raise InvalidInputError(f"largest_ratio: must be positive, got {self.largest_ratio}")

    def init(self, model: PyTree) -> DescentState:
        """Before the first step."""
        return DescentState(jax.tree.map(jnp.zeros_like, model), jnp.zeros((), jnp.int32))

    def average(self, state: DescentState, implicit: PyTree) -> tuple[DescentState, PyTree]:
        """The next state, and m."""
        steps = state.steps + 1
        mean = jax.tree.map(
            lambda old, new: self.momentum * old + (1 - self.momentum) * new, state.mean, implicit
        )
        whole = 1 - self.momentum**steps
        return DescentState(mean, steps), jax.tree.map(lambda leaf: leaf / whole, mean)

    def step(
        self,
        reward: RewardState,
        mean: PyTree,
        length: Float[Array, ""],
        distance: Float[Array, ""],
    ) -> RewardState:
        """The reward after a step.

        Args:
            reward: after its fit.
            mean: m.
            length: |e|.
            distance: n η.
        """
        norm = optax.tree.norm(mean)
        shortened = jnp.minimum(1, self.largest_ratio * length / jnp.maximum(norm, _TINY))
        moments = optax.tree.get(reward.optimizer, "nu")
        seen = 1 - _DECAY ** jnp.maximum(reward.updates, 1)

        def move(x, m, v):
            return x - distance * jnp.clip(shortened * m / (jnp.sqrt(v / seen) + _EPS), -1, 1)

        model = jax.tree.map(move, reward.model, mean, moments)
        return eqx.tree_at(lambda s: s.model, reward, model)
