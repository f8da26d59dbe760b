"""Incentives for a follower that learns, from Python."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs import CompiledEnvironment
from sobirl.experiments.incentives.loading import functions
from sobirl.experiments.incentives.rounds import Rounds, loop_of
from sobirl.experiments.incentives.run import learn, of_best, warnings
from sobirl.experiments.incentives.settings import Settings
from sobirl.runs.decoding import check_fields


@dataclasses.dataclass(frozen=True)
class DesignedIncentives:
    """What `design_incentives` found.

    Attributes:
        x: the leader's parameters.
        incentive: `incentive(observation, action)`, what the follower is paid for one step.
        policy: `policy(observation, seed=0, greedy=False)`, an action of the follower's.
        history: the columns of all rounds, of the best start: `leader_return`, `follower_return`,
            `spent` and others.
        notes: what is to be said of how good they are.
    """

    x: PyTree
    incentive: Callable[..., float]
    policy: Callable[..., ArrayLike]
    history: dict[str, np.ndarray]
    notes: list[str]


def design_incentives(
    env: str | CompiledEnvironment | Callable[[], Any],
    leader: Callable | None = None,
    *,
    leader_from_info: bool = False,
    incentive: Callable | None = None,
    x0: PyTree = None,
    projection: Callable[[PyTree], PyTree] | None = None,
    seed: int = 0,
    progress: bool | None = None,
    **settings: Any,
) -> DesignedIncentives:
    """Incentives i_x(s,a) on which a follower learns what the leader wants.

    The follower is a maximum-entropy agent on r(s,a) + i_x(s,a); the leader maximizes
    E[Σ_t γ_u^t r_u(s_t,a_t,s_{t+1},x)] of what it learns, see `deep.leaders.leader_return`.

    Args:
        env: the name of an environment, a class or function that makes one of Gymnasium's, or one
            in JAX.
        leader: the leader's reward of one step, `leader(observation, action, next_observation, x)`,
            written with jax.numpy; by default the environment's own.
        leader_from_info: it is the environment's `info["leader_reward"]` instead.
        incentive: i_x of one step, `incentive(observation, action, x)`; by default a table or a
            network, whose parameters begin at no incentives ...
        x0: ... and the x where one of your own begins, any pytree of numbers and arrays; with
            several `starts` a function of a key.
        projection: x to the nearest point that is allowed, such as `sb.box(0.0, 1.0)`.
        seed: of everything random.
        progress: whether to show a bar; None for on a terminal only.
        settings: options of `sobirl run incentives` by name: steps, budget, bound, temperature, ...

    Raises:
        InvalidInputError: an unusable argument; the message says what would be right.
        EnvironmentFailedError: the environment raised an exception.
    """
    known = {field.name for field in dataclasses.fields(Settings)} - {"env"}
    if unknown := settings.keys() - known:
        raise InvalidInputError(
            f"settings: there is no {min(unknown)!r}; choose from {', '.join(sorted(known))}"
        )
    if isinstance(env, str):
        settings["env"] = env
    chosen = Settings(**settings)
    check_fields(chosen, str)
    with (
        jax.enable_x64(False),
        loop_of(chosen, leader_from_info, None if isinstance(env, str) else env) as loop,
    ):
        rounds = Rounds(
            chosen,
            seed,
            loop,
            leader=leader,
            from_info=leader_from_info,
            incentive=incentive,
            x0=x0,
            projection=projection,
        )
        end = learn(rounds, progress=progress)
    found = functions(rounds, end.state)
    return DesignedIncentives(
        x=end.state.design.x,
        incentive=found["reward"],
        policy=found["policy"],
        history=of_best(end),
        notes=warnings(chosen, rounds, end, None if incentive is None else chosen.bound),
    )
