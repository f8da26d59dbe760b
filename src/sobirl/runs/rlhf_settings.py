"""What can be set of learning from preferences, and what suits which environments."""

import dataclasses
from typing import Any, Literal

from sobirl.deep.envs import Discrete, EnvSpec
from sobirl.prefs import Oracle

# Where an option is None, by family of environments.
PRESETS: dict[str, dict[str, Any]] = {
    "vectors, discrete actions": {
        "num_envs": 64,
        "round_steps": 5120,
        "random_steps": 5120,
        "batch": 256,
        "replay": 100_000,
        "updates_per_step": 1 / 16,
        "learning_rate": 1e-3,
        "target_rate": 0.1,
        "temperature": 0.05,
        "widths": (64, 64),
        "reward_learning_rate": 1e-3,
    },
    "vectors, continuous actions": {
        "num_envs": 4,
        "round_steps": 2000,
        "random_steps": 2000,
        "batch": 256,
        "replay": 1_000_000,
        "updates_per_step": 0.25,
        "learning_rate": 1e-3,
        "target_rate": 0.01,
        "temperature": None,
        "widths": (128, 128),
        "reward_learning_rate": 1e-3,
    },
    "small boards": {
        "num_envs": 32,
        "round_steps": 10_240,
        "random_steps": 10_240,
        "batch": 64,
        "replay": 200_000,
        "updates_per_step": 1 / 16,
        "learning_rate": 3e-4,
        "target_rate": 0.02,
        "temperature": 0.01,
        "widths": (128,),
        "reward_learning_rate": 3e-4,
    },
    # Yang et al. (2025); their numbers of updates and rounds are for single steps of one game.
    "screens": {
        "num_envs": 8,
        "round_steps": 10_000,
        "random_steps": 20_000,
        "batch": 64,
        "replay": 1_000_000,
        "updates_per_step": 0.25,
        "learning_rate": 1e-4,
        "target_rate": 0.005,
        "temperature": None,
        "widths": (512,),
        "reward_learning_rate": 3e-4,
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of learning from preferences."""

    env: str = "CartPole-v1"
    """CartPole-v1, Breakout-MinAtar, HalfCheetah-v5, ALE/BeamRider-v5, or any of Gymnasium."""
    backend: Literal["gymnax", "gymnasium", "atari"] | None = None
    """Where the environment comes from; gymnax, which is fastest, where it has it."""
    method: Literal["sobirl", "drlhf", "ground-truth"] = "sobirl"
    """sobirl has both terms of the hyper-gradient; drlhf (Christiano et al. 2017) the explicit one
    alone; ground-truth gives the follower the true reward, which is the ceiling."""
    steps: int = 300_000
    """Environment steps, for every seed."""
    seeds: int = 1
    """Runs with the seeds seed, seed + 1, ..., one after another."""

    pairs: int = 300
    """Pairs of fragments that the teacher is asked about, in all."""
    initial_pairs: int | None = None
    """Those asked about in the first round, on random actions; by default a sixth."""
    schedule: Literal["constant", "hyperbolic"] = "hyperbolic"
    """How the other pairs are spread over the rounds."""
    selection: Literal["uniform", "disagreement", "entropy"] = "uniform"
    """Which candidates the teacher is asked about; disagreement needs several members."""
    candidates: int = 4
    """Candidates for each pair that is asked about."""
    fragment_length: int = 25
    """Steps in a fragment."""
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
    teacher_clips: bool = False
    """The teacher judges by the signs of rewards, as in the paper's Atari runs."""

    members: int = 1
    """Reward networks in the ensemble."""
    reward_bound: float | None = None
    """Learned rewards lie within ± this."""
    reward_learning_rate: float | None = None
    """Of AdamW, for the reward."""
    epochs: int = 4
    """Passes over all labelled pairs in every round."""
    first_epochs: int = 32
    """Passes in the first round."""
    label_noise: float = 0.0
    """The share of labels that the loss takes to be chance."""

    horizon: Literal["full"] | int = 0
    """Steps after each step of a fragment that the implicit term looks at; 0, as in the authors'
    code, or with environments of gymnax a number or "full"."""
    implicit_weight: float = 1.0
    """Factor of the implicit term; 1 is the hyper-gradient's own."""
    implicit_from: int = 0
    """Environment steps before which the implicit term is left out."""
    implicit_ratio: float = 1.0
    """The implicit term is at most so many times as long as the explicit one."""
    baseline: bool = True
    """Subtract the mean loss of the other pairs in the implicit term."""
    off_policy: Literal["none", "recent", "importance"] = "recent"
    """What the implicit term does about fragments of older policies."""

    num_envs: int | None = None
    """Environments side by side."""
    round_steps: int | None = None
    """Environment steps between two rounds of questions."""
    random_steps: int | None = None
    """Steps of random actions at the beginning."""
    batch: int | None = None
    """Transitions in an update of the follower."""
    replay: int | None = None
    """Steps that are kept for learning."""
    updates_per_step: float | None = None
    """Updates of the follower for every environment step."""
    learning_rate: float | None = None
    """Of Adam, for the follower."""
    target_rate: float | None = None
    """How fast the target critics follow."""
    temperature: float | None = None
    """The follower's entropy weight; adjusted to its target entropy if None stands in the preset
    too (continuous actions, screens)."""
    target_entropy: float | None = None
    """In nats, for an adjusted temperature."""
    discount: float = 0.99
    """The follower's."""

    eval_every: int = 4
    """Rounds from one evaluation to the next."""
    eval_episodes: int = 32
    """Episodes in an evaluation, in environments of their own."""
    eval_steps: int | None = None
    """Steps after which these are cut off; by default the environment's own limit."""

    def resolved(self, spec: EnvSpec) -> dict[str, Any]:
        """All options, with those of the preset where None stands."""
        chosen = {f.name: getattr(self, f.name) for f in dataclasses.fields(Settings)}
        preset = PRESETS[family(spec)]
        filled = {name: value for name, value in preset.items() if chosen.get(name) is None}
        if self.target_entropy is not None:
            filled["temperature"] = self.temperature
        return {**chosen, **filled}

    @property
    def oracle(self) -> Oracle:
        """The teacher."""
        return Oracle(
            temperature=self.teacher_temperature,
            discount=self.teacher_discount,
            mistake=self.teacher_mistake,
            skip_below=self.teacher_skip_below,
            tie_within=self.teacher_tie_within,
            clip_rewards=self.teacher_clips,
        )


def family(spec: EnvSpec) -> str:
    """Which preset suits an environment."""
    if len(spec.observation_shape) == 1:
        kind = "discrete" if isinstance(spec.actions, Discrete) else "continuous"
        return f"vectors, {kind} actions"
    return "screens" if spec.frame_stack > 1 else "small boards"
