"""What the deep world knows of a follower: a maximum-entropy agent that learns on a given reward.

Loops, rewards, tails, novelty and film use these functions and nothing else. A follower is a record
of settings; all that it learns is in its state, a pytree that only the follower looks into.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Float, Int, Key, Num, PyTree

from sobirl.deep.envs.compiled import CompiledEnvironments
from sobirl.experience.replay import Transitions

RewardFunction = Callable[[Num[Array, "B *obs"], Num[Array, "B *d"]], Float[Array, "B"]]
ActionFunction = Callable[[Num[Array, "B *d"]], Float[Array, "B"]]


@runtime_checkable
class ScoredReward(Protocol):
    """A reward that can also be looked at for many actions in the same places."""

    def __call__(
        self, observation: Num[Array, "B *obs"], action: Num[Array, "B *d"]
    ) -> Float[Array, "B"]:
        """r(s,a)."""

    def at(self, observation: Num[Array, "B *obs"]) -> ActionFunction:
        """r(s,·) as a function of actions alone."""


@runtime_checkable
class Follower(Protocol):
    """A maximum-entropy agent: the deep counterpart of `sobirl.solve`.

    Actions are indices (B,), or d numbers (B,d) from -1 to 1; log-probabilities of the latter are
    densities.
    """

    @property
    def discount(self) -> float | Float[Array, ""]:
        """γ."""
        ...

    @property
    def keeps_entropy(self) -> bool:
        """Whether τ is adjusted so that the policy keeps its entropy."""
        ...

    def init(self, key: Key[Array, ""]) -> PyTree:
        """The state before the first update."""

    def update(
        self,
        state: PyTree,
        batch: Transitions,
        reward: RewardFunction | None,
        key: Key[Array, ""],
    ) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
        """One update of all that is learned.

        Args:
            state: what was learned so far.
            batch: transitions.
            reward: `reward(observation, action)` (B,), reckoned anew for the batch; None takes the
                environment's own.
            key: for all that is random.

        Returns:
            the next state, and numbers that tell how it goes.
        """

    def act(
        self, state: PyTree, observation: Num[Array, "B *obs"], key: Key[Array, ""]
    ) -> tuple[Num[Array, "B *d"], Float[Array, "B"]]:
        """Actions drawn from the policy, and their log-probabilities."""

    def mode(self, state: PyTree, observation: Num[Array, "B *obs"]) -> Num[Array, "B *d"]:
        """The most likely actions."""

    def random_action(
        self, count: int, key: Key[Array, ""]
    ) -> tuple[Num[Array, "B *d"], Float[Array, "B"]]:
        """Uniformly random actions, and their log-probabilities."""

    def log_prob(
        self, state: PyTree, observation: Num[Array, "B *obs"], action: Num[Array, "B *d"]
    ) -> Float[Array, "B"]:
        """log π(a|s)."""

    def expectation(
        self,
        state: PyTree,
        observation: Num[Array, "B *obs"],
        function: ActionFunction,
        key: Key[Array, ""],
        samples: int = 1,
    ) -> Float[Array, "B"]:
        """E_{a ~ π(·|s)} f(a), through which no gradient reaches the policy.

        Args:
            state: what was learned so far.
            observation: s.
            function: f of actions (B,*d), one for each observation.
            key: for sampled actions.
            samples: how many actions stand for the expectation, where it is no sum.
        """

    def seen(self, reward: Float[Array, "B"]) -> Float[Array, "B"]:
        """Rewards as the critics see them, for example clipped."""

    def temperature_of(self, state: PyTree) -> Float[Array, ""]:
        """τ as it is now."""

    def forget_values(self, state: PyTree, key: Key[Array, ""]) -> PyTree:
        """Ready for another reward: what was learned of the old one's values is gone.

        The policy stays, if it is more than these values.
        """


@runtime_checkable
class CoolingFollower(Follower, Protocol):
    """A follower whose temperature others may set, which a continuation does."""

    def with_temperature(self, state: PyTree, temperature: Float[Array, ""]) -> PyTree:
        """The state with another τ; one that is adjusted goes on from there."""


@runtime_checkable
class ValuedFollower(Follower, Protocol):
    """A follower that tells what its policy is worth to itself."""

    def value(
        self, state: PyTree, observation: Num[Array, "B *obs"], key: Key[Array, ""]
    ) -> Float[Array, "B"]:
        """V(s), entropy included, as the slow critics have it; the key is for sampled actions."""


class FollowerView(eqx.Module):
    """What the update of a reward is told of the follower.

    Attributes:
        follower: how the state is read.
        state: what it has learned.
        steps: environment steps taken so far.
        records: that each stream of experience has had, to reckon a fragment's age by.
        environments: in JAX, for rollouts; None where there are none.
    """

    follower: Follower
    state: PyTree
    steps: Int[Array, ""]
    records: Int[Array, ""]
    environments: CompiledEnvironments | None = None
