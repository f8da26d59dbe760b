"""How likely a policy makes demonstrations, when it learns on the reward: deep ML-IRL."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import FollowerView
from sobirl.deep.losses import weighted_mean
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.trajectories import Trajectories


class DemonstrationState(eqx.Module):
    """What the leader knows beside the policy's trajectories.

    Attributes:
        reward: r_x.
        demonstrations: whole episodes, or their beginnings.
    """

    reward: RewardModel
    demonstrations: Trajectories


class DemonstrationLikelihood(eqx.Module):
    """f(x,π) = -E_D[Σ_t γ^t log π(a_t|s_t)] under the maximum-entropy policy for r_x.

    log π = (Q_x - V_x)/τ telescopes along a demonstration, so that with no critic at all

        ∇φ = τ^{-1} (E_π[Σ_t γ^t ∇r_x(s_t,a_t)] - E_D[Σ_t γ^t ∇r_x(s_t,a_t)])

    with trajectories of the policy from the same first states. Both are cut off after the same T
    steps.

    Args:
        discount: γ, the follower's; 1 counts all steps alike, as Zeng et al.'s program does.
        penalty: λ of λ/2 E[r_x²] over both kinds of steps, which keeps rewards from growing where
            nothing tells them.

    Raises:
        InvalidInputError: a number out of its range.

    Bias: episodes that are cut off lack a part of order γ^T. Nothing of x is differentiated
    through the policy; the gradient is that of the exact lower level at the present x, which a
    policy that still learns follows with a delay.

    Source: Zeng, Li, Garcia, Hong, Maximum-Likelihood Inverse Reinforcement Learning with Finite-
    Time Guarantees, NeurIPS 2022, algorithm 1 and equation 11.
    """

    discount: float = 0.99
    penalty: float = 0.0

    def __check_init__(self):
        if not 0 <= self.discount <= 1:
            raise InvalidInputError(f"discount: must be in [0, 1], got {self.discount}")
        if not self.penalty >= 0:
            raise InvalidInputError(f"penalty: must not be negative, got {self.penalty}")

    def terms(
        self,
        state: DemonstrationState,
        view: FollowerView,
        fragments: Trajectories,
        key: Key[Array, ""],
    ) -> tuple[PyTree, PyTree, dict[str, Float[Array, ""]]]:
        """∂f/∂x, which is that of the penalty, and the implicit term.

        Args:
            state: the reward and the demonstrations.
            view: the follower, whose present policy made ...
            fragments: ... these trajectories.
            key: nothing is drawn.

        Returns:
            the two terms; `gap`, the demonstrations' mean discounted reward an episode less the
            policy's, divided by τ; `demonstrated`, the mean log-probability of a step of theirs.
        """
        del key
        shown = state.demonstrations
        model, fixed = eqx.partition(state.reward, eqx.is_inexact_array)
        temperature = view.follower.temperature_of(view.state)

        def gap(model):
            reward = eqx.combine(model, fixed)
            means = [discounted(reward, made, self.discount) for made in (fragments, shown)]
            return (means[0] - means[1]) / temperature

        def size(model):
            reward = eqx.combine(model, fixed)
            squares = [mean_square(reward, made) for made in (fragments, shown)]
            return self.penalty / 2 * (squares[0] + squares[1])

        value, implicit = jax.value_and_grad(gap)(model)
        explicit = jax.grad(size)(model)
        steps, weight = flat(shown)
        logs = view.follower.log_prob(view.state, *steps)
        return (
            explicit,
            implicit,
            {
                "gap": -value,
                "demonstrated": weighted_mean(logs, weight),
                "explicit_norm": optax.tree.norm(explicit),
                "implicit_norm": optax.tree.norm(implicit),
            },
        )


def flat(made: Trajectories) -> tuple[tuple[Array, Array], Float[Array, "B"]]:
    """Observations and actions one after another, and whether each counts."""
    observation, action = jnp.asarray(made.observation), jnp.asarray(made.action)
    steps = (observation.reshape(-1, *observation.shape[2:]),
             action.reshape(-1, *action.shape[2:]))  # fmt: skip
    return steps, jnp.asarray(made.mask).reshape(-1).astype(jnp.float32)


def discounted(reward: RewardModel, made: Trajectories, discount: float) -> Float[Array, ""]:
    """The mean of Σ_t γ^t r(s_t,a_t) over trajectories."""
    steps, weight = flat(made)
    shape = made.mask.shape
    values = jnp.where(weight > 0, reward(*steps), 0.0).reshape(shape)
    return jnp.mean(values @ (discount ** jnp.arange(shape[1], dtype=values.dtype)))


def mean_square(reward: RewardModel, made: Trajectories) -> Float[Array, ""]:
    """The mean of r² over the steps."""
    steps, weight = flat(made)
    return weighted_mean(reward(*steps) ** 2, weight)
