"""The losses of soft followers, as functions of arrays: networks are applied elsewhere.

Every loss is a mean over a batch, in which transitions may have weight 0.

Source: Haarnoja et al. (2018), "Soft Actor-Critic Algorithms and Applications"; Christodoulou
(2019) for discrete actions.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def weighted_mean(values: Float[Array, "B"], weight: Float[Array, "B"]) -> Float[Array, ""]:
    """Σ w v / Σ w, and 0 where nothing has weight."""
    return jnp.sum(weight * values) / jnp.maximum(jnp.sum(weight), 1e-8)


def soft_value(
    q: Float[Array, "B A"], log_policy: Float[Array, "B A"], temperature: Float[Array, ""]
) -> Float[Array, "B"]:
    """V(s) = Σ_a π(a|s) (Q(s,a) - τ log π(a|s)), the expectation over discrete actions."""
    return jnp.sum(jnp.exp(log_policy) * (q - temperature * log_policy), axis=-1)


def soft_maximum(
    q: Float[Array, "B A"], temperature: float | Float[Array, ""]
) -> Float[Array, "B"]:
    """V(s) = τ log Σ_a exp(Q(s,a)/τ), the soft value of the policy that is best for Q."""
    return temperature * jax.nn.logsumexp(q / temperature, axis=-1)


def td_target(
    reward: Float[Array, "B"],
    terminated: Bool[Array, "B"],
    next_value: Float[Array, "B"],
    discount: float | Float[Array, ""],
) -> Float[Array, "B"]:
    """r + γ V(s'), and r where the episode ended; one that was only cut off goes on from s'."""
    return jax.lax.stop_gradient(reward + discount * jnp.where(terminated, 0, next_value))


def critic_loss(
    q: Float[Array, "K B"], target: Float[Array, "B"], weight: Float[Array, "B"]
) -> Float[Array, ""]:
    """½ Σ_k E (Q_k(s,a) - y)², for the actions that were taken."""
    return 0.5 * weighted_mean(jnp.sum((q - target) ** 2, axis=0), weight)


def actor_loss(
    q: Float[Array, "B A"],
    log_policy: Float[Array, "B A"],
    temperature: Float[Array, ""],
    weight: Float[Array, "B"],
) -> Float[Array, ""]:
    """E Σ_a π(a|s) (τ log π(a|s) - Q(s,a)) for discrete actions; Q and τ are held fixed."""
    q, temperature = jax.lax.stop_gradient((q, temperature))
    return weighted_mean(-soft_value(q, log_policy, temperature), weight)


def sampled_actor_loss(
    q: Float[Array, "B"],
    log_prob: Float[Array, "B"],
    temperature: Float[Array, ""],
    weight: Float[Array, "B"],
) -> Float[Array, ""]:
    """E (τ log π(a|s) - Q(s,a)) at actions that the policy's parameters flow through."""
    return weighted_mean(jax.lax.stop_gradient(temperature) * log_prob - q, weight)


def temperature_loss(
    log_temperature: Float[Array, ""],
    entropy: Float[Array, "B"],
    target_entropy: float | Float[Array, ""],
    weight: Float[Array, "B"],
) -> Float[Array, ""]:
    """log τ · E (H - H̄): descent raises the temperature where the entropy lies below its target."""
    return log_temperature * jax.lax.stop_gradient(weighted_mean(entropy - target_entropy, weight))
