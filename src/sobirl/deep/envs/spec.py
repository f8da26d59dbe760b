"""What a learner has to know of its environments, and what one step of them gives."""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, Key, Shaped

from sobirl.core.checks import check, check_number, check_shape
from sobirl.core.errors import InvalidInputError

OBSERVATION_DTYPES = (np.dtype(np.float32), np.dtype(np.uint8))


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The actions 0, ..., num - 1.

    Raises:
        InvalidInputError: `num` is below 1.
    """

    num: int
    kind: ClassVar[str] = "discrete"

    def __post_init__(self):
        check_number("num", self.num, "must be at least 1", lambda num: num >= 1)

    @property
    def size(self) -> dict[str, int]:
        """What networks are told of the actions."""
        return {"num_actions": self.num}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one action: ()."""
        return ()

    @property
    def dtype(self) -> np.dtype:
        """The data type of actions: int32."""
        return np.dtype(np.int32)

    def sample(self, key: Key[Array, ""], num_envs: int) -> Int32[Array, "N"]:
        """Uniform actions, one for each environment."""
        return jax.random.randint(key, (num_envs,), 0, self.num, jnp.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Continuous:
    """The box of actions low ≤ a ≤ high, entry by entry.

    Args:
        low: the least action, in the environment's own units; kept as a float32 array.
        high: the greatest action, of the same shape.

    Raises:
        InvalidInputError: the shapes differ, a bound is not finite, or low ≥ high somewhere.
    """

    low: np.ndarray | Sequence[float | int]
    high: np.ndarray | Sequence[float | int]
    kind: ClassVar[str] = "continuous"

    def __post_init__(self):
        for name in ("low", "high"):
            bound = np.array(getattr(self, name), np.float32)
            check(name, bound, np.isfinite(bound), "actions must have finite bounds")
            bound.flags.writeable = False
            object.__setattr__(self, name, bound)
        low, high = np.asarray(self.low), np.asarray(self.high)
        check_shape("high", high, low.shape)
        check("high", high, high > low, "must be above low")

    @property
    def size(self) -> dict[str, int]:
        """What networks are told of the actions."""
        return {"action_size": math.prod(self.shape)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Continuous) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())

    def _content(self) -> tuple:
        return self.shape, np.asarray(self.low).tobytes(), np.asarray(self.high).tobytes()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one action."""
        return np.shape(self.low)

    @property
    def dtype(self) -> np.dtype:
        """The data type of actions: float32."""
        return np.dtype(np.float32)

    def sample(self, key: Key[Array, ""], num_envs: int) -> Float32[Array, "N ..."]:
        """Uniform actions, one for each environment."""
        shape = (num_envs, *self.shape)
        low, high = np.asarray(self.low), np.asarray(self.high)
        return jax.random.uniform(key, shape, jnp.float32, minval=low, maxval=high)


@dataclasses.dataclass(frozen=True)
class EnvSpec:
    """What a learner has to know of its environments.

    Observations are what the environment shows, never scaled: scaling is the business of the
    network's input. Frames of a stack are put together by the learner.

    Args:
        name: what the environment was asked for by.
        observation_shape: of one frame.
        observation_dtype: float32 or uint8.
        actions: `Discrete` or `Continuous`.
        backend: "gymnax", "gymnasium", "atari" or another word for where it comes from.
        frame_stack: k, the number of successive frames that the policy should see.
        max_episode_steps: the steps after which an episode is truncated; None where it never is.
        numbered: whether observations are one-hot vectors of states that have numbers.

    Raises:
        InvalidInputError: the data type is another, or a number is below 1.
    """

    name: str
    observation_shape: tuple[int, ...]
    observation_dtype: np.dtype
    actions: Discrete | Continuous
    backend: str
    frame_stack: int = 1
    max_episode_steps: int | None = None
    numbered: bool = False

    def __post_init__(self):
        if self.observation_dtype not in OBSERVATION_DTYPES:
            raise InvalidInputError(
                f"observation_dtype: must be float32 or uint8, got {self.observation_dtype}"
            )
        object.__setattr__(self, "observation_dtype", np.dtype(self.observation_dtype))
        for name in ("frame_stack", "max_episode_steps"):
            check_number(name, getattr(self, name), "must be at least 1", lambda n: n >= 1)

    @property
    def stacked_shape(self) -> tuple[int, ...]:
        """The shape of what networks see: a frame, or k of them with k as the last axis."""
        stack = (self.frame_stack,) if self.frame_stack > 1 else ()
        return (*self.observation_shape, *stack)


class Step(NamedTuple):
    """What one call of `step` gives of N environments: JAX or NumPy arrays.

    After `terminated | truncated` the environment's next step is none: whatever the action, it
    gives the first observation of the next episode, reward 0 and neither flag.

    Attributes:
        observation: the frames after the step (N,...): final ones too, where an episode ended.
        reward: of the step (N,), as the environment gives it.
        terminated: whether the episode reached an end of the environment's own (N,).
        truncated: whether the episode was cut short, by a time limit for example (N,).
        leader_reward: what the step is worth to a leader (N,), from the environment's
            `info["leader_reward"]`; None where nobody asked for it.
    """

    observation: Shaped[Array | np.ndarray, "N ..."]
    reward: Float32[Array | np.ndarray, "N"]
    terminated: Bool[Array | np.ndarray, "N"]
    truncated: Bool[Array | np.ndarray, "N"]
    leader_reward: Float32[Array | np.ndarray, "N"] | None = None
