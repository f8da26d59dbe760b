"""The Bradley-Terry model: how likely one fragment is preferred to another, and its loss."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sobirl.core.checks import check, check_number


def fragment_return(
    reward: Float[Array | np.ndarray, "*B L"],
    mask: Bool[Array | np.ndarray, "*B L"],
    discount: float | int | Float[Array, ""] = 1.0,
) -> Float[Array, "*B"]:
    """The sum of a fragment's rewards, Σ_l γ^{n_l} r_l, with n_l the number of its steps after l.

    With γ < 1 the last steps weigh most, as in the eyes of a myopic person.

    Args:
        reward: (*B,L); what it is outside the mask does not matter.
        mask: whether a step belongs to the fragment (*B,L).
        discount: γ in (0,1].

    Raises:
        InvalidInputError: the discount is out of its range.

    Source: Lee et al. (2021), B-Pref.
    """
    check_number("discount", discount, "must be in (0, 1]", lambda γ: 0 < γ <= 1)
    reward, mask = jnp.asarray(reward), jnp.asarray(mask)
    taken = mask.astype(reward.dtype)
    after = jnp.cumsum(taken[..., ::-1], axis=-1)[..., ::-1] - taken
    return jnp.sum(jnp.where(mask, reward, 0) * discount**after, axis=-1)


def preference_logit(
    return_1: Float[Array | np.ndarray, "*B"],
    return_2: Float[Array | np.ndarray, "*B"],
    temperature: float | int | Float[Array, ""] = 1.0,
) -> Float[Array, "*B"]:
    """z = (R_1 - R_2)/T, the log-odds that the first fragment is preferred.

    Raises:
        InvalidInputError: the temperature is not positive.

    Source: Christiano et al. (2017), equation 1.
    """
    check_number("temperature", temperature, "must be positive", lambda t: t > 0)
    return (jnp.asarray(return_1) - return_2) / temperature


def preference_probability(
    logit: Float[Array | np.ndarray, "*B"], noise: float | int | Float[Array, ""] = 0.0
) -> Float[Array, "*B"]:
    """P̃ = (1-ε) σ(z) + ε/2: of an answer that is made by chance with probability ε.

    Args:
        logit: z (*B,).
        noise: ε in [0,1). A teacher who says the opposite with probability p has ε = 2p.

    Raises:
        InvalidInputError: ε is out of its range.

    Source: Christiano et al. (2017), section 2.2.3, with ε = 0.1.
    """
    _check_noise(noise)
    return (1 - noise) * jax.nn.sigmoid(jnp.asarray(logit)) + noise / 2


def preference_loss(
    logit: Float[Array | np.ndarray, "*B"],
    label: Float[Array | np.ndarray, "*B"] | float | int,
    noise: float | int | Float[Array, ""] = 0.0,
) -> Float[Array, "*B"]:
    """Cross-entropy -y log P̃(z) - (1-y) log P̃(-z), of every pair.

    It is computed from log σ, so that neither it nor its derivative overflows for large |z|.

    Args:
        logit: z (*B,).
        label: y in [0,1]: 1 where the first is preferred, 1/2 for a tie.
        noise: ε in [0,1), see `preference_probability`.

    Raises:
        InvalidInputError: ε or, unless traced, a label is out of its range.

    Source: Christiano et al. (2017), section 2.2.3.
    """
    _check_noise(noise)
    _check_probability("label", label)
    logit, label = jnp.asarray(logit), jnp.asarray(label)
    return -label * _log_probability(logit, noise) - (1 - label) * _log_probability(-logit, noise)


def preference_entropy(
    probability: Float[Array | np.ndarray, "*B"] | float | int,
) -> Float[Array, "*B"]:
    """H(q) = -q log q - (1-q) log(1-q), in nats: the part of the loss that no logit can remove.

    With q the teacher's own probability, `preference_loss(z, q) - preference_entropy(q)` is the
    divergence KL(q || σ(z)): 0 where the prediction is right, however undecided the teacher is.

    Args:
        probability: q in [0,1] (*B,). Of a drawn answer, 0 or 1, nothing can be subtracted.

    Raises:
        InvalidInputError: q is out of its range, unless traced.
    """
    _check_probability("probability", probability)
    probability = jnp.asarray(probability, float if isinstance(probability, int) else None)
    return jax.scipy.special.entr(probability) + jax.scipy.special.entr(1 - probability)


def win_probability(
    returns: Float[Array | np.ndarray, "*B"],
    references: Float[Array | np.ndarray, "R"],
    weight: Float[Array | np.ndarray, "R"] | None = None,
    temperature: float | int | Float[Array, ""] = 1.0,
    noise: float | int | Float[Array, ""] = 0.0,
) -> Float[Array, "*B"]:
    """P(the teacher prefers a fragment to a reference), the mean over all R references.

    Args:
        returns: of the fragments, in the teacher's eyes (*B,).
        references: those of the references (R,).
        weight: how much each reference counts, summing to 1 (R,); 1/R each by default.
        temperature: the teacher's, see `preference_logit`.
        noise: ε of the teacher, see `preference_probability`.

    Raises:
        InvalidInputError: the temperature or ε is out of its range.
    """
    own, other = jnp.broadcast_arrays(jnp.asarray(returns)[..., None], references)
    wins = preference_probability(preference_logit(own, other, temperature), noise)
    return jnp.mean(wins, axis=-1) if weight is None else wins @ jnp.asarray(weight)


def _log_probability(logit, noise):
    return jnp.logaddexp(jnp.log1p(-noise) + jax.nn.log_sigmoid(logit), jnp.log(noise / 2))


def _check_noise(noise):
    check_number("noise", noise, "must be in [0, 1)", lambda ε: 0 <= ε < 1)


def _check_probability(name, probability):
    if not isinstance(probability, jax.core.Tracer):
        values = np.asarray(probability)
        check(name, values, (values >= 0) & (values <= 1), "must be between 0 and 1")
