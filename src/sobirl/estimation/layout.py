"""Parameters as people name them, and as one vector."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped


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
