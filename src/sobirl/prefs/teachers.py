"""Teachers, who say which of two fragments they prefer, when they get round to it."""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.experience import Fragment
from sobirl.prefs.bradley_terry import fragment_return
from sobirl.prefs.store import PreferenceStore

Label = float | None  # 1: the first is preferred, 0: the second, 1/2: a tie, None: skipped


@runtime_checkable
class Teacher(Protocol):
    """Someone to ask. Answers may come at any time, in any order, or never."""

    def submit(self, pairs: Fragment) -> list[int]:
        """Ask about M pairs, with leading axes (M,2); a ticket for each."""

    def poll(self) -> dict[int, Label]:
        """The answers by ticket that have come since the last call."""


class Oracle(eqx.Module):
    """A simulated teacher, who knows the environment's own reward.

    With R the sum of the rewards and R_γ the same with weights γ^{steps after}, the first fragment
    is preferred with probability σ((R_γ(1) - R_γ(2))/T); then the answer is turned round with
    probability p; then come ties and skipping, which go by R.

    Args:
        temperature: T ≥ 0; 0 always prefers the better one, and either of two equal ones.
        discount: γ in (0,1]; below 1 the oracle is myopic, and minds the last steps most.
        mistake: p in [0,1].
        skip_below: no answer if both R are below this.
        tie_within: a tie if the two R differ by less than this.
        clip_rewards: judge by the rewards' signs.

    Raises:
        InvalidInputError: a number is out of its range.

    Source: Lee et al. (2021), B-Pref; clipping: Yang, Gao, Yuan (2025), section 5.
    """

    temperature: float | int | Float[Array, ""] = 1.0
    discount: float | int | Float[Array, ""] = 1.0
    mistake: float | int | Float[Array, ""] = 0.0
    skip_below: float | int | Float[Array, ""] | None = None
    tie_within: float | int | Float[Array, ""] | None = None
    clip_rewards: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("temperature", self.temperature, "must be at least 0", lambda t: t >= 0)
        check_number("discount", self.discount, "must be in (0, 1]", lambda γ: 0 < γ <= 1)
        check_number("mistake", self.mistake, "must be in [0, 1]", lambda p: 0 <= p <= 1)
        check_number("skip_below", self.skip_below, "must be a number", lambda s: s == s)
        check_number("tie_within", self.tie_within, "must be at least 0", lambda w: w >= 0)

    def answer(
        self, pairs: Fragment, key: Key[Array, ""]
    ) -> tuple[Float[Array, "*B"], Bool[Array, "*B"]]:
        """The label of every pair, and whether it is kept (not skipped).

        Args:
            pairs: with leading axes (*B,2).
            key: a typed JAX key.

        Raises:
            InvalidInputError: the last leading axis is not 2.
        """
        if pairs.mask.ndim < 2 or pairs.mask.shape[-2] != 2:
            raise InvalidInputError(
                f"pairs: must have leading axes (..., 2), got {pairs.mask.shape[:-1]}"
            )
        return self._judge(pairs.reward, pairs.mask, key)

    def probability(
        self, seen: Float[Array, "*B 2"], total: Float[Array, "*B 2"]
    ) -> Float[Array, "*B"]:
        """The mean label of every pair: what the first's chance is, 1/2 for a tie.

        Args:
            seen: R_γ of both fragments, see `returns`.
            total: R of both.
        """
        return jnp.where(self._ties(total), 0.5, self._chance(seen))

    def returns(
        self, reward: Float[Array | np.ndarray, "*B L"], mask: Bool[Array | np.ndarray, "*B L"]
    ) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """R_γ and R of fragments."""
        reward = jnp.sign(jnp.asarray(reward)) if self.clip_rewards else reward
        return fragment_return(reward, mask, self.discount), fragment_return(reward, mask)

    def _judge(self, reward, mask, key):
        seen, total = self.returns(reward, mask)
        label = jax.random.bernoulli(key, self._chance(seen)).astype(seen.dtype)
        label = jnp.where(self._ties(total), 0.5, label)
        kept = jnp.ones(label.shape, bool)
        if self.skip_below is not None:
            kept = jnp.any(total >= self.skip_below, axis=-1)
        return label, kept

    def _chance(self, seen):
        gap = seen[..., 0] - seen[..., 1]
        warm = jnp.asarray(self.temperature) > 0
        odds = jax.nn.sigmoid(gap / jnp.where(warm, self.temperature, 1))
        probability = jnp.where(warm, odds, jnp.heaviside(gap, 0.5))
        return probability + self.mistake * (1 - 2 * probability)

    def _ties(self, total):
        if self.tie_within is None:
            return jnp.zeros(total.shape[:-1], bool)
        return jnp.abs(total[..., 0] - total[..., 1]) < self.tie_within


class OracleTeacher:
    """An oracle that is asked like a person. The answer to a ticket depends on the key alone.

    Args:
        oracle: who answers.
        key: a typed JAX key.
        delay: how many calls of `poll` an answer takes longer than the next one.

    Raises:
        InvalidInputError: the delay is negative.
    """

    def __init__(self, oracle: Oracle, key: Key[Array, ""], delay: int = 0):
        if delay < 0:
            raise InvalidInputError(f"delay: must be at least 0, got {delay}")
        self.oracle, self.key, self.delay = oracle, key, delay
        self._asked = 0
        self._polls = 0
        self._answers: dict[int, tuple[int, Label]] = {}  # the poll that gives it, and the answer

    def submit(self, pairs: Fragment) -> list[int]:
        """Ask about M pairs, with leading axes (M,2); a ticket for each."""
        count = len(pairs.mask)
        tickets = range(self._asked, self._asked + count)
        # Filled up to a power of two, so that few programs serve all numbers of pairs.
        missing = (1 << max(count - 1, 0).bit_length()) - count
        numbers = np.arange(self._asked, self._asked + count + missing, dtype=np.uint32)
        fill = ((0, missing), (0, 0), (0, 0))
        reward, mask = (np.pad(leaf, fill) for leaf in (pairs.reward, pairs.mask))
        judged = _judge_each(self.oracle, reward, mask, self.key, numbers)
        labels, kept = (np.asarray(leaf) for leaf in judged)
        due = self._polls + self.delay
        answers = labels[:count].tolist(), kept[:count].tolist()
        for ticket, label, keep in zip(tickets, *answers, strict=True):
            self._answers[ticket] = due, label if keep else None
        self._asked = tickets.stop
        return list(tickets)

    def poll(self) -> dict[int, Label]:
        """The answers by ticket that are due."""
        due = [ticket for ticket, (poll, _) in self._answers.items() if poll <= self._polls]
        self._polls += 1
        return {ticket: self._answers.pop(ticket)[1] for ticket in due}


@eqx.filter_jit
def _judge_each(oracle, reward, mask, key, tickets):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, tickets)
    return jax.vmap(oracle._judge)(reward, mask, keys)


class StoredTeacher:
    """The people who label the pairs of a store, or have done so.

    A teacher made anew, as when a run is resumed, gives all answers of the store at its first
    `poll`. Pairs that were labelled again are given again.

    Args:
        store: where pairs go and labels come from.
    """

    def __init__(self, store: PreferenceStore):
        self.store = store
        self._read = 0

    def submit(self, pairs: Fragment) -> list[int]:
        """Put M pairs, with leading axes (M,2), into the store; a ticket for each."""
        pairs = jax.tree.map(np.asarray, pairs)
        return [
            self.store.add(jax.tree.map(lambda leaf, row=row: leaf[row], pairs))
            for row in range(len(pairs.mask))
        ]

    def poll(self) -> dict[int, Label]:
        """The labels by ticket that were given since the last call."""
        history = self.store.history()
        fresh, self._read = history[self._read :], len(history)
        return dict(fresh)
