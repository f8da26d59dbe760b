"""Which pairs to ask about: those of a pool that tell most, by what an ensemble predicts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sobirl.core.checks import check
from sobirl.core.errors import InvalidInputError
from sobirl.prefs.bradley_terry import preference_entropy


def uniform(probabilities: Float[Array, "K M"]) -> Float[Array, "M"]:
    """The same score for every pair, so that chance chooses."""
    return jnp.zeros(probabilities.shape[1], probabilities.dtype)


def disagreement(probabilities: Float[Array, "K M"]) -> Float[Array, "M"]:
    """The variance of the preference probability over the ensemble.

    Source: Christiano et al. (2017), section 2.2.4.
    """
    return jnp.var(probabilities, axis=0)


def entropy(probabilities: Float[Array, "K M"]) -> Float[Array, "M"]:
    """The entropy of the ensemble's mean probability, in nats.

    Source: Lee et al. (2021), PEBBLE, section 4.2.
    """
    return preference_entropy(probabilities.mean(axis=0))


def information(probabilities: Float[Array, "K M"]) -> Float[Array, "M"]:
    """What an answer would tell about which member is right, in nats.

    The entropy of the mean probability less the mean entropy: high where members are sure, each of
    something else; low for pairs that all of them hold for ties.

    Source: Houlsby et al. (2011), BALD, equation 2.
    """
    each = jax.scipy.special.entr(probabilities) + jax.scipy.special.entr(1 - probabilities)
    return entropy(probabilities) - each.mean(axis=0)


def decisiveness(probabilities: Float[Array, "K M"]) -> Float[Array, "M"]:
    """E (2p - 1)² over the ensemble, which is least for pairs that all members hold for ties.

    It is 4 (Var p + (E p - 1/2)²): four times the disagreement, and how sure the mean is.
    """
    return jnp.mean((2 * probabilities - 1) ** 2, axis=0)


SELECTIONS: dict[str, Callable] = {
    rule.__name__: rule for rule in (uniform, disagreement, entropy, information, decisiveness)
}


def select_pairs(
    rule: str, probabilities: Float[Array | np.ndarray, "K M"], num: int, key: Key[Array, ""]
) -> Int[Array, "num"]:
    """The indices of the pairs with the highest scores, best first and each at most once.

    Args:
        rule: a name in `SELECTIONS`: "uniform", "disagreement" and so on.
        probabilities: that the first fragment is preferred, by K networks for M pairs (K,M).
        num: how many.
        key: breaks ties; the same key gives the same choice.

    Raises:
        InvalidInputError: there is no such rule, or there are fewer pairs than `num`, or, unless
            traced, a probability is out of its range.
    """
    if rule not in SELECTIONS:
        raise InvalidInputError(
            f"selection: there is no {rule!r}; choose from {', '.join(SELECTIONS)}"
        )
    pool = probabilities.shape[1]
    if not 1 <= num <= pool:
        raise InvalidInputError(f"num: must be between 1 and the {pool} pairs, got {num}")
    if not isinstance(probabilities, jax.core.Tracer):
        values = np.asarray(probabilities)
        fits = (values >= 0) & (values <= 1)
        check("probabilities", values, fits, "must be between 0 and 1")
    order = jax.random.permutation(key, pool)
    scores = SELECTIONS[rule](jnp.asarray(probabilities))
    return order[jax.lax.top_k(scores[order], num)[1]]
