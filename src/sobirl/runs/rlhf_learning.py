"""What the options of `sobirl run rlhf` make of followers, rewards and rounds."""

import functools
import math
from typing import Any

from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.continuous_sac import ContinuousSAC
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.envs import Discrete, EnvSpec
from sobirl.deep.host_loop import HostLoop
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.networks import REWARD_CNN, Architecture, architecture_for
from sobirl.deep.preference_learning import PreferenceLearning
from sobirl.deep.replay import Replay
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.sac import SoftActorCritic
from sobirl.prefs import pairs_per_round
from sobirl.runs.rlhf_settings import Settings, family


def learning_of(settings: Settings, loop: CompiledLoop | HostLoop) -> PreferenceLearning:
    """What is carried out in the environments of a loop.

    Raises:
        InvalidInputError: the options do not go together.
    """
    spec, chosen = loop.spec, settings.resolved(loop.spec)
    num_envs = loop.environments.num_envs
    calls = max(chosen["round_steps"] // num_envs, 1)
    rounds = math.ceil(settings.steps / (calls * num_envs))
    if calls <= settings.fragment_length + 1 and calls * rounds <= settings.fragment_length + 1:
        raise InvalidInputError(
            f"--fragment-length {settings.fragment_length}: the {num_envs} environments take "
            f"{calls} steps each in a round; give more --round-steps or fewer --num-envs"
        )
    initial = settings.pairs // 6 if settings.initial_pairs is None else settings.initial_pairs
    initial = settings.pairs if rounds == 1 else initial
    asks = pairs_per_round(settings.pairs, rounds, settings.schedule, initial)
    return PreferenceLearning(
        loop=loop,
        learner=ActorLearner(
            follower=_follower(spec, chosen),
            replay=Replay(num_envs, chosen["replay"], chosen["batch"], spec.frame_stack),
            random_steps=chosen["random_steps"],
            updates_per_step=chosen["updates_per_step"],
            keep_states=settings.method == "sobirl" and settings.horizon != 0,
        ),
        rewards=None if settings.method == "ground-truth" else _rewards(settings, chosen, calls),
        model=functools.partial(
            RewardModel,
            stacked_shape(spec),
            members=settings.members,
            bound=settings.reward_bound,
            architecture=_reward_architecture(spec, chosen["widths"]),
            **_actions(spec),
        ),
        pairs=tuple(asks.tolist()),
        calls=calls,
        fragment_length=settings.fragment_length,
        recent=max(calls, 2 * settings.fragment_length),
        selection=settings.selection,
        candidates=settings.candidates,
        epochs=settings.epochs,
        first_epochs=settings.first_epochs,
        capacity=min(max(settings.pairs, 1), 3000),
        implicit_from=settings.implicit_from,
    )


def _rewards(settings: Settings, chosen: dict[str, Any], calls: int) -> RewardLearner:
    implicit = ImplicitTerm(
        weight=settings.implicit_weight,
        baseline=settings.baseline,
        off_policy=settings.off_policy,
        recent=4 * calls,
        horizon=settings.horizon,
    )
    return RewardLearner(
        implicit=implicit if settings.method == "sobirl" else None,
        largest_ratio=settings.implicit_ratio,
        learning_rate=chosen["reward_learning_rate"],
        noise=settings.label_noise,
    )


def stacked_shape(spec: EnvSpec) -> tuple[int, ...]:
    """The shape of what networks see."""
    stack = (spec.frame_stack,) if spec.frame_stack > 1 else ()
    return (*spec.observation_shape, *stack)


def _actions(spec: EnvSpec) -> dict[str, int]:
    if isinstance(spec.actions, Discrete):
        return {"num_actions": spec.actions.num}
    return {"action_size": math.prod(spec.actions.shape)}


def _follower(spec: EnvSpec, chosen: dict[str, Any]) -> SoftActorCritic:
    kind = DiscreteSAC if isinstance(spec.actions, Discrete) else ContinuousSAC
    return kind(
        stacked_shape(spec),
        discount=chosen["discount"],
        temperature=chosen["temperature"],
        target_entropy=chosen["target_entropy"],
        learning_rate=chosen["learning_rate"],
        target_rate=chosen["target_rate"],
        widths=chosen["widths"],
        reward_clip=1.0 if family(spec) == "screens" else None,
        **_actions(spec),
    )


def _reward_architecture(spec: EnvSpec, widths: tuple[int, ...]) -> Architecture:
    shape = stacked_shape(spec)
    return REWARD_CNN if family(spec) == "screens" else architecture_for(shape, widths)
