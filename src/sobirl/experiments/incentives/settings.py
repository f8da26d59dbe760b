"""What can be set of incentives for followers that learn."""

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from sobirl.deep.followers import FOLLOWERS
from sobirl.experiments.learner_options import LearnerOptions
from sobirl.runs.options import Choices, Count, Discount, NotNegative, Positive, Share


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(LearnerOptions):
    """The options of incentives for followers that learn."""

    env: str = "Pendulum-v1"
    """An environment of gymnax, of Gymnasium, or my_module:MyEnv for a class (or my_module:MyEnv-v0
    for a registered name) in my_module.py of the current folder."""
    backend: Literal["gymnax", "gymnasium", "atari"] | None = None
    """Where the environment comes from; gymnax, which is fastest, where it has it."""
    max_episode_steps: Count | None = None
    """The time limit, in the place of the environment's own."""
    method: Literal["trace", "bc-hg", "hpgd", "explicit", "evolution"] = "trace"
    """How the hyper-gradient is estimated: trace has less noise than bc-hg (Kudo et al. 2026), hpgd
    (Thoma et al. 2024) does without critics but for a baseline; explicit leaves out how the
    follower responds, to compare with; evolution tries x + σε and x - σε in turns."""
    sigma: Positive = 0.1
    """σ of evolution strategies."""
    follower: Annotated[str, Choices(lambda: list(FOLLOWERS))] = "sac"
    """Who learns on the environment's reward and the incentives."""
    steps: Count = 100_000
    """Environment steps of the follower's, in all."""

    starts: Annotated[int, Ge(1), Lt(100)] = 1
    """Where incentives begin: at none, and with more starts at random ones too, each with a
    follower of its own. The worse half by the leader's return is given up again and again, within
    the environment steps in all."""

    form: Literal["auto", "table", "linear", "network"] = "auto"
    """What the incentives are: a table of numbered states and actions, linear in what is observed
    (and in continuous actions), or a network; by default a table where states are numbered."""
    bound: Positive | None = None
    """No incentive is larger than this, up or down: incentives cannot blow up. In units of the
    follower's reward; by default 1, and for a function of your own none."""
    budget: NotNegative | None = None
    """The most that the mean size of the incentives over the follower's steps may be."""
    price: NotNegative = 0.0
    """What the leader pays for a unit of incentives, in units of its own reward."""
    sign: Literal["both", "pay", "charge"] = "both"
    """Incentives may be of either sign, or only rewards, or only charges."""

    leader_discount: Discount | None = None
    """The leader's; by default as the follower's."""
    initial_temperature: Positive | None = None
    """Where the temperature begins; it falls over the first half of the leader's steps."""
    warm_up: Share = 0.2
    """The share of all steps before the leader's first step, in which the follower learns."""
    leader_rate: Positive | None = None
    """The leader's steps: how far an entry of x goes in a round, or would in the mean, before the
    rate falls to a tenth (0.1; 0.003 for networks)."""

    averaged: Count = 1
    """Estimates, and the policy in the end, are of the mean of the networks over so many updates:
    less noise where the temperature is low. 1 for the networks as they are."""
