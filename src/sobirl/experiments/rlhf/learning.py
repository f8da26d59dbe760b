"""What the options of `sobirl run rlhf` make of followers, rewards and rounds."""

import dataclasses
import math

from jax.tree_util import Partial

from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import EnvSpec
from sobirl.deep.follower import Follower
from sobirl.deep.followers import make_follower
from sobirl.deep.host_loop import HostLoop
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.leaders.leading import Leading
from sobirl.deep.leaders.meta_reward import MetaReward
from sobirl.deep.leaders.moving_mean import MovingMean
from sobirl.deep.leaders.preference_loss import PreferenceLoss
from sobirl.deep.leaders.preferences import PreferenceLeader
from sobirl.deep.leaders.win_rate import WinRate
from sobirl.deep.networks import REWARD_CNN, Architecture, architecture_for
from sobirl.deep.normalized_reward import Normalization
from sobirl.deep.policy_score import PolicyScore
from sobirl.deep.preference_learning import PreferenceLearning
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.experience.replay import Replay
from sobirl.experiments.rlhf.presets import family
from sobirl.experiments.rlhf.settings import Resolved, Settings
from sobirl.prefs import pairs_per_round
from sobirl.runs.options import require


def learning_of(
    settings: Settings, loop: CompiledLoop | HostLoop, given: int = 0
) -> PreferenceLearning:
    """What is carried out in the environments of a loop.

    Args:
        settings: what is asked for.
        loop: the environments.
        given: pairs that are labelled already, for all of which there must be room.

    Raises:
        InvalidInputError: the options do not go together.
    """
    spec, chosen = loop.spec, settings.resolved(loop.spec)
    num_envs, length = loop.environments.num_envs, chosen.fragment_length
    calls = max(chosen.round_steps // num_envs, 1)
    rounds = math.ceil(chosen.steps / (calls * num_envs))
    if calls <= length + 1 and calls * rounds <= length + 1:
        raise InvalidInputError(
            f"--fragment-length {length}: the {num_envs} environments take "
            f"{calls} steps each in a round; give more --round-steps or fewer --num-envs"
        )
    exploring = math.ceil(chosen.pretrain_steps / (calls * num_envs))
    if exploring >= rounds:
        raise InvalidInputError(
            f"--pretrain-steps {chosen.pretrain_steps}: must leave rounds of the --steps "
            f"{chosen.steps}, in which there are {rounds} of {calls * num_envs} steps"
        )
    rewards = None if chosen.method == "ground-truth" else _rewards(chosen, calls)
    return PreferenceLearning(
        loop=loop,
        learner=ActorLearner(
            follower=follower_of(spec, chosen),
            replay=Replay(num_envs, chosen.replay, chosen.batch, spec.frame_stack),
            random_steps=chosen.random_steps,
            updates_per_step=chosen.updates_per_step,
            keep_states=chosen.method == "sobirl" and chosen.horizon != 0,
        ),
        rewards=rewards,
        leading=_leading(spec, chosen, rewards, calls * num_envs),
        model=model_of(spec, chosen, chosen.members),
        pairs=_pairs(chosen, rounds, exploring),
        calls=calls,
        fragment_length=length,
        whole_fragments=chosen.whole_fragments,
        recent=max(calls, 2 * length),
        selection=chosen.selection,
        candidates=chosen.candidates,
        epochs=chosen.epochs,
        first_epochs=chosen.first_epochs,
        capacity=max(min(given + chosen.pairs, chosen.queue), given),
        held_out=chosen.held_out,
        exploring_rounds=exploring,
        neighbors=chosen.pretrain_neighbors,
    )


def _pairs(chosen: Resolved, rounds: int, exploring: int) -> tuple[int, ...]:
    """How many pairs each round asks about; the first questions end the exploration."""
    silent = max(exploring - 1, 0)
    asking = max(rounds - silent, chosen.schedule_rounds or 0)
    initial = chosen.pairs // 6 if chosen.initial_pairs is None else chosen.initial_pairs
    require("--initial-pairs", initial, initial <= chosen.pairs, "must be at most --pairs")
    initial = chosen.pairs if asking == 1 else initial
    asks = pairs_per_round(chosen.pairs, asking, chosen.schedule, initial)
    return (0,) * silent + tuple(asks.tolist()[: rounds - silent])


def _rewards(chosen: Resolved, calls: int) -> RewardLearner:
    implicit = ImplicitTerm(
        weight=chosen.implicit_weight,
        baseline=chosen.baseline,
        actions=chosen.implicit_actions,
        off_policy=chosen.off_policy,
        recent=4 * calls,
        largest=chosen.largest_weight,
        horizon=chosen.horizon,
        start=chosen.implicit_from or 0,
        dropout=chosen.implicit_dropout,
    )
    normalization = None
    if chosen.reward_deviation != "none":
        normalization = Normalization(chosen.reward_deviation, chosen.reward_center)
    in_batches = chosen.method == "sobirl" and chosen.implicit_data == "queue"
    return RewardLearner(
        implicit=implicit if in_batches else None,
        largest_ratio=chosen.implicit_ratio,
        learning_rate=chosen.reward_learning_rate,
        weight_decay=chosen.reward_weight_decay,
        batch_size=chosen.reward_batch,
        noise=chosen.label_noise,
        crop=chosen.crop,
        patience=chosen.patience,
        normalization=normalization,
    )


def _leading(
    spec: EnvSpec, chosen: Resolved, rewards: RewardLearner | None, round_steps: int
) -> Leading | None:
    """What is done with fresh fragments, if something is.

    Raises:
        InvalidInputError: options that do not go together.
    """
    if rewards is None or chosen.method != "sobirl":
        return None
    if chosen.implicit_data == "queue":
        require(
            "--objective",
            chosen.objective,
            chosen.objective == "loss",
            "must be loss with --implicit-data queue",
        )
        return None
    if chosen.objective == "kl" and chosen.members == 1 and not chosen.judges:
        raise InvalidInputError(
            "--objective kl: needs --judges or several --members; by its own labels a reward is "
            "always right"
        )
    return Leading(
        leader=_leader(chosen, rewards),
        average=MovingMean(chosen.implicit_momentum),
        start=_first_step(chosen, round_steps),
        fragments=chosen.implicit_fragments,
        judges=_judges(spec, chosen) if chosen.judges else None,
    )


def model_of(spec: EnvSpec, chosen: Resolved, members: int) -> Partial:
    """Makes fresh reward networks from a key."""
    return Partial(
        RewardModel,
        spec.stacked_shape,
        members=members,
        bound=chosen.reward_bound,
        architecture=_restricted(_reward_architecture(spec, chosen), spec, chosen),
        **spec.actions.size,
    )


def _judges(spec: EnvSpec, chosen: Resolved) -> Partial:
    """Makes judges, who say what a restricted reward cannot."""
    free = dataclasses.replace(chosen, reward_inputs=None, reward_linear=False)
    return model_of(spec, free, chosen.judges)


def _restricted(usual: Architecture, spec: EnvSpec, chosen: Resolved) -> Architecture:
    """What the reward may be, of what it could be.

    Raises:
        InvalidInputError: an input that an observation does not have.
    """
    inputs = chosen.reward_inputs
    if inputs is not None:
        size = spec.stacked_shape[-1]
        require(
            "--reward-inputs",
            " ".join(map(str, inputs)),
            0 < len(set(inputs)) == len(inputs) and max(inputs) < size,
            f"must be different numbers from 0 to {size - 1}",
        )
        usual = usual._replace(inputs=tuple(inputs))
    if chosen.reward_linear:
        usual = Architecture(widths=(), inputs=usual.inputs)
    return usual


def _leader(chosen: Resolved, rewards: RewardLearner) -> PreferenceLeader | MetaReward:
    """The objective whose implicit term is estimated from fresh fragments."""
    if chosen.objective == "mrn":
        has_critics = chosen.follower == "sac"
        require("--follower", chosen.follower, has_critics, "must be sac with --objective mrn")
        return MetaReward(rewards, chosen.implicit_weight)
    usual = {
        "rewards": rewards,
        "score": PolicyScore(chosen.horizon, chosen.implicit_actions),
        "weight": chosen.implicit_weight,
        "baseline": chosen.baseline,
        # Answers about pairs that were chosen stand for no others.
        "correction": chosen.correction if chosen.selection == "uniform" else 0.0,
    }
    if chosen.objective == "win-rate":
        return WinRate(reference=chosen.reference, **usual)
    return PreferenceLoss(subtract_entropy=chosen.objective == "kl", **usual)


def _first_step(chosen: Resolved, round_steps: int) -> int:
    """Environment steps until all of a round's are those of a policy that the reward has shaped."""
    shaped = max(chosen.random_steps, chosen.pretrain_steps) + round_steps
    return max(shaped, chosen.implicit_from or 0)


def follower_of(spec: EnvSpec, chosen: Resolved) -> Follower:
    """Who learns on the reward."""
    decay = chosen.decay_steps and math.ceil(chosen.decay_steps * chosen.updates_per_step)
    return make_follower(
        chosen.follower,
        spec,
        discount=chosen.discount,
        temperature=None if chosen.temperature == "auto" else chosen.temperature,
        initial_temperature=chosen.initial_temperature,
        target_entropy=chosen.target_entropy,
        learning_rate=chosen.learning_rate,
        decay_updates=decay,
        adam_eps=chosen.adam_eps,
        target_rate=chosen.target_rate,
        target_period=chosen.target_period,
        widths=chosen.widths,
        reward_clip=chosen.reward_clip,
    )


def _reward_architecture(spec: EnvSpec, chosen: Resolved) -> Architecture:
    if family(spec) != "screens":
        usual = architecture_for(spec.stacked_shape, chosen.widths)
    elif chosen.reward_normalization:
        usual = REWARD_CNN
    else:
        usual = REWARD_CNN._replace(normalized=False, dropout=0.0)
    return usual._replace(pooled=chosen.reward_pooling)
