"""Parameters as people name them, and as one vector."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Int, Shaped

from sobirl.core.checks import as_float_array
from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import listed, suggestion


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which number of a vector is which parameter.

    Attributes:
        labels: one a number, in the model's order: `theta`, or `theta[0]`, `theta[1]`, ...
        order: the place of each in JAX's vector of the dictionary, which is sorted by name (n,).
        shapes: of each parameter.
    """

    labels: tuple[str, ...]
    order: Int[np.ndarray, "n"]
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, x: Mapping[str, Any]) -> "Layout":
        """The layout of parameters."""
        shapes = {name: np.shape(value) for name, value in x.items()}
        begin, place = {}, 0
        for name in sorted(shapes):
            begin[name] = place
            place += int(np.prod(shapes[name], dtype=int))
        labels, order = [], []
        for name, shape in shapes.items():
            for i, index in enumerate(np.ndindex(*shape)):
                inside = f"[{','.join(map(str, index))}]" if shape else ""
                labels.append(f"{name}{inside}")
                order.append(begin[name] + i)
        return cls(tuple(labels), np.array(order), shapes)

    def vector(self, x: Mapping[str, Any]) -> Shaped[np.ndarray, "n"]:
        """The numbers, in the model's order."""
        return np.concatenate([np.ravel(np.asarray(x[name])) for name in self.shapes])

    def parameters(self, vector: Any) -> dict[str, Any]:
        """The parameters that a vector in the model's order says; JAX arrays stay such."""
        found, place = {}, 0
        for name, shape in self.shapes.items():
            count = int(np.prod(shape, dtype=int))
            found[name] = vector[place : place + count].reshape(shape)
            place += count
        return found

    def sorted(self, vector: Any) -> Any:
        """A vector in the model's order in that of JAX."""
        return vector[np.argsort(self.order)]


def as_parameters(given: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Array]:
    """θ as arrays, once it has the parameters of a model and no others.

    Raises:
        InvalidInputError: a parameter is missing, unknown, or has another shape.
    """
    for name in given:
        if name not in like:
            known = [str(other) for other in like]
            raise InvalidInputError(
                f"parameters: there is no {name!r}{suggestion(str(name), known)}; there are "
                f"{listed(known)}"
            )
    found = {}
    for name, value in like.items():
        if name not in given:
            raise InvalidInputError(f"parameters: {name!r} is missing")
        found[name] = as_float_array(f"parameters[{name!r}]", given[name])
        if found[name].shape != np.shape(value):
            raise InvalidInputError(
                f"parameters[{name!r}]: expected shape {np.shape(value)}, got {found[name].shape}"
            )
    return found
