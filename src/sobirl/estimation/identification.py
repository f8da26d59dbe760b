"""Whether the data tell the parameters: the rank and the condition of the information."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from sobirl.core.errors import InvalidInputError
from sobirl.estimation.layout import Layout

if TYPE_CHECKING:
    from sobirl.estimation.model import Data
    from sobirl.estimation.result import Evidence

# Relative to unit diagonal: the implicit solve leaves about 1e-11 in second derivatives.
FLAT = 1e-9
# A Newton step that still changes log odds by this much where the gradient has vanished.
_MOVES_ON = 0.05


@dataclasses.dataclass(frozen=True)
class Identification:
    """What the information matrix says at unit diagonal.

    Attributes:
        rank: its numerical rank.
        size: the number of free parameters.
        condition: largest by smallest eigenvalue.
        eigenvalues: from the smallest on.
        weakest: the direction that is told worst: parameter -> weight, those of 0.1 and more.
        text: this in words.
    """

    rank: int
    size: int
    condition: float
    eigenvalues: Float[np.ndarray, "n"]
    weakest: dict[str, float]
    text: str

    def __str__(self) -> str:
        return self.text


def identification(
    information: Float[np.ndarray, "n n"], moving: Bool[np.ndarray, "n"], layout: Layout
) -> Identification:
    """The check, over the free parameters."""
    labels = [label for label, free in zip(layout.labels, moving, strict=True) if free]
    block = information[np.ix_(moving, moving)]
    diagonal = np.abs(np.diag(block))
    none = diagonal <= np.finfo(float).eps ** 1.5 * diagonal.max(initial=0.0)
    scale = np.where(none, 0.0, 1 / np.sqrt(np.where(none, 1.0, diagonal)))
    values, vectors = np.linalg.eigh(scale[:, None] * block * scale)
    vectors = vectors * np.where(none, 1.0, np.where(scale > 0, scale, 1.0))[:, None]
    rank = int((values > FLAT).sum())
    smallest = float(values[0])
    condition = float(values[-1] / smallest) if smallest > 0 else np.inf
    direction = vectors[:, 0] / np.max(np.abs(vectors[:, 0]))
    weakest = {
        label: float(weight)
        for label, weight in zip(labels, direction, strict=True)
        if abs(weight) >= 0.1
    }
    where = " and ".join(f"{weight:+.2g} {label}" for label, weight in weakest.items())
    if rank < len(labels):
        text = (
            f"rank {rank} of {len(labels)}: the data say nothing of {where}, along which the "
            "likelihood is flat"
        )
    elif condition > 1e6:
        text = (
            f"rank {rank} of {len(labels)}, but nearly less (condition number {condition:.2g}): "
            f"{where} is hardly told"
        )
    else:
        quality = "well" if condition < 1e3 else "moderately"
        text = (
            f"rank {rank} of {len(labels)}, {quality} conditioned (condition number "
            f"{condition:.2g} at unit diagonal)"
        )
    return Identification(rank, len(labels), condition, values, weakest, text)


def refuse_unidentified(
    information: Float[np.ndarray, "n n"], moving: Bool[np.ndarray, "n"], layout: Layout
) -> None:
    """Raise where the information is singular.

    Raises:
        InvalidInputError: with the direction that is not identified.
    """
    found = identification(information, moving, layout)
    if found.rank < found.size:
        raise InvalidInputError(
            f"data: do not identify the parameters ({found.text}); leave a feature out, or hold a "
            "parameter fixed"
        )


def refuse_separation(
    evidence: "Evidence", moving: Bool[np.ndarray, "n"], data: "Data", layout: Layout
) -> None:
    """Raise where the likelihood rises for ever, as the features tell some choices for certain.

    There the gradient vanishes while a Newton step still changes log odds by about 1.

    Raises:
        InvalidInputError: with the parameters that grow.
    """
    block = evidence.information[np.ix_(moving, moving)]
    gradient = -evidence.scores.sum(axis=0)[moving]
    diagonal = np.diag(block)
    if not (diagonal > 0).all():
        return
    scale = 1 / np.sqrt(diagonal)
    scaled = scale[:, None] * block * scale
    step = -scale * (np.linalg.pinv(scaled, rcond=FLAT, hermitian=True) @ (scale * gradient))
    change = np.nan_to_num(evidence.slopes[..., moving] @ step)
    certain = float(np.exp(evidence.log_probability).min()) > 1 - 1e-6
    if np.max(np.abs(change)) < _MOVES_ON and not certain:
        return
    labels = [label for label, free in zip(layout.labels, moving, strict=True) if free]
    size = np.abs(step) * np.max(np.abs(evidence.slopes[..., moving]), axis=(0, 1, 2))
    growing = [label for label, s in zip(labels, size, strict=True) if s >= 0.3 * size.max()]
    raise InvalidInputError(
        f"data: perfect separation: the features tell choices for certain, so that the likelihood "
        f"rises for ever as {' and '.join(growing)} grow"
        f"{'s' if len(growing) == 1 else ''}; take more data or fewer features"
    )
