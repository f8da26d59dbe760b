"""Environments of gymnax: classic control, MinAtar and others, compiled."""

import functools
from typing import Any

import equinox as eqx
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.spaces import Box
from gymnax.environments.spaces import Discrete as DiscreteSpace
from jaxtyping import Array, Key, PyTree

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs.compiled import CompiledEnvironments
from sobirl.deep.envs.names import unknown_name
from sobirl.deep.envs.spec import Continuous, Discrete, EnvSpec


class GymnaxEnvironment(eqx.Module):
    """One gymnax environment, to be used through `CompiledEnvironments`.

    Time limits are told as `truncated`, not as `terminated`. Observations become float32, numbered
    states (FrozenLake) one-hot vectors.

    Attributes:
        env: the gymnax environment.
        params: its parameters; numbers among them may be traced.
        spec: what a learner has to know.
    """

    env: Any = eqx.field(static=True)
    params: PyTree
    spec: EnvSpec = eqx.field(static=True)

    def reset(self, key: Key[Array, ""]) -> tuple[PyTree, Array]:
        """A first state and its observation."""
        observation, state = self.env.reset_env(key, self.params)
        return state, self._observe(observation)

    def step(
        self, state: PyTree, action: Array, key: Key[Array, ""]
    ) -> tuple[PyTree, Array, Array, Array, Array, dict]:
        """The next state, its observation, the reward, `terminated`, `truncated` and info."""
        observation, state, reward, terminated, info = self.env.step_env(
            key, state, action, self.params
        )
        truncated = self.env.is_truncated(state, self.params)
        return state, self._observe(observation), reward, terminated, truncated, info

    def _observe(self, observation):
        space = self.env.observation_space(self.params)
        if isinstance(space, DiscreteSpace):
            return jax.nn.one_hot(observation, space.n, dtype=jnp.float32)
        return observation.astype(jnp.float32)


def make(
    name: str,
    num_envs: int,
    *,
    max_episode_steps: int | None = None,
    frame_stack: int = 1,
    **options,
) -> CompiledEnvironments:
    """Environments of gymnax by name, for example `CartPole-v1` or `Breakout-MinAtar`.

    Args:
        name: a name that gymnax has.
        num_envs: the number of environments.
        max_episode_steps: the time limit, in the place of the environment's own.
        frame_stack: the number of successive frames that the policy should see.
        options: further arguments of the gymnax environment, `use_minimal_action_set` for example.

    Raises:
        InvalidInputError: there is no such environment, it does not take an option, or its
            observations or actions are of a kind that cannot be learned from; JAX is set to double
            precision, in which half of gymnax fails.
    """
    # pyrefly: ignore[missing-attribute]  # made at run time, as every option of JAX
    if jax.config.jax_enable_x64:
        raise InvalidInputError(
            f"jax_enable_x64: {name} needs JAX in single precision; make it and use it inside "
            "`with jax.enable_x64(False):`"
        )
    if name not in gymnax.registered_envs:
        raise unknown_name(name, "gymnax", gymnax.registered_envs)
    try:
        env, params = _of_gymnax(name, **options)
    except TypeError as error:
        raise InvalidInputError(f"options: {name} does not take these: {error}") from error
    except OSError as error:
        raise InvalidInputError(f"name: {name} cannot load its data: {error}") from error
    if max_episode_steps is not None:
        check_number("max_episode_steps", max_episode_steps, "must be at least 1", lambda n: n >= 1)
        params = params.replace(max_steps_in_episode=max_episode_steps)
    first, _ = jax.eval_shape(env.reset_env, jax.random.key(0), params)
    numbered = isinstance(env.observation_space(params), DiscreteSpace)
    spec = EnvSpec(
        name=name,
        observation_shape=(env.observation_space(params).n,) if numbered else first.shape,
        observation_dtype=np.dtype(np.float32),
        actions=_actions(name, env.action_space(params)),
        backend="gymnax",
        frame_stack=frame_stack,
        max_episode_steps=int(params.max_steps_in_episode),
        numbered=numbered,
    )
    return CompiledEnvironments(GymnaxEnvironment(env, params, spec), num_envs)


@functools.cache
def _of_gymnax(name, **options):
    """gymnax's own, which has no state: the same object again, for which programs are compiled."""
    return gymnax.make(name, **options)


def _actions(name, space):
    if isinstance(space, DiscreteSpace):
        return Discrete(int(space.n))
    if isinstance(space, Box):
        low, high = (np.broadcast_to(bound, space.shape) for bound in (space.low, space.high))
        return Continuous(low, high)
    raise InvalidInputError(
        f"name: the actions of {name} are a {type(space).__name__} space; only Discrete and Box "
        "actions can be learned"
    )
