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


SELECTIONS: dict[str, Callable] = {rule.__name__: rule for rule in (uniform, disagreement, entropy)}


def select_pairs(
    rule: str, probabilities: Float[Array | np.ndarray, "K M"], num: int, key: Key[Array, ""]
) -> Int[Array, "num"]:
    """The indices of the pairs with the highest scores, best first and each at most once.

    Args:
        rule: a name in `SELECTIONS`: "uniform", "disagreement" or "entropy".
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
