"""The operating costs of Rust's (1987) buses, as functions of mileage."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

STATES = 90
DISCOUNT = 0.9999


@dataclasses.dataclass(frozen=True)
class Cost:
    """An operating cost c(s; θ) = Σ_i scale_i θ_i g_i(s) per period, s in mileage bins.

    Attributes:
        scales: one a parameter; they keep the parameters and their errors within a few orders
            of magnitude of 1.
        functions: the g_i.
        formula: c in print.
    """

    scales: tuple[float, ...]
    functions: "tuple[Callable[[np.ndarray], np.ndarray], ...]"
    formula: str

    @property
    def num_parameters(self) -> int:
        """The length of θ."""
        return len(self.scales)

    @property
    def basis(self) -> "Float[np.ndarray, 'k 90']":
        """scale_i g_i(s) for every parameter and state."""
        import numpy as np

        states = np.arange(STATES, dtype=np.float64)
        terms = zip(self.scales, self.functions, strict=True)
        return np.stack([scale * function(states) for scale, function in terms])


# The scales of the quadratic and the cubic are free; these make the terms alike in size.
COSTS = {
    "linear": Cost((1e-3,), (lambda s: s,), "0.001 θ₁ s"),
    "sqrt": Cost((1e-2,), (lambda s: s**0.5,), "0.01 θ₁ √s"),
    "quadratic": Cost((1e-3, 1e-5), (lambda s: s, lambda s: s**2), "1e-3 θ₁ s + 1e-5 θ₂ s²"),
    "cubic": Cost(
        (1e-3, 1e-5, 1e-7),
        (lambda s: s, lambda s: s**2, lambda s: s**3),
        "1e-3 θ₁ s + 1e-5 θ₂ s² + 1e-7 θ₃ s³",
    ),
    "hyperbolic": Cost((0.1,), (lambda s: 1 / (91 - s),), "0.1 θ₁/(91 - s)"),
}

# RC and θ that maximize the likelihood of group 4: sensible true values for simulations.
GROUP4_ESTIMATES: dict[str, tuple[float, tuple[float, ...]]] = {
    "linear": (10.07494, (2.29309,)),
    "sqrt": (11.42996, (3.23089,)),
    "quadratic": (11.48144, (4.76350, -2.31462)),
    "cubic": (17.58781, (28.8161, -51.7382, 31.5538)),
    "hyperbolic": (8.10754, (22.9398,)),
}
