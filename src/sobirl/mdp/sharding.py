"""Soft MDPs and batches spread over several devices; compiled programs follow their arguments."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.mdp.soft_mdp import SoftMDP
from sobirl.mdp.transitions import Dense, SuccessorList


def shard_states(mdp: SoftMDP, devices: Sequence[Any] | None = None) -> SoftMDP:
    """The same MDP with its states spread over devices: each holds S/n rows of every table.

    `solve`, derivatives and methods work on it as on any other and give the same results within
    rounding. Sweeps and Krylov solvers exchange vectors (S,) only; where nothing else is asked they
    are chosen, for factors need the whole system in one place.

    Args:
        mdp: the MDP, with a transition law that is a `Dense` or `SuccessorList`.
        devices: all of JAX's by default, those of other processes too (`jax.distributed`); then
            every process calls this with the same MDP.

    Raises:
        InvalidInputError: S is no multiple of the number of devices (see `pad_states`), or another
            transition law.
    """
    mesh = device_mesh("states", devices)
    states = mdp.shape[0]
    if not isinstance(mdp.transition, Dense | SuccessorList):
        raise InvalidInputError(
            "transition: only the tables of Dense and SuccessorList can be spread, got "
            f"{type(mdp.transition).__name__}"
        )
    if states % mesh.size:
        raise InvalidInputError(
            f"mdp: {states} states cannot be spread evenly over {mesh.size} devices; "
            f"pad_states(mdp, {mesh.size}) adds states that nobody enters"
        )

    def spread(leaf):
        rows = leaf.ndim > 0 and len(leaf) == states
        return place(leaf, mesh, PartitionSpec("states" if rows else None))

    transition = mdp.transition
    if isinstance(transition, SuccessorList):
        # An unknown bandwidth: no factors, see `sobirl.AutoLinear`.
        structure = transition.structure._replace(bandwidth=None)
        transition = SuccessorList(transition.successors, transition.probabilities, structure)
    return jax.tree.map(spread, eqx.tree_at(lambda m: m.transition, mdp, transition))


def pad_states(mdp: SoftMDP, multiple: int) -> SoftMDP:
    """The MDP with copies of its first state at the end, so that S is a multiple of `multiple`.

    Nobody enters or starts in the copies; values, policies and returns of the others stay.
    """
    states, _ = mdp.shape
    extra = -states % multiple
    if not extra:
        return mdp

    def longer(leaf):
        return jnp.concatenate([leaf, jnp.broadcast_to(leaf[:1], (extra, *leaf.shape[1:]))])

    transition = mdp.transition
    if isinstance(transition, Dense):
        rows = jnp.pad(transition.probabilities, ((0, 0), (0, 0), (0, extra)))
        transition = Dense(longer(rows))
    elif isinstance(transition, SuccessorList):
        transition = SuccessorList(longer(transition.successors), longer(transition.probabilities))
    else:
        raise InvalidInputError(
            f"transition: only Dense and SuccessorList can be padded, got "
            f"{type(transition).__name__}"
        )
    reference = mdp.reference_policy
    return SoftMDP(
        transition,
        longer(mdp.reward),
        longer(mdp.discount) if mdp.discount.ndim else mdp.discount,
        mdp.temperature,
        jnp.concatenate([mdp.initial, jnp.zeros(extra, mdp.initial.dtype)]),
        None if reference is None else longer(reference),
    )


def shard_batch(tree: PyTree, devices: Sequence[Any] | None = None) -> PyTree:
    """Arrays with a leading axis of seeds, starts or contexts, each device with its part of them.

    Raises:
        InvalidInputError: an axis is no multiple of the number of devices.
    """
    mesh = device_mesh("batch", devices)
    for leaf in jax.tree.leaves(tree):
        if not jnp.ndim(leaf) or len(leaf) % mesh.size:
            raise InvalidInputError(
                f"batch: a leading axis of {jnp.shape(leaf)[:1]} cannot be spread evenly over "
                f"{mesh.size} devices"
            )
    return jax.tree.map(lambda leaf: place(leaf, mesh, PartitionSpec("batch")), tree)


def device_mesh(axis: str, devices: Sequence[Any] | None = None) -> Mesh:
    """All devices along one axis."""
    return Mesh(np.array(jax.devices() if devices is None else list(devices)), (axis,))


def place(leaf: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """An array on the devices of a mesh, which may be those of several processes."""
    sharding = NamedSharding(mesh, spec)
    if jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key):
        return jax.device_put(leaf, sharding)
    table = np.asarray(leaf)
    return jax.make_array_from_callback(table.shape, sharding, lambda index: table[index])
