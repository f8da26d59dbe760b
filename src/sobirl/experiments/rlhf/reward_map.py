"""The learned reward over a plane through the state space, for observations of a few numbers."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sobirl.deep.envs import Discrete, EnvSpec
from sobirl.experience.replay import Transitions
from sobirl.experiments.rlhf.learned import Learned

FEWEST, MOST = 2, 4  # numbers in an observation that is drawn
_SIDE = 61  # points along an axis
_MOST_ACTIONS = 3  # with a panel each


class Plane(NamedTuple):
    """Two numbers that say where a state is.

    Attributes:
        labels: of both.
        place: the two numbers (2,M) of observations (M,d).
        observation: observations (M,d) that have two numbers (M,) each, for the rest those of an
            observation (d,).
    """

    labels: tuple[str, str]
    place: Callable
    observation: Callable


class RewardMap(NamedTuple):
    """What a figure of it needs.

    Attributes:
        labels: of the axes.
        axes: the points along both (S,) each.
        rewards: title -> the learned reward there (S,S), the second axis first.
        visited: the two numbers of states that the follower was in (2,M) ...
        true_reward: ... and the environment's own reward there (M,).
    """

    labels: tuple[str, str]
    axes: tuple[Float[np.ndarray, "S"], Float[np.ndarray, "S"]]
    rewards: dict[str, Float[np.ndarray, "S S"]]
    visited: Float[np.ndarray, "2 M"]
    true_reward: Float[np.ndarray, "M"]


def reward_map(learned: Learned, steps: Transitions) -> RewardMap | None:
    """The map, or None where observations are no few numbers.

    What the plane does not say of an observation is as in the median of the steps. With few
    discrete actions each has a panel; else it is the reward of the policy's likeliest action.

    Args:
        learned: the reward and the policy.
        steps: that were visited.
    """
    shape = learned.spec.stacked_shape
    if len(shape) != 1 or not FEWEST <= shape[0] <= MOST:
        return None
    live = np.asarray(steps.weight) > 0
    seen, true_reward = (np.asarray(leaf)[live] for leaf in (steps.observation, steps.reward))

    def mode(observation):
        return learned.follower.mode(learned.agent, observation)

    return map_of(learned.spec, learned.model, mode, seen, true_reward)


def map_of(
    spec: EnvSpec,
    reward: Callable,
    mode: Callable,
    seen: Float[np.ndarray, "M d"],
    true_reward: Float[np.ndarray, "M"],
    features: tuple[int, int] | None = None,
    actions: dict[str, float] | None = None,
) -> RewardMap:
    """The map of any reward.

    Args:
        spec: of the environment.
        reward: `reward(observation, action)` (B,).
        mode: observations -> the policy's likeliest actions.
        seen: observations of the follower.
        true_reward: the environment's own reward there.
        features: the two numbers of an observation that are drawn; by default those that say most
            of environments that are known, or else the first two.
        actions: title -> a continuous action of one number that has a panel.
    """
    plane = _plane(spec, features)
    visited = plane.place(seen)
    margin = np.where(np.ptp(visited, axis=1) == 0, 0.5, 0.0)  # a number that never changes
    ends = zip(visited.min(axis=1) - margin, visited.max(axis=1) + margin, strict=True)
    x, y = (np.linspace(least, most, _SIDE) for least, most in ends)
    points = np.meshgrid(x, y)
    rest = np.median(seen, axis=0)
    observation = plane.observation(points[0].ravel(), points[1].ravel(), rest)
    observation = jnp.asarray(observation, jnp.float32)
    count = len(observation)
    if isinstance(spec.actions, Discrete) and spec.actions.num <= _MOST_ACTIONS:
        chosen = {f"action {a}": jnp.full(count, a, jnp.int32) for a in range(spec.actions.num)}
    elif actions is not None:
        chosen = {title: jnp.full((count, 1), a, jnp.float32) for title, a in actions.items()}
    else:
        chosen = {"the policy's likeliest action": mode(observation)}
    rewards = {
        title: np.asarray(reward(observation, action)).reshape(_SIDE, _SIDE)
        for title, action in chosen.items()
    }
    return RewardMap(plane.labels, (x, y), rewards, visited, true_reward)


def _plane(spec: EnvSpec, features: tuple[int, int] | None) -> Plane:
    if features is None and spec.name in _PLANES:
        return _PLANES[spec.name]
    first, second = features or (0, 1)
    return _of_features(first, second, f"observation {first}", f"observation {second}")


def _of_features(first: int, second: int, *labels: str) -> Plane:
    """Two of an observation's numbers."""

    def observation(x, y, rest):
        full = np.tile(rest, (len(x), 1))
        full[:, first], full[:, second] = x, y
        return full

    return Plane((labels[0], labels[1]), lambda seen: seen[:, [first, second]].T, observation)


_PENDULUM = Plane(
    ("angle (0 is upright)", "angular velocity"),
    lambda seen: np.stack([np.arctan2(seen[:, 1], seen[:, 0]), seen[:, 2]]),
    lambda x, y, rest: np.stack([np.cos(x), np.sin(x), y], axis=1),
)
_CAR = _of_features(0, 1, "position", "velocity")
# By the environment's name; the first two numbers for any other.
_PLANES = {
    "Pendulum-v1": _PENDULUM,
    "CartPole-v1": _of_features(0, 2, "position of the cart", "angle of the pole"),
    "MountainCar-v0": _CAR,
    "MountainCarContinuous-v0": _CAR,
}
