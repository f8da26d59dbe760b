"""Transitions as often as they were seen, smoothed on request."""

import dataclasses

import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.estimation.first_stage import Transitions, fitted, refuse_unseen
from sobirl.estimation.law import Seen

# Entries of a law (S·A·K) above which it is not made.
_MOST_ENTRIES = 10**8


@dataclasses.dataclass(frozen=True)
class Frequencies(Transitions):
    """P(s'|s,a) as often as it was seen.

    Args:
        by_action: whether the action matters.
        by_type: whether every observed type has a law of its own.
        smoothing: pseudo-observations added to each row, spread like `toward`. Without any, a
            state and action of which no successor was seen are refused.
        toward: "action": the next states after the same action wherever it was taken;
            "state": those after the same state whatever was done; "uniform": all states alike.

    Raises:
        InvalidInputError: a negative smoothing or an unknown direction.
    """

    by_action: bool = True
    by_type: bool = False
    smoothing: float | int = 0.0
    toward: str = "action"

    def __post_init__(self):
        if not (self.smoothing >= 0 and np.isfinite(self.smoothing)):
            raise InvalidInputError(f"smoothing: must not be negative, got {self.smoothing}")
        if self.toward not in ("action", "state", "uniform"):
            raise InvalidInputError(
                f"toward: expected 'action', 'state' or 'uniform', got {self.toward!r}"
            )

    def component(self, panel, columns, sizes, kinds, actions):
        """See `Transitions`."""
        size = int(np.prod(sizes))
        num_actions = len(actions.labels) if self.by_action else 1
        component_actions = (
            list(range(num_actions)) if self.by_action else [0] * len(actions.labels)
        )
        state = np.ravel_multi_index(tuple(panel.states[:, columns].T), tuple(sizes))
        observation = np.flatnonzero(panel.next >= 0)
        before, after = state[observation], state[panel.next[observation]]
        action = np.asarray(component_actions)[panel.action[observation]]
        kind = panel.kind[observation] * self.by_type
        groups = kinds if self.by_type else 1
        row = (kind * size + before) * num_actions + action
        num_rows = groups * size * num_actions
        prior = self._prior(before, action, after, size, num_actions)
        if prior is None:
            seen = np.unique(np.stack([row, after]), axis=1)
            count = np.bincount(seen[0], minlength=num_rows)
            place = np.arange(seen.shape[1]) - np.searchsorted(seen[0], seen[0])
            support = np.zeros((num_rows, max(1, count.max(initial=0))), np.int64)
            support[seen[0], place] = seen[1]
            weights = np.zeros(support.shape)
        else:
            # The successors that the prior or the data give to this state and action in any type.
            support, weights = _support(prior, before * num_actions + action, after)
            weights = np.tile(weights * self.smoothing, (groups, 1))
            support = np.tile(support, (groups, 1))
        if support.size > _MOST_ENTRIES:
            raise InvalidInputError(
                f"transitions: {support.size:,} probabilities are too many; take increments, or a "
                "law for each column of the state"
            )
        # Successors are one table for all types: each row lists what any of them reaches.
        if groups > 1 and prior is None:
            support, weights = _shared_support(support, row, after, groups, num_rows)
        place = np.argmax(support[row] == after[:, None], axis=1)
        found = Seen(observation, row, place, weights)
        labels = actions.labels

        def unseen(row):
            state, action = divmod(row % (size * num_actions), num_actions)
            where = f"state {state}" + (f" and action {labels[action]!r}" if self.by_action else "")
            return f"nothing is known of what follows {where}"

        refuse_unseen(found, unseen)
        successors = support[: size * num_actions].reshape(size, num_actions, -1)
        rows = np.arange(num_rows).reshape(groups, size, num_actions)
        rows = np.broadcast_to(rows, (kinds, size, num_actions))
        return fitted(successors, rows, found), found, component_actions

    def _prior(self, before, action, after, size, num_actions):
        """Where pseudo-observations of each state and action lead (S·A,S), or None without any."""
        if not self.smoothing:
            return None
        if self.toward == "uniform":
            return np.full((size * num_actions, size), 1 / size)
        by = action if self.toward == "action" else before
        counts = np.zeros((num_actions if self.toward == "action" else size, size))
        np.add.at(counts, (by, after), 1.0)
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.where(totals > 0, counts / np.where(totals > 0, totals, 1), 1 / size)
        if self.toward == "action":
            return np.tile(shares, (size, 1))
        return np.repeat(shares, num_actions, axis=0)


def _support(prior, row, after) -> tuple[np.ndarray, np.ndarray]:
    """The possible successors of every row (R,K) and their weights, padded with weight 0."""
    possible = prior > 0
    possible[row, after] = True
    count = int(possible.sum(axis=1).max())
    order = np.argsort(~possible, axis=1, kind="stable")[:, :count]
    inside = np.take_along_axis(possible, order, axis=1)
    support = np.where(inside, order, order[:, :1])
    weights = np.where(inside, np.take_along_axis(prior, order, axis=1), 0.0)
    return support, weights


def _shared_support(support, row, after, groups, num_rows) -> tuple[np.ndarray, np.ndarray]:
    """The same successors for all types."""
    own = num_rows // groups
    seen = np.unique(np.stack([row % own, after]), axis=1)
    count = np.bincount(seen[0], minlength=own)
    place = np.arange(seen.shape[1]) - np.searchsorted(seen[0], seen[0])
    support = np.zeros((own, max(1, count.max(initial=0))), np.int64)
    support[seen[0], place] = seen[1]
    return np.tile(support, (groups, 1)), np.zeros((num_rows, support.shape[1]))
