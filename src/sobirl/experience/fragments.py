"""Fragments: short pieces of a stream of experience, for people and other teachers to compare."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

from sobirl.core.errors import InvalidInputError
from sobirl.experience.frames import stack_frames
from sobirl.experience.steps import Steps

_BLOCK = 256  # records that are counted together where starts are drawn


class Fragment(eqx.Module):
    """Fragments of L steps, with any leading axes B. Pairs to compare have leading axes (M,2).

    Attributes:
        observation: L + k - 1 frames (*B,L+k-1,*obs); the k - 1 before the first step's own are
            there for networks that see k frames at a time.
        action: (*B,L), or (*B,L,d).
        reward: the environment's own reward (*B,L).
        log_prob: log-probability of the action under the policy that took it (*B,L).
        mask: whether a step belongs to the fragment (*B,L).
        taken_at: how many records its stream had had before the first step (*B,). Once each of N
            streams has had `now` records, the fragment is N (now - taken_at) records old.
        state: the environment's own state before every step, every leaf (*B,L,...); None where it
            was not kept.

    Raises:
        InvalidInputError: the shapes do not fit each other.
    """

    observation: Shaped[Array | np.ndarray, "..."]
    action: Shaped[Array | np.ndarray, "..."]
    reward: Float[Array | np.ndarray, "*B L"]
    log_prob: Float[Array | np.ndarray, "*B L"]
    mask: Bool[Array | np.ndarray, "*B L"]
    taken_at: Int[Array | np.ndarray, "*B"]
    state: PyTree = None

    def __check_init__(self):
        shape = self.mask.shape
        for name in ("reward", "log_prob"):
            _check(name, getattr(self, name).shape == shape, getattr(self, name), shape)
        _check("action", self.action.shape[: len(shape)] == shape, self.action, (*shape, "..."))
        for leaf in jax.tree.leaves(self.state):
            _check("state", leaf.shape[: len(shape)] == shape, leaf, (*shape, "..."))
        _check("taken_at", self.taken_at.shape == shape[:-1], self.taken_at, shape[:-1])
        frames = self.observation.shape[: len(shape)]
        fits = len(frames) == len(shape) and frames[:-1] == shape[:-1] and frames[-1] >= shape[-1]
        _check("observation", fits, self.observation, (*shape[:-1], f">= {shape[-1]}", "..."))

    @property
    def stacked(self) -> Shaped[Array, "..."]:
        """What a network sees at every step (*B,L,*obs,k), or (*B,L,*obs) for k = 1."""
        time = self.mask.ndim - 1
        k = self.observation.shape[time] - self.mask.shape[time] + 1
        return stack_frames(self.observation, k, axis=time)


def _check(name, fits, array, wanted):
    if not fits:
        right = ", ".join(map(str, wanted))
        raise InvalidInputError(f"{name}: expected shape ({right}), got {tuple(array.shape)}")


def flat_steps(
    fragments: Fragment,
) -> tuple[Shaped[Array, "M *obs"], Shaped[Array, "M *act"]]:
    """What a network sees, and the actions, of all M steps of all fragments one after another."""
    axes = fragments.mask.ndim
    stacked, action = fragments.stacked, fragments.action
    flat = tuple(jnp.reshape(leaf, (-1, *leaf.shape[axes:])) for leaf in (stacked, action))
    return flat[0], flat[1]


def cropped(fragments: Fragment, key: Key[Array, ""], least: int) -> Fragment:
    """Pairs whose masks are left open in a window alone, as long in one fragment as in the other.

    The length of a pair's windows is uniform from `least` to L, and each begins anywhere. The label
    of the whole is taken to hold for the part, so that windows should not be much shorter.

    Args:
        fragments: pairs (*B,2).
        key: a typed JAX key.
        least: steps in the shortest window.

    Raises:
        InvalidInputError: `least` is not between 1 and L.

    Source: Park et al. (2022), SURF, section 4.2.
    """
    *shape, length = fragments.mask.shape
    _check_range("least", least, 1, length)
    length_key, begin_key = jax.random.split(key)
    window = jax.random.randint(length_key, (*shape[:-1], 1), least, length + 1)
    begin = jax.random.randint(begin_key, shape, 0, length - window + 1)
    step = jnp.arange(length) - begin[..., None]
    mask = fragments.mask & (step >= 0) & (step < window[..., None])
    return eqx.tree_at(lambda f: f.mask, fragments, mask)


def sample_fragments(
    steps: Steps,
    key: Key[Array, ""],
    num: int | tuple[int, ...],
    length: int,
    *,
    first: int | np.integer | Int[Array, ""],
    count: int | np.integer | Int[Array, ""],
    now: int | np.integer | Int[Array, ""] | None = None,
    frame_stack: int = 1,
    recent: int | np.integer | Int[Array, ""] | None = None,
    cross_episodes: bool = False,
    whole: bool = False,
) -> Fragment:
    """Fragments of a ring of records, with independent starts, uniform over all live records.

    Nothing is rejected and drawn again: live records are counted in blocks, a rank among them is
    drawn, and the record with that rank is looked up. A fragment ends with its episode, or with
    the newest record. Frames before its episode's first one (or before the oldest record) are
    replaced by that one. Can be called inside `jit`; of the ring's size there is no temporary but
    masks. If no record is live, all masks are false.

    Args:
        steps: rings of T records.
        key: a typed JAX key; the same key gives the same fragments.
        num: how many, or their leading axes, such as (M,2) for M pairs.
        length: L, in steps.
        first: the index of the oldest record.
        count: how many records there are, at most T.
        now: how many records each stream has had, for `taken_at`; `count` by default, which is
            right until a record is overwritten.
        frame_stack: k, the frames that a network sees at a time.
        recent: fragments start in the newest `recent` records only.
        cross_episodes: let fragments go on into the next episode: the mask only leaves out records
            without a step. Then the first k - 1 windows of an episode that begins within the
            fragment also show frames of the one before.
        whole: draw only fragments of L steps of one episode, if there are any.

    Raises:
        InvalidInputError: a number is out of its range, as far as it is not traced.
    """
    shape = num if isinstance(num, tuple) else (num,)
    capacity = steps.live.shape[1]
    for name, number, most in (
        ("num", min(shape, default=1), None),
        ("length", length, capacity),
        ("frame_stack", frame_stack, None),
        ("count", count, capacity),
        ("recent", recent, None),
    ):
        _check_range(name, number, 1, most)
    _check_range("first", first, 0, capacity - 1)
    now, recent = count if now is None else now, capacity if recent is None else recent
    first, count, now, recent = (jnp.asarray(n, jnp.int32) for n in (first, count, now, recent))
    flat = _sample(
        steps,
        key,
        math.prod(shape),
        length,
        first,
        count,
        now,
        recent,
        frame_stack,
        cross_episodes,
        whole,
    )
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), flat)


def _check_range(name, number, least, most):
    if isinstance(number, (int, np.integer)) and not least <= number <= (most or number):
        upper = f" and at most {most}" if most else ""
        raise InvalidInputError(f"{name}: must be at least {least}{upper}, got {number}")


@eqx.filter_jit
def _sample(steps, key, num, length, first, count, now, recent, frame_stack, cross_episodes, whole):
    capacity = steps.live.shape[1]
    offset = (jnp.arange(capacity, dtype=jnp.int32) - first) % capacity  # 0 is the oldest
    eligible = steps.live & (offset < count) & (offset >= count - recent)
    if whole:
        enough = eligible & _followed(steps, length - 1, first, count)
        eligible = jnp.where(jnp.any(enough), enough, eligible)
    env, start = jnp.divmod(_draw(key, eligible.reshape(-1), num), capacity)
    drawn, begin = eligible[env, start], offset[start]
    fragments = _cut(steps, env, begin, length, first, count, now, frame_stack, cross_episodes)
    return eqx.tree_at(lambda f: f.mask, fragments, fragments.mask & drawn[:, None])


def consecutive_fragments(
    steps: Steps,
    num: int,
    length: int,
    *,
    first: int | np.integer | Int[Array, ""],
    count: int | np.integer | Int[Array, ""],
    now: int | np.integer | Int[Array, ""] | None = None,
    frame_stack: int = 1,
) -> Fragment:
    """The newest records of every stream, cut into fragments one after another, (N,num) of them.

    What they begin with is as in `sample_fragments`, only not by chance: no step is in two of them.
    Where a fragment's first record holds no step, and where there are too few records, its mask is
    false. Can be called inside `jit`.

    Args:
        steps: rings of T records.
        num: fragments of each stream.
        length: L, in steps.
        first: the index of the oldest record.
        count: how many records there are, at most T.
        now: how many records each stream has had, for `taken_at`; `count` by default.
        frame_stack: k, the frames that a network sees at a time.

    Raises:
        InvalidInputError: more records are asked for than the ring has.
    """
    streams, capacity = steps.live.shape
    _check_range("num", num, 1, capacity // length)
    now = count if now is None else now
    first, count, now = (jnp.asarray(n, jnp.int32) for n in (first, count, now))
    begin = jnp.tile(count + length * jnp.arange(-num, 0, dtype=jnp.int32), streams)
    env = jnp.repeat(jnp.arange(streams, dtype=jnp.int32), num)
    flat = _cut(steps, env, begin, length, first, count, now, frame_stack, False)
    return jax.tree.map(lambda leaf: leaf.reshape(streams, num, *leaf.shape[1:]), flat)


def _cut(steps, env, begin, length, first, count, now, frame_stack, cross_episodes):
    """The fragments (B,) of the streams `env` that begin so many records after the oldest."""
    capacity = steps.live.shape[1]
    env = env[:, None]
    around = jnp.arange(1 - frame_stack, length)
    record = begin[:, None] + around
    place = (first + record) % capacity
    live = steps.live[env, place] & (record >= 0) & (record < count)
    goes_on = live & ~(steps.terminated[env, place] | steps.truncated[env, place])

    before, during = jnp.split(goes_on, [frame_stack - 1], axis=1)
    reach = _unbroken(before[:, ::-1]).sum(axis=1, keepdims=True)
    shown = (first + begin[:, None] + jnp.maximum(around, -reach)) % capacity
    mask = live[:, frame_stack - 1 :]
    if not cross_episodes:
        mask &= jnp.pad(_unbroken(during[:, :-1]), ((0, 0), (1, 0)), constant_values=True)
    place = place[:, frame_stack - 1 :]
    return Fragment(
        observation=steps.observation[env, shown],
        action=steps.action[env, place],
        reward=steps.reward[env, place],
        log_prob=steps.log_prob[env, place],
        mask=mask,
        taken_at=now - count + begin,
        state=jax.tree.map(lambda leaf: leaf[env, place], steps.state),
    )


def _followed(steps, further, first, count):
    """Whether so many further steps of the same episode come after a record (N,T)."""
    goes_on = steps.live & ~(steps.terminated | steps.truncated)
    goes_on = jnp.roll(goes_on, -first, axis=1)  # the oldest first
    offset = jnp.arange(goes_on.shape[1], dtype=jnp.int32)
    end = jnp.where(goes_on & (offset < count - 1), len(offset), offset)
    end = jax.lax.cummin(end, axis=1, reverse=True)  # the next record after which it does not go on
    return jnp.roll(end - offset >= further, first, axis=1)


def _draw(key, holds, num):
    """Independent places (num,), uniform over those where `holds` (M,) is true."""
    blocks = jnp.pad(holds, (0, -len(holds) % _BLOCK)).reshape(-1, _BLOCK)
    totals = jnp.cumsum(blocks.sum(axis=1, dtype=jnp.int32))
    rank = jax.random.randint(key, (num,), 0, jnp.maximum(totals[-1], 1), jnp.int32)
    block = jnp.searchsorted(totals, rank, side="right")
    rank -= jnp.where(block > 0, totals[block - 1], 0)
    place = jnp.argmax(jnp.cumsum(blocks[block], axis=1) > rank[:, None], axis=1)
    return jnp.minimum(block * _BLOCK + place, len(holds) - 1)


def _unbroken(holds):
    """Whether every entry so far is true (B,L)."""
    return jnp.cumprod(holds, axis=1).astype(bool)
