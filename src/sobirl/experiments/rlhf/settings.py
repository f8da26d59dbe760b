"""What can be set of learning from preferences."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from annotated_types import Ge, Le

from sobirl.deep.followers import FOLLOWERS
from sobirl.experiments.rlhf.presets import NAMED, suited
from sobirl.runs.options import (
    Choices,
    Count,
    Discount,
    NotNegative,
    Positive,
    PositiveOrInf,
    Share,
    Whole,
)

if TYPE_CHECKING:
    from sobirl.deep.envs import EnvSpec
    from sobirl.prefs import Oracle

Resolved: TypeAlias = Any
"""`Settings` in which nothing is None that a preset decides, which their types cannot say."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of learning from preferences.

    Where an option is None a preset decides: `rlhf_presets` has one for every kind of environment,
    and those that have a name.
    """

    env: str = "CartPole-v1"
    """CartPole-v1, Breakout-MinAtar, HalfCheetah-v5, ALE/BeamRider-v5, any of Gymnasium, or
    my_module:MyEnv-v0 for one that my_module.py in the current folder registers."""
    backend: Literal["gymnax", "gymnasium", "atari"] | None = None
    """Where the environment comes from; gymnax, which is fastest, where it has it."""
    method: Literal["sobirl", "drlhf", "ground-truth"] = "sobirl"
    """sobirl has both terms of the hyper-gradient; drlhf (Christiano et al. 2017) the explicit one
    alone; ground-truth gives the follower the true reward, which is the ceiling."""
    follower: Annotated[str, Choices(lambda: list(FOLLOWERS))] = "sac"
    """Who learns on the reward; docs/rlhf.md says what each of them is."""
    preset: Annotated[str, Choices(lambda: list(NAMED))] | None = None
    """authors: the implicit term as in the code of Yang et al. (2025); paper: with it, their sizes
    and rates for --env ALE/BeamRider-v5; small-atari: Atari on two cores. Without, a preset for the
    kind of environment fills what is None below; what you set always counts."""
    steps: Count | None = None
    """Environment steps, for every seed; 300,000 unless a preset says otherwise."""
    seeds: Count = 1
    """Runs with the seeds seed, seed + 1, ..., one after another."""

    labels: Path | None = None
    """Labelled pairs to learn from beside what the teacher says, a .jsonl or .parquet file; nobody
    is asked about any others unless --pairs says so."""
    pairs: Count | None = None
    """Pairs of fragments that the teacher is asked about, in all (300, or none with --labels)."""
    initial_pairs: Whole | None = None
    """Those asked about in the first round, on random actions; by default a sixth."""
    schedule: Literal["constant", "hyperbolic"] | None = None
    """How the other pairs are spread over the rounds; hyperbolic asks more at first."""
    schedule_rounds: Count | None = None
    """Rounds over which they are spread, if more than there are: then not all are asked about."""
    selection: (
        Literal["uniform", "disagreement", "entropy", "information", "decisiveness"] | None
    ) = None
    """Which candidates the teacher is asked about (uniform; decisiveness on boards): by chance, or
    where several members disagree, are undecided, or would tell which is right; or where the
    reward says that one is better, if most pairs are ties."""
    candidates: Count | None = None
    """Candidates for each pair that is asked about (4; 8 on boards)."""
    fragment_length: Count | None = None
    """Steps in a fragment (25)."""
    whole_fragments: bool | None = None
    """Compare fragments of that length only, none that an episode's end has cut short."""
    queue: Count | None = None
    """Answered pairs that are learned from, the latest (3000)."""

    teacher: Literal["oracle", "human"] = "oracle"
    """Who compares: one who knows the environment's reward, or people, on the page of
    sobirl label RUN."""
    wait_for: Whole = 0
    """With people: a round goes on only when so many pairs are labelled in all, or as many as were
    asked about; 0 goes on with the labels there are."""
    instruction: str = "Which clip is better?"
    """What people read above the clips."""
    reliability: bool = True
    """How often each labeller is estimated to err counts in the loss."""
    teacher_temperature: float = 1.0
    """Of the teacher's choices, in units of the true reward; 0 makes no mistakes."""
    teacher_discount: float = 1.0
    """Below 1 the teacher minds the last steps of a fragment most."""
    teacher_mistake: float = 0.0
    """How often the teacher says the opposite."""
    teacher_skip_below: float | None = None
    """The teacher skips pairs whose returns are both below this."""
    teacher_tie_within: float | None = None
    """Returns that differ by less are a tie."""
    teacher_clips: bool | None = None
    """The teacher judges by the signs of rewards, as in the paper's Atari runs."""

    members: Count | None = None
    """Reward networks in the ensemble (1; 3 on boards, and for vectors with
    discrete actions)."""
    reward_bound: Positive | None = None
    """Learned rewards lie within ± this."""
    reward_normalization: bool | None = None
    """Batch normalization and dropout in reward networks for screens, as in the paper."""
    reward_pooling: bool | None = None
    """Of every channel of the last convolution, the reward sees only the largest value: what is
    somewhere on a board, and not where."""
    reward_inputs: tuple[Whole, ...] | None = None
    """The reward sees these entries of an observation alone, counted from 0: numbers of a vector,
    channels of a board."""
    reward_linear: bool = False
    """The reward is linear in what it sees. --judges are never restricted, neither in this way nor
    in what they see."""
    reward_learning_rate: Positive | None = None
    """Of AdamW, for the reward."""
    reward_weight_decay: NotNegative | None = None
    """Of AdamW, for the reward (0.01)."""
    reward_batch: Count | None = None
    """Pairs in an update of the reward (64)."""
    reward_deviation: Literal["none"] | Positive | None = None
    """The standard deviation over the replay of the learned rewards that critics see (0.1 on
    boards); none shows them as they were fitted."""
    reward_center: Literal["median", "mean", "none"] = "median"
    """With that deviation, what critics see as 0: the usual step's reward, the average one, or what
    was fitted as 0."""
    epochs: Count | None = None
    """The most passes over all labelled pairs in every round (4)."""
    first_epochs: Count | None = None
    """The most passes in the first round (32)."""
    held_out: Share | None = None
    """The share of answered pairs from which nothing is learned (0.1): they tell how good the
    reward is, and which of the passes is best."""
    patience: Count = 8
    """Passes without a better prediction of the pairs held out, after which they end."""
    crop: Share = 0.0
    """The share of a fragment's steps that an update of the reward may leave out."""
    label_noise: float = 0.0
    """The share of labels that the loss takes to be chance."""

    objective: Literal["loss", "kl", "win-rate", "mrn"] = "loss"
    """What sobirl's implicit term lowers: the cross-entropy of the preferences between the policy's
    fragments, as in the paper; that without the teacher's own uncertainty; how likely the teacher
    prefers another policy's fragments to this one's; or the cross-entropy of the answers by the
    critics' values (Meta-Reward-Net)."""
    reference: Literal["earlier", "uniform"] = "earlier"
    """That other policy: the one of the round before, or random actions."""
    horizon: Literal["full"] | Whole = 0
    """Steps after each step of a fragment that the implicit term looks at; 0, as in the authors'
    code, or with environments of gymnax a number or "full"."""
    implicit_data: Literal["fresh", "queue"] | None = None
    """What the implicit term is estimated from: fragments that the present policy makes for it,
    once a round, or as in the authors' code every batch of answered pairs."""
    implicit_fragments: Count | None = None
    """Fresh fragments for an estimate, at least (512)."""
    implicit_momentum: Discount = 0.9
    """Of the moving mean of the estimates from fresh fragments."""
    judges: Whole = 0
    """Networks, fitted like the reward's and beside them, that label fresh fragments; without, the
    other members do."""
    correction: Annotated[float, Ge(0), Le(1)] = 0.1
    """The share of what a round's answers say against these labels that is added: 1 has no bias but
    all the noise of single answers; 0 with any other --selection than uniform."""
    implicit_weight: NotNegative = 1.0
    """Factor of the implicit term; 1 is the hyper-gradient's own, which has 1/τ already. For
    win-rate how much that counts beside the cross-entropy."""
    implicit_from: Whole | None = None
    """Environment steps before which the implicit term is left out; by default, and at the least
    with fresh fragments, until random actions and pre-training are a round ago (100,000 in the
    authors' code)."""
    implicit_ratio: PositiveOrInf | None = None
    """The implicit term is at most so many times as long as the explicit one (1); the authors' code
    has no such bound, for which you may say inf."""
    implicit_actions: Count = 2
    """Actions that stand for the expectation under the policy, where they are continuous."""
    baseline: bool | None = None
    """Subtract a mean over other pairs from a loss in the implicit term (yes)."""
    off_policy: Literal["none", "recent", "importance"] | None = None
    """What the implicit term does about queued fragments of older policies: it takes them as they
    are, leaves out those of before the last 4 rounds (recent), or weighs them by how likely they
    have become."""
    largest_weight: Positive = 10.0
    """The bound on importance weights."""
    implicit_dropout: bool | None = None
    """Dropout in the implicit term of queued pairs too, as in the authors' code."""

    pretrain_steps: Whole = 0
    """Environment steps at the beginning in which the follower, before the first question or any
    reward, learns to go where it has not been (PEBBLE, Lee et al. 2021)."""
    pretrain_neighbors: Count = 5
    """A state is as new as its distance to the so-many-th nearest."""

    num_envs: Count | None = None
    """Environments side by side."""
    episodic_life: bool | None = None
    """Atari: a lost life ends an episode of learning. Evaluations play whole games."""
    screen: Count | None = None
    """Atari: height and width of the frames that are seen, in pixels (84)."""
    round_steps: Count | None = None
    """Environment steps between two rounds of questions."""
    random_steps: Whole | None = None
    """Steps of random actions at the beginning."""
    batch: Count | None = None
    """Transitions in an update of the follower."""
    replay: Count | None = None
    """Steps that are kept for learning."""
    updates_per_step: Positive | None = None
    """Updates of the follower for every environment step."""
    learning_rate: Positive | None = None
    """Of Adam, for the follower."""
    decay_steps: Count | None = None
    """Environment steps over which that rate falls linearly to 0; by default it does not fall."""
    adam_eps: Positive | None = None
    """ε of Adam, for the follower (1e-8)."""
    target_rate: Positive | None = None
    """How fast the target critics follow ..."""
    target_period: Count | None = None
    """... or updates after which they are copied, if this is given."""
    temperature: Literal["auto"] | Positive | None = None
    """The follower's entropy weight; auto adjusts it so that the policy keeps --target-entropy."""
    initial_temperature: Positive | None = None
    """Where an adjusted temperature begins (1)."""
    target_entropy: float | None = None
    """In nats, for an adjusted temperature; presets have 0.2 and 0.4, or else 0.89 log A, or minus
    the action's size."""
    reward_clip: PositiveOrInf | None = None
    """Rewards are clipped to ± this when the critics learn: 1 for screens; inf clips nothing."""
    widths: tuple[Count, ...] | None = None
    """Of the follower's fully connected layers, and of the reward's unless it sees screens."""
    discount: Discount = 0.99
    """The follower's."""

    eval_every: Count | None = None
    """Rounds from one evaluation to the next (4)."""
    eval_episodes: Count | None = None
    """Episodes in an evaluation, in environments of their own (32; 8 for screens)."""
    eval_steps: Count | None = None
    """Steps after which these are cut off; by default the environment's own limit."""
    eval_greedy: bool = False
    """Evaluate the most likely actions, not the policy that is learned."""
    clips: Whole = 1
    """Episodes of the last seed's policy to film at the end, as clips/episode-1.webp and so on."""
    clip_steps: Count = 500
    """Steps after which a clip is cut off."""

    def resolved(self, spec: "EnvSpec") -> Resolved:
        """With nothing None that a preset decides."""
        preset = suited(spec) | (NAMED[self.preset] if self.preset else {})
        if self.labels is not None:
            preset["pairs"] = 0
        if self.target_entropy is not None:
            preset["temperature"] = "auto"
        return dataclasses.replace(
            self, **{name: value for name, value in preset.items() if getattr(self, name) is None}
        )

    @property
    def oracle(self) -> "Oracle":
        """The teacher."""
        from sobirl.prefs import Oracle

        return Oracle(
            temperature=self.teacher_temperature,
            discount=self.teacher_discount,
            mistake=self.teacher_mistake,
            skip_below=self.teacher_skip_below,
            tie_within=self.teacher_tie_within,
            clip_rewards=bool(self.teacher_clips),
        )
