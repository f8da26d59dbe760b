"""What can be set of a follower that learns, whatever the leader wants of it."""

import dataclasses
from typing import Annotated

from annotated_types import Ge, Lt

from sobirl.runs.options import Count, Discount, Positive, Share, Whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerOptions:
    """The options of a follower that learns."""

    discount: Discount = 0.99
    """The follower's."""
    temperature: Positive = 0.1
    """The follower's entropy weight, in units of its reward: how far from optimal it acts."""
    round_steps: Count = 250
    """Environment steps from one step of the leader's to the next."""
    episodes: Annotated[int, Ge(2), Lt(2**31)] = 16
    """Fresh episodes of the policy in a round, for an estimate."""
    episode_steps: Count = 200
    """Steps after which these are cut off."""

    num_envs: Count | None = None
    """Environments side by side (16 of gymnax, 4 of others)."""
    random_steps: Whole = 1000
    """Steps of random actions at the beginning."""
    batch: Count = 128
    """Transitions in an update."""
    replay: Count = 20_000
    """Steps that are kept for learning; older ones are of a follower that is no more."""
    updates_per_step: Positive = 0.25
    """Updates of the follower, and of the leader's critics if it has any, for every environment
    step."""
    learning_rate: Positive = 1e-3
    """Of Adam, for what these update."""
    target_rate: Share = 0.01
    """How fast the target critics follow."""
    widths: tuple[Count, ...] = (64, 64)
    """Of the fully connected layers."""
