"""What a line of a label file must be: names, types and shapes, checked by pydantic and NumPy."""

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sobirl.core.errors import InvalidInputError
from sobirl.experience import Fragment

VERSION = 1

Record = dict[str, Any]

_STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
_LONGEST = 60  # characters of what a message quotes


class Clip(BaseModel):
    """A fragment of L steps.

    Attributes:
        observation: L + k - 1 frames, of which a network sees k at a time: whole numbers from 0 to
            255 are bytes, all others 32-bit floats.
        action: L of them: indices, or numbers from -1 to 1.
        reward: the environment's own (L,).
        log_prob: of the action under the policy that took it (L,).
        mask: whether a step belongs to the fragment (L,); all do by default.
        terminal: whether the episode ended with the last step.
    """

    model_config = _STRICT
    observation: Any
    action: Any
    reward: Any = None
    log_prob: Any = None
    mask: Any = None
    terminal: bool | None = None

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a `Fragment`, all but when it was taken.

        Args:
            name: of the fragment, for messages.

        Raises:
            InvalidInputError: no finite numbers, or shapes that do not fit each other.
        """
        action = _numbers(f"{name}.action", self.action, at_least=1)
        observation = _numbers(f"{name}.observation", self.observation, at_least=1)
        length = len(action)
        if not length or len(observation) < length:
            raise InvalidInputError(
                f"{name}: must have at least one action and no fewer frames than actions, got "
                f"{length} actions and {len(observation)} frames"
            )
        is_bytes = observation.dtype.kind in "iu" and 0 <= observation.min() <= 255
        is_bytes = is_bytes and observation.max() <= 255
        arrays = {
            "observation": observation.astype(np.uint8) if is_bytes else _floats(observation),
            "action": action.astype(np.int32) if action.dtype.kind in "iu" else _floats(action),
        }
        for series in ("reward", "log_prob"):
            values = getattr(self, series)
            arrays[series] = np.full(length, np.nan, np.float32)
            if values is not None:
                arrays[series] = _floats(_numbers(f"{name}.{series}", values, at_least=1))
        arrays["mask"] = np.ones(length, bool)
        if self.mask is not None:
            arrays["mask"] = _truths(f"{name}.mask", self.mask)
        for series in ("reward", "log_prob", "mask"):
            if arrays[series].shape != (length,):
                raise InvalidInputError(
                    f"{name}.{series}: must have one entry an action, ({length},), got "
                    f"{arrays[series].shape}"
                )
        if not arrays["mask"].any():
            raise InvalidInputError(f"{name}.mask: leaves no step")
        return arrays


class Line(BaseModel):
    """A labelled pair, see `LabelledPair`."""

    model_config = _STRICT
    version: Annotated[int, Field(ge=1)]
    environment: Annotated[str, Field(min_length=1)]
    label: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None
    first: Clip
    second: Clip
    labeller: str | None = None
    reason: str | None = None
    time: str | None = None

    @property
    def clips(self) -> list[tuple[str, Clip]]:
        """Both fragments and their names."""
        return [("first", self.first), ("second", self.second)]


def parsed(found: Any) -> Line:
    """What a line holds.

    Raises:
        InvalidInputError: it is not as the schema says; the message names the first such entry.
    """
    version = found.get("version") if isinstance(found, dict) else None
    if type(version) is int and version > VERSION:
        raise InvalidInputError(
            f"version: is the newer {version}, this sobirl reads up to {VERSION}; upgrade sobirl"
        )
    try:
        return Line.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Input ")
        if first["type"] == "extra_forbidden":
            what = "is no entry of the schema"
        elif where and first["type"] != "missing":
            what += f", got {_shown(first['input'])}"
        raise InvalidInputError(
            f"{where}: {what[:1].lower()}{what[1:]}" if where else f"is no labelled pair ({what})"
        ) from None


def clip_record(pair: Fragment, row: int, terminal: bool | None) -> Record:
    """What is written of one fragment of a pair; series that are not known are left out."""
    record: Record = {name: np.asarray(getattr(pair, name)[row]) for name in _WRITTEN}
    for series in ("reward", "log_prob"):
        if np.isnan(record[series]).all():
            del record[series]
    if record["mask"].all():
        del record["mask"]
    return record | ({} if terminal is None else {"terminal": terminal})


_WRITTEN = ("observation", "action", "reward", "log_prob", "mask")


def _array(name: str, values: Any) -> np.ndarray:
    if not isinstance(values, (list, np.ndarray)):
        raise InvalidInputError(f"{name}: must be an array, got {_shown(values)}")
    try:
        return np.asarray(values)
    except (ValueError, OverflowError):
        raise InvalidInputError(f"{name}: its entries differ in shape") from None


def _numbers(name: str, values: Any, at_least: int) -> np.ndarray:
    """An array of finite numbers with so many axes, or more."""
    array = _array(name, values)
    if array.dtype.kind not in "iuf":
        raise InvalidInputError(f"{name}: must be an array of numbers, got {_shown(values)}")
    if array.ndim < at_least or not array.size:
        raise InvalidInputError(f"{name}: must not be empty, got the shape {array.shape}")
    with np.errstate(over="ignore"):
        fits = np.isfinite(array.astype(np.float32))
    if not fits.all():
        raise InvalidInputError(
            f"{name}: must be finite, got {array[~fits][0]} at {np.argwhere(~fits)[0].tolist()}"
        )
    return array


def _truths(name: str, values: Any) -> np.ndarray:
    array = _array(name, values)
    if array.dtype != bool:
        raise InvalidInputError(f"{name}: must be an array of true and false")
    return array


def _floats(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)


def _shown(values: Any) -> str:
    text = repr(values)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
