"""Demonstrations: the states and actions of episodes that somebody played."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sobirl.core.errors import InvalidInputError
from sobirl.estimation.data import as_panel, read_columns
from sobirl.estimation.given import refuse_impossible
from sobirl.estimation.levels import Levels, as_space, refuse_first
from sobirl.mdp import Rollout, SoftMDP


class Tables(NamedTuple):
    """What likelihoods need to know of demonstrations.

    Attributes:
        counts: how often each action was taken in each state (S,A).
        visits: the same of all but an episode's last step, weighted with the product of the
            discounts before it (S,A).
        last: that of the last steps (S,A).
        first: how often each state was the first one (S,).
    """

    counts: Float[np.ndarray, "S A"]
    visits: Float[np.ndarray, "S A"]
    last: Float[np.ndarray, "S A"]
    first: Float[np.ndarray, "S"]


@dataclasses.dataclass(frozen=True)
class Demonstrations:
    """N steps, sorted by episode and step, of an MDP whose states and actions have numbers.

    Attributes:
        episode: whose (N,), from 0.
        state: s_t (N,).
        action: a_t (N,).
    """

    episode: Int[np.ndarray, "N"]
    state: Int[np.ndarray, "N"]
    action: Int[np.ndarray, "N"]

    def __len__(self) -> int:
        return len(self.state)

    @property
    def num_episodes(self) -> int:
        """How many there are."""
        return int(self.episode[-1]) + 1

    @classmethod
    def read(
        cls,
        data: Any,
        mdp: SoftMDP,
        *,
        episode: str = "episode",
        step: str = "step",
        state: str = "state",
        action: str = "action",
    ) -> "Demonstrations":
        """Those of a table with a row for each step.

        Args:
            data: a pandas or polars frame, a mapping from columns to arrays, or a CSV file.
            mdp: whose states and actions these are.
            episode: the name of the column; whole numbers, as in ...
            step: ... this, ...
            state: ... this ...
            action: ... and this.

        Raises:
            InvalidInputError: bad data: one sentence with the row.
        """
        states, actions = _numbers("states", mdp.shape[0]), _numbers("actions", mdp.shape[1])
        table = read_columns(data, [episode, step, state, action])
        panel = as_panel(
            table, unit=episode, period=step, action=action, states={state: states}, kinds={},
            actions=actions,
        )  # fmt: skip
        if mdp.reference_policy is not None:
            allowed = np.asarray(mdp.reference_policy) > 0
            refuse_first(
                ~allowed[panel.state, panel.action],
                lambda i: (
                    f"{panel.where(i)}, column {action}: action {panel.action[i]} is not allowed "
                    f"in state {panel.state[i]}"
                ),
            )
        refuse_impossible(mdp.transition, panel.state, panel.action, panel, panel.next >= 0)
        return cls(panel.unit, panel.state, panel.action)

    @classmethod
    def of_rollout(cls, steps: Rollout) -> "Demonstrations":
        """The steps of simulated episodes, one an environment."""
        live = np.asarray(steps.live)
        episode = np.broadcast_to(np.arange(len(live))[:, None], live.shape)
        state, action = np.asarray(steps.state), np.asarray(steps.action)
        return cls(episode[live], state[live], action[live])

    def columns(self) -> dict[str, np.ndarray]:
        """The table that `read` takes."""
        step = np.arange(len(self)) - np.searchsorted(self.episode, self.episode)
        names = "episode", "step", "state", "action"
        return dict(zip(names, (self.episode, step, self.state, self.action), strict=True))

    def split(self, share: float, seed: int = 0) -> "tuple[Demonstrations, Demonstrations]":
        """All but a share of the episodes, and these.

        Raises:
            InvalidInputError: the share leaves no episode on either side.
        """
        held = round(share * self.num_episodes)
        if not 1 <= held < self.num_episodes:
            raise InvalidInputError(
                f"held_out: a share of {share:g} of {self.num_episodes} episodes leaves none on "
                "one side"
            )
        chosen = np.random.default_rng(seed).permutation(self.num_episodes)[:held]
        inside = np.isin(self.episode, chosen)
        return self._part(~inside), self._part(inside)

    def _part(self, rows: np.ndarray) -> "Demonstrations":
        episode = np.unique(self.episode[rows], return_inverse=True)[1]
        return Demonstrations(episode, self.state[rows], self.action[rows])

    def tables(self, mdp: SoftMDP) -> Tables:
        """Their sums over states and actions."""
        discount = np.broadcast_to(np.asarray(mdp.discount), mdp.shape)
        own = discount[self.state, self.action]
        first = np.flatnonzero(np.diff(self.episode, prepend=-1))
        last = np.append(first[1:], len(self)) - 1
        weight = np.ones(len(self))
        for begin, end in zip(first, last + 1, strict=True):
            weight[begin + 1 : end] = np.cumprod(own[begin : end - 1])
        inner = np.ones(len(self), bool)
        inner[last] = False
        counts, visits, ends = np.zeros((3, *mdp.shape))
        np.add.at(counts, (self.state, self.action), 1.0)
        np.add.at(visits, (self.state[inner], self.action[inner]), weight[inner])
        np.add.at(ends, (self.state[last], self.action[last]), weight[last])
        starts = np.bincount(self.state[first], minlength=mdp.shape[0]).astype(float)
        return Tables(counts, visits, ends, starts)


def _numbers(name: str, count: int) -> Levels:
    """0, 1, ..., count - 1."""
    found = as_space(name, count)
    assert isinstance(found, Levels)
    return found
