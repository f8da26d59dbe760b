"""Soft MDPs in files: built once, mapped into memory and solved often."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from sobirl.core.array_folder import read_folder, write_folder
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.soft_mdp import SoftMDP
from sobirl.mdp.transitions import Dense, SuccessorList
from sobirl.mdp.transitions.structure import Incoming, Structure

KIND, VERSION = "sobirl-mdp", 1
TRANSITION_ARRAYS = ("probabilities", "successors", "incoming_places", "incoming_rest")
_REQUIRED = ("probabilities", "reward", "initial")
_KNOWN = (*TRANSITION_ARRAYS, "reward", "initial", "discount", "reference_policy")


def save_mdp(mdp: SoftMDP, path: str | Path) -> None:
    """Write a soft MDP to a folder of `.npy` files and a header; see `load_mdp`.

    With the successors goes what was found out about them, which then takes no time again.

    Args:
        mdp: with a `Dense` or a `SuccessorList` as its transition, and concrete arrays.
        path: the folder, which must not exist; it is there completely or not at all.

    Raises:
        InvalidInputError: another transition operator, or the folder cannot be written.
    """
    arrays, numbers = transition_arrays(mdp.transition)
    arrays |= {"reward": mdp.reward, "initial": mdp.initial}
    if mdp.reference_policy is not None:
        arrays["reference_policy"] = mdp.reference_policy
    if mdp.discount.ndim:
        arrays["discount"] = mdp.discount
    else:
        numbers["discount"] = float(mdp.discount)
    numbers["temperature"] = float(mdp.temperature)
    write_folder(path, KIND, VERSION, arrays, numbers)


def load_mdp(path: str | Path) -> SoftMDP:
    """The soft MDP in a folder that `save_mdp` wrote.

    Raises:
        InvalidInputError: the folder is missing, damaged, cut short or of a newer version, or what
            it holds is no soft MDP.
    """
    arrays, numbers = read_folder(path, KIND, VERSION, _REQUIRED, _KNOWN)
    try:
        return SoftMDP(
            transition=read_transition(arrays, numbers),
            reward=arrays["reward"],
            discount=arrays["discount"] if "discount" in arrays else numbers["discount"],
            temperature=numbers["temperature"],
            initial=arrays["initial"],
            reference_policy=arrays.get("reference_policy"),
        )
    except KeyError as error:
        raise InvalidInputError(f"{path}: there is no number {error.args[0]} in it") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def transition_arrays(transition: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and the numbers that `read_transition` makes an operator of.

    Raises:
        InvalidInputError: an operator that is no table.
    """
    if isinstance(transition, Dense):
        return {"probabilities": transition.probabilities}, {}
    if not isinstance(transition, SuccessorList):
        raise InvalidInputError(
            "transition: only Dense and SuccessorList are tables that a file can hold, got "
            f"{type(transition).__name__}"
        )
    arrays = {
        "probabilities": transition.probabilities,
        "successors": transition.successors,
    }
    incoming, bandwidth = transition.structure
    if incoming is not None:
        arrays |= {"incoming_places": incoming.places, "incoming_rest": incoming.rest}
    return arrays, {"bandwidth": bandwidth}


def read_transition(
    arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]
) -> Dense | SuccessorList:
    """The operator of arrays by name.

    Raises:
        InvalidInputError: they are no law.
    """
    if "successors" not in arrays:
        return Dense(arrays["probabilities"])
    band = numbers.get("bandwidth")
    if band is not None and (isinstance(band, bool) or not isinstance(band, int) or band < 0):
        raise InvalidInputError(f"bandwidth: expected an integer from 0 or null, got {band!r}")
    incoming = None
    if "incoming_places" in arrays and "incoming_rest" in arrays:
        incoming = Incoming(
            jnp.asarray(arrays["incoming_places"]), jnp.asarray(arrays["incoming_rest"])
        )
    elif "incoming_places" in arrays or "incoming_rest" in arrays:
        raise InvalidInputError("incoming_places and incoming_rest: one without the other")
    structure = Structure(incoming, band) if "bandwidth" in numbers else None
    return SuccessorList(arrays["successors"], arrays["probabilities"], structure=structure)
