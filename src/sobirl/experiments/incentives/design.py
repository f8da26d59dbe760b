"""What the options of `sobirl run incentives` make of followers, incentives and rounds."""

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from sobirl.bilevel import scalar_adam
from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import EnvSpec
from sobirl.deep.followers import make_follower
from sobirl.deep.host_loop import HostLoop
from sobirl.deep.incentive_design import IncentiveDesign
from sobirl.deep.leader_critic import LeaderCritic
from sobirl.deep.leaders.leader_return import LeaderReturn
from sobirl.deep.led_follower import LedFollower
from sobirl.deep.networks import Architecture, architecture_for
from sobirl.deep.offer import of_single
from sobirl.deep.reward_model import RewardModel
from sobirl.experience.replay import Replay
from sobirl.experiments.incentives.settings import Settings
from sobirl.experiments.incentives.turns import rounds_each

_BOUND = 1.0
_RATE, _RATE_OF_NETWORKS = 0.1, 0.003
_LAST_RATE = 0.1  # what the leader's steps fall to
_PAY_AT_FIRST = 3.0  # σ(-3): incentives of one sign begin at a twentieth of their bound


def design_of(
    settings: Settings,
    loop: CompiledLoop | HostLoop,
    key: Any,
    leader: Callable | None = None,
    from_info: bool = False,
    incentive: Callable | None = None,
    x0: PyTree = None,
    projection: Callable[[PyTree], PyTree] | None = None,
) -> tuple[IncentiveDesign, int, list[PyTree]]:
    """The rounds, how many one start makes, and where each start begins.

    Args:
        settings: what is asked for.
        loop: the environments.
        key: for the first weights of incentives.
        leader: the leader's reward of one step, see `of_single`; None for the environment's.
        from_info: whether that is `info["leader_reward"]`.
        incentive: `incentive(observation, action, x)` of one step, in the place of `form` ...
        x0: ... and where its x begins; with several starts a function of a key.
        projection: x to the nearest point that is allowed.

    Raises:
        InvalidInputError: the options do not go together, or a function is not what it should be.
    """
    spec = loop.spec
    num_envs = loop.environments.num_envs
    calls = max(settings.round_steps // num_envs, 1)
    rounds = math.ceil(settings.steps / (calls * num_envs))
    if settings.starts > 1:
        rounds = rounds_each(settings.starts, rounds, settings.warm_up)
    if calls * num_envs * rounds <= settings.random_steps:
        raise InvalidInputError(
            f"--steps {settings.steps}: must be more than --random-steps {settings.random_steps} "
            "of every start"
        )
    keys = jax.random.split(key, settings.starts)
    if incentive is None:
        nothing = model_of(settings, spec)(key=key)
        firsts = [nothing, *(_random(nothing, spec, key) for key in keys[1:])]
        pays = shaped(bound_of(settings), settings.sign)
    else:
        firsts = _given(x0, keys)
        pays = of_single(incentive, spec, firsts[0], "incentive", after=False)
        pays = pays if settings.bound is None else clipped(pays, settings.bound)
    x0 = firsts[0]
    reward = None if leader is None else of_single(leader, spec, x0, "leader", after=True)
    log_prob = _log_prob(loop, x0)
    evolves = settings.method == "evolution"
    discount = settings.discount if settings.leader_discount is None else settings.leader_discount
    design = IncentiveDesign(
        loop=loop,
        learner=ActorLearner(
            follower=LedFollower(
                _follower(settings, spec), _critic(settings, spec, discount), settings.averaged
            ),
            replay=Replay(num_envs, settings.replay, settings.batch, spec.frame_stack),
            random_steps=settings.random_steps,
            updates_per_step=settings.updates_per_step,
            keep_leader_rewards=from_info,
        ),
        leader=LeaderReturn(discount, settings.budget, "explicit" if evolves else settings.method),
        evolution=settings.sigma if evolves else None,
        x0=x0,
        incentive=pays,
        reward=reward,
        price=settings.price,
        log_prob=log_prob,
        projection=projection,
        optimizer=_optimizer(settings, spec, x0, rounds),
        calls=calls,
        steps=min(settings.episode_steps, spec.max_episode_steps or settings.episode_steps),
        warm_up=warm_up_of(settings, rounds),
        temperatures=temperatures(settings, rounds),
    )
    return design, rounds, firsts


def left_out(loop: CompiledLoop | HostLoop) -> str | None:
    """What the hyper-gradient does without, if there is something."""
    if not loop.takes_x or loop.log_prob is not None:
        return None
    return (
        f"note: x acts through {loop.spec.name}, which gives no log_prob(next_observation, "
        "observation, action, x): what it does there is left out of the gradient"
    )


def _random(nothing: RewardModel, spec: EnvSpec, key: Any) -> RewardModel:
    """Incentives of the same form that are drawn, of about 1 before they are shaped."""

    def drawn(head, key):
        seen = 1 if spec.numbered else head.weight.shape[1]
        noise = jax.random.normal(key, head.weight.shape) / math.sqrt(seen)
        return eqx.tree_at(lambda h: h.weight, head, noise)

    heads = [member.head for member in nothing.ensemble.members]
    keys = jax.random.split(key, len(heads))
    return eqx.tree_at(
        lambda m: [k.head for k in m.ensemble.members],
        nothing,
        [drawn(head, key) for head, key in zip(heads, keys, strict=True)],
    )


def _given(x0: PyTree, keys: Any) -> list[PyTree]:
    """Where the x of a user's incentive begins, at every start.

    Raises:
        InvalidInputError: it is missing, or the same for several starts.
    """
    if x0 is None:
        raise InvalidInputError("x0: give where the x of your incentive begins")
    if len(keys) > 1 and not callable(x0):
        raise InvalidInputError(
            f"x0: must be a function of a key for {len(keys)} starts, got a {type(x0).__name__}"
        )
    found = [x0(key) if callable(x0) else x0 for key in keys]
    return [jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), x) for x in found]


def _log_prob(loop: CompiledLoop | HostLoop, x0: PyTree) -> Callable | None:
    """log P(s'|s,a,x) of a batch, where x acts through the environment and it is known."""
    function = loop.log_prob
    if not loop.takes_x or function is None:
        return None

    def of_step(observation, action, after, x):
        return function(after, observation, action, x)

    found = of_single(of_step, loop.spec, x0, "log_prob", after=True)
    return lambda x, observation, action, after: found(observation, action, after, x)


def warm_up_of(settings: Settings, rounds: int) -> int:
    """The rounds of a start before the leader's first step."""
    return math.ceil(settings.warm_up * rounds)


def temperatures(settings: Settings, rounds: int) -> tuple[float, ...] | None:
    """τ of every round: it falls geometrically over the first half of the leader's steps."""
    first, last = settings.initial_temperature, settings.temperature
    if first is None:
        return None
    still = warm_up_of(settings, rounds)
    steps = max((rounds - still) // 2, 1)
    return still * (first,) + tuple(first * (last / first) ** (k / steps) for k in range(steps + 1))


def form_of(settings: Settings, spec: EnvSpec) -> str:
    """What the incentives are."""
    if settings.form != "auto":
        return settings.form
    return "table" if spec.numbered and "num_actions" in spec.actions.size else "network"


def _optimizer(settings: Settings, spec: EnvSpec, x0: PyTree, rounds: int):
    """Steps along the gradient; in networks, whose arrays differ in scale, those of Adam."""
    is_network = isinstance(x0, RewardModel) and form_of(settings, spec) == "network"
    rate = settings.leader_rate or (_RATE_OF_NETWORKS if is_network else _RATE)
    if is_network:
        return optax.adam(optax.cosine_decay_schedule(rate, rounds, _LAST_RATE))
    size = sum(leaf.size for leaf in jax.tree.leaves(x0))
    schedule = optax.cosine_decay_schedule(rate * math.sqrt(size), rounds, _LAST_RATE)
    return scalar_adam(schedule, b2=0.99)


def model_of(settings: Settings, spec: EnvSpec) -> Callable[..., RewardModel]:
    """Makes incentives of the asked form from a key, all zero before they are shaped."""
    form = form_of(settings, spec)
    if form == "table" and not (spec.numbered and "num_actions" in spec.actions.size):
        raise InvalidInputError(
            f"--form table: the states or actions of {spec.name} have no numbers; linear or "
            "network will do"
        )
    usual = architecture_for(spec.stacked_shape, settings.widths)
    architecture = usual if form == "network" else Architecture(widths=())

    def make(key):
        model = RewardModel(spec.stacked_shape, key, architecture=architecture, **spec.actions.size)
        heads = [member.head for member in model.ensemble.members]
        nothing = jax.tree.map(jnp.zeros_like, heads)
        return eqx.tree_at(lambda m: [k.head for k in m.ensemble.members], model, nothing)

    return make


def bound_of(settings: Settings) -> float:
    """The largest incentive of a form of ours."""
    return _BOUND if settings.bound is None else settings.bound


def clipped(pays: Callable, bound: float) -> Callable:
    """Incentives of any kind between ± the bound."""
    return lambda *given: jnp.clip(pays(*given), -bound, bound)


@functools.cache
def shaped(bound: float, sign: str) -> Callable:
    """`incentive(x, observation, action)` of a model x, between the bounds that the sign allows.

    The same function for the same arguments, so that what is compiled for one serves another.
    """
    if sign == "both":
        return lambda x, observation, action: bound * jnp.tanh(x(observation, action))
    most = bound if sign == "pay" else -bound
    return lambda x, observation, action: (
        most * jax.nn.sigmoid(x(observation, action) - _PAY_AT_FIRST)
    )


def _follower(settings: Settings, spec: EnvSpec):
    return make_follower(
        settings.follower,
        spec,
        discount=settings.discount,
        temperature=settings.temperature,
        learning_rate=settings.learning_rate,
        target_rate=settings.target_rate,
        widths=settings.widths,
    )


def _critic(settings: Settings, spec: EnvSpec, discount: float) -> LeaderCritic:
    return LeaderCritic(
        spec.stacked_shape,
        discount,
        architecture=architecture_for(spec.stacked_shape, settings.widths),
        learning_rate=settings.learning_rate,
        target_rate=settings.target_rate,
        **spec.actions.size,
    )
