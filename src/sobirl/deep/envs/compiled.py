"""Environments in pure JAX: N of them side by side, inside `jit`, `scan` and `vmap`."""

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key, PyTree, Shaped

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs.spec import EnvSpec, Step

_WITHOUT_INFO = 5  # what a step gives at least


@runtime_checkable
class CompiledEnvironment(Protocol):
    """One environment as two pure functions; a frozen dataclass or an equinox module.

    It need not know of autoreset: `step` is never called past an episode's end. A time limit is the
    environment's own business: it keeps the count in its state and says `truncated`.

    `step` may give a dictionary `info` too, in which a leader finds its `leader_reward`.
    """

    spec: EnvSpec

    def reset(self, key: Key[Array, ""]) -> tuple[PyTree, Array]:
        """A first state (any pytree of arrays) and its observation."""

    def step(self, state: PyTree, action: Array, key: Key[Array, ""]) -> tuple[Any, ...]:
        """The next state, its observation, the reward, `terminated`, `truncated`; perhaps info."""


class CompiledState(eqx.Module):
    """Where N environments stand; entry i of every leaf belongs to environment i.

    Attributes:
        inner: the states of the environments; every leaf has N as its first axis.
        ended: whether the last step ended an episode, so that the next begins a new one (N,).
    """

    inner: PyTree
    ended: Bool[Array, "N"]


class CompiledEnvironments(eqx.Module):
    """N copies of an environment, with autoreset: what a learner in JAX works with.

    A step that ends an episode gives the final observation; the next one ignores its action and
    gives the first observation of the next episode (see `Step`).

    A stored state can be picked from, to branch off rollouts: `step` goes on from
    `jax.tree.map(lambda leaf: leaf[indices], state)` with as many environments as there are
    indices.

    Args:
        environment: one environment, for example a `GymnaxEnvironment` or one of your own.
        num_envs: N, the number that `init` begins with.
        leader_from_info: whether steps have the environment's `info["leader_reward"]`.

    Raises:
        InvalidInputError: `num_envs` is below 1, or the environment's states, observations,
            rewards or flags have other shapes or data types than they should, or its info has no
            leader's reward.
    """

    environment: Any
    num_envs: int = eqx.field(static=True)
    leader_from_info: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("num_envs", self.num_envs, "must be at least 1", lambda n: n >= 1)
        _check_shapes(self.environment, self.leader_from_info)

    @property
    def spec(self) -> EnvSpec:
        """What a learner has to know of the environments."""
        return self.environment.spec

    def init(self, key: Key[Array, ""]) -> tuple[CompiledState, Shaped[Array, "N ..."]]:
        """The beginning of an episode in every environment: the states and the observations."""
        keys = jax.random.split(key, self.num_envs)
        inner, observation = jax.vmap(self.environment.reset)(keys)
        inner = jax.tree.map(_strong, inner)
        return CompiledState(inner, jnp.zeros(self.num_envs, bool)), observation

    def step(
        self, state: CompiledState, action: Shaped[Array, "N ..."], key: Key[Array, ""]
    ) -> tuple[CompiledState, Step]:
        """One step, or the beginning of the next episode, in every environment of `state`."""
        keys = jax.random.split(key, (*state.ended.shape, 2))
        inner, step = jax.vmap(self._step)(state.inner, state.ended, action, keys)
        return CompiledState(inner, jnp.logical_or(step.terminated, step.truncated)), step

    def _step(self, state, ended, action, keys):
        *stepped, info = _with_info(self.environment.step(state, action, keys[0]))
        fresh = [*self.environment.reset(keys[1]), 0.0, False, False]
        inner, observation, reward, terminated, truncated = jax.tree.map(
            lambda new, old: _strong(jnp.where(ended, new, old)), fresh, stepped
        )
        leader = None
        if self.leader_from_info:
            leader = jnp.where(ended, 0, info["leader_reward"]).astype(jnp.float32)
        return inner, Step(observation, reward.astype(jnp.float32), terminated, truncated, leader)


def _strong(leaf: Array) -> Array:
    """`leaf` as an array whose data type is its own, so that it can be carried through a scan."""
    leaf = jnp.asarray(leaf)
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else leaf.astype(leaf.dtype)


def _with_info(stepped: tuple) -> tuple:
    """What a step gives, with an empty info where it has none."""
    return stepped if len(stepped) > _WITHOUT_INFO else (*stepped, {})


def _check_shapes(environment, leader_from_info: bool) -> None:
    """Raise unless the environment keeps to its spec; nothing is computed."""
    if not isinstance(environment, CompiledEnvironment):
        raise InvalidInputError(
            "environment: must have a spec, reset(key) and step(state, action, key), got "
            f"{type(environment).__name__}"
        )
    spec, key = environment.spec, jax.random.key(0)
    action = jax.ShapeDtypeStruct(spec.actions.shape, spec.actions.dtype)
    state, first = jax.eval_shape(environment.reset, key)
    stepped = jax.eval_shape(environment.step, state, action, key)
    after, observation, reward, *flags, info = _with_info(stepped)
    expected = spec.observation_shape, spec.observation_dtype
    for name, found in (("reset", first), ("step", observation)):
        if (found.shape, found.dtype) != expected:
            raise InvalidInputError(
                f"environment: {name} must give an observation of shape {expected[0]} and dtype "
                f"{expected[1]}, as its spec says, got {found.shape} and {found.dtype}"
            )
    if _signature(state) != _signature(after):
        raise InvalidInputError(
            "environment: reset and step must give states of the same structure, shapes and "
            f"dtypes, got {_signature(state)} and {_signature(after)}"
        )
    if reward.shape or any(flag.shape or flag.dtype != bool for flag in flags):
        raise InvalidInputError(
            "environment: step must give a scalar reward and scalar booleans terminated and "
            f"truncated, got {reward}, {flags[0]} and {flags[1]}"
        )
    if leader_from_info:
        given = info.get("leader_reward") if isinstance(info, dict) else None
        if given is None:
            raise InvalidInputError(
                f"leader_reward: {spec.name} does not give info['leader_reward'] with every step; "
                "let its step return it, or give a function of the leader's"
            )
        if given.shape:
            raise InvalidInputError(
                f"leader_reward: {spec.name} must give one number as info['leader_reward'], got "
                f"shape {given.shape}"
            )


def _signature(state: PyTree) -> tuple:
    leaves, structure = jax.tree.flatten(state)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]
