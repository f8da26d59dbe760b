"""What the successors of a big law tell a solver: how local they are, and where each comes from."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Int
from scipy.sparse.csgraph import reverse_cuthill_mckee

from sobirl.core.errors import InvalidInputError

# Fewer states are quick in any form, and then no time is spent on finding a better one.
SMALL = 2_000
# Terms of a sum that is written out in the compiled program; a loop beyond.
MOST_TERMS = 32


class Incoming(NamedTuple):
    """The transposed list: the entries of (S,A,K) that lead to each state, by their flat places.

    Attributes:
        places: (S,D), S·A·K where a state has fewer than D entries.
        rest: the entries of states with more (R,); they are few.
    """

    places: Int[Array, "S D"]
    rest: Int[Array, "R"]


class Structure(NamedTuple):
    """What is known of the successors alone, whatever their probabilities.

    Attributes:
        incoming: the transposed list, if `push` is quicker with it.
        bandwidth: see `TransitionOperator.bandwidth`.
    """

    incoming: Incoming | None
    bandwidth: int | None


def find_structure(successors: Int[np.ndarray, "S A K"]) -> Structure:
    """Nothing for small S, else what it takes about a second for millions of entries to find."""
    if len(successors) <= SMALL:
        return Structure(None, None)
    return Structure(find_incoming(successors), find_bandwidth(successors))


def check_structure(structure: Structure, successors: Int[np.ndarray, "S A K"]) -> Structure:
    """The structure, once its transposed list has each entry once, at the state that it leads to.

    Raises:
        InvalidInputError: it is of other successors.
    """
    incoming = structure.incoming
    if incoming is None:
        return structure
    entries, targets = successors.size, successors.ravel()
    places, rest = np.asarray(incoming.places), np.asarray(incoming.rest)
    right = places.ndim == 2 and rest.ndim == 1 and len(places) == len(successors)
    right = right and places.dtype.kind == "i" and rest.dtype.kind == "i"
    if right:
        every = np.concatenate([places.ravel(), rest])
        right = every.min() >= 0 and every.max() <= entries
        right = right and bool((np.bincount(every, minlength=entries)[:entries] == 1).all())
    if right:
        ahead = targets[np.minimum(places, entries - 1)]
        there = np.arange(len(places), dtype=targets.dtype)[:, None]
        right = bool(((ahead == there) | (places == entries)).all())
    if not right:
        raise InvalidInputError("structure: does not belong to these successors")
    incoming = Incoming(*(jnp.asarray(part, jnp.int32) for part in incoming))
    return structure._replace(incoming=incoming)


def find_incoming(successors: Int[np.ndarray, "S A K"]) -> Incoming | None:
    """The transposed list, or None where gathering from it would not be quicker than scattering.

    It is quicker if most states have about as many entries that lead to them, and if these stand
    near one another in memory, as in grids and queues; it takes about the memory of `successors`.
    """
    states, entries = len(successors), successors.size
    targets = successors.ravel()
    if entries >= np.iinfo(np.int32).max:
        return None
    if 32 * _mean_distance(successors) > states:
        return None
    counts = np.bincount(targets, minlength=states)
    width = _width(counts, entries // 20)
    if width > 2 * MOST_TERMS or 2 * width * states > 3 * entries:
        return None
    numbered = scipy.sparse.csr_array(
        (
            np.arange(entries, dtype=np.int32),
            targets.astype(np.int32),
            np.arange(0, entries + 1, entries // states, dtype=np.int32),
        ),
        shape=(states, states),
    ).tocsc()
    starts, places = numbered.indptr, numbered.data
    index = starts[:-1, None] + np.arange(width, dtype=np.int32)
    there = index < starts[1:, None]
    table = np.where(there, places[np.minimum(index, entries - 1)], np.int32(entries))
    rank = np.arange(entries, dtype=np.int32) - np.repeat(starts[:-1], counts)
    return Incoming(jnp.asarray(table), jnp.asarray(places[rank >= width]))


def find_bandwidth(successors: Int[np.ndarray, "S A K"]) -> int:
    """How far apart a state and its successors are, in an order of the states that keeps it small.

    The order is the given one, or that of reverse Cuthill and McKee (1969) if the given one is
    far from local. A sparse factorization of I - γP_π has at most this many entries a row and
    side. Successors of very many states (a start to which episodes return) do not count but for 1
    each: an elimination takes them last.
    """
    states = len(successors)
    near = successors.reshape(states, -1).astype(np.int32)
    own = np.arange(states, dtype=np.int32)[:, None]
    counts = np.bincount(near.ravel(), minlength=states)
    hubs = counts > 10 * np.sqrt(states) + counts.mean()
    if hubs.any():
        near = np.where(hubs[near], own, near)
    band = _band(near, own)
    if band > 4 * np.sqrt(states):
        starts = np.arange(0, near.size + 1, near.shape[1], dtype=np.int32)
        graph = scipy.sparse.csr_array(
            (np.ones(near.size, np.int8), near.ravel(), starts), shape=(states, states)
        )
        # Steps one way stand for both: that takes a fraction of the time and is near enough.
        place = np.empty(states, np.int32)
        place[reverse_cuthill_mckee(graph, symmetric_mode=True)] = own[:, 0]
        band = min(band, _band(place[near], place[:, None]))
    return band + int(hubs.sum())


def _band(near: Int[np.ndarray, "S N"], own: Int[np.ndarray, "S 1"]) -> int:
    return int(max((near - own).max(), (own - near).max()))


def _mean_distance(successors: Int[np.ndarray, "S A K"]) -> float:
    own = np.arange(len(successors))[:, None, None]
    return float(np.abs(successors - own).mean())


def _width(counts: Int[np.ndarray, "S"], spare: int) -> int:
    """The least width that leaves at most `spare` entries beyond it."""
    by_count = np.bincount(counts)
    more_than = len(counts) - np.cumsum(by_count)  # states with more than 0, 1, ... entries
    beyond = np.cumsum(more_than[::-1])[::-1]
    return max(int(np.argmax(beyond <= spare)), 1)
