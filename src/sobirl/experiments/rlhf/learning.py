"""What the options of `sobirl run rlhf` make of followers, rewards and rounds."""

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
from sobirl.deep.networks import REWARD_CNN, Architecture, architecture_for
from sobirl.deep.preference_learning import PreferenceLearning
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.experience.replay import Replay
from sobirl.experiments.rlhf.presets import family
from sobirl.experiments.rlhf.settings import Resolved, Settings
from sobirl.prefs import pairs_per_round
from sobirl.runs.options import require


def learning_of(settings: Settings, loop: CompiledLoop | HostLoop) -> PreferenceLearning:
    """What is carried out in the environments of a loop.

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
    return PreferenceLearning(
        loop=loop,
        learner=ActorLearner(
            follower=_follower(spec, chosen),
            replay=Replay(num_envs, chosen.replay, chosen.batch, spec.frame_stack),
            random_steps=chosen.random_steps,
            updates_per_step=chosen.updates_per_step,
            keep_states=chosen.method == "sobirl" and chosen.horizon != 0,
        ),
        rewards=None if chosen.method == "ground-truth" else _rewards(chosen, calls),
        model=Partial(
            RewardModel,
            spec.stacked_shape,
            members=chosen.members,
            bound=chosen.reward_bound,
            architecture=_reward_architecture(spec, chosen),
            **spec.actions.size,
        ),
        pairs=_pairs(chosen, rounds, exploring),
        calls=calls,
        fragment_length=length,
        recent=max(calls, 2 * length),
        selection=chosen.selection,
        candidates=chosen.candidates,
        epochs=chosen.epochs,
        first_epochs=chosen.first_epochs,
        capacity=min(chosen.pairs, chosen.queue),
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
        start=chosen.implicit_from,
    )
    return RewardLearner(
        implicit=implicit if chosen.method == "sobirl" else None,
        largest_ratio=chosen.implicit_ratio,
        learning_rate=chosen.reward_learning_rate,
        weight_decay=chosen.reward_weight_decay,
        batch_size=chosen.reward_batch,
        noise=chosen.label_noise,
        crop=chosen.crop,
        patience=chosen.patience,
        deviation=chosen.reward_deviation,
    )


def _follower(spec: EnvSpec, chosen: Resolved) -> Follower:
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
