"""A check that users run on their own problem: the hyper-gradient against finite differences."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key, PyTree

from sobirl.bilevel.problem import BilevelProblem
from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.core.hoisting import hoisting_jit
from sobirl.core.protocols import Method
from sobirl.core.status import Status
from sobirl.hypergrad.methods import as_method


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """The outcome of `check_gradients`; prints as its verdict.

    Attributes:
        ok: whether every direction agrees.
        directional: ⟨∇φ(x), d⟩ by the method, (directions,).
        finite_difference: (φ(x+hd) - φ(x-hd))/2h, extrapolated, (directions,).
        uncertainty: how far the finite difference itself may be off, (directions,).
        relative_error: the largest |difference| relative to the gradient, over trusted directions.
        verdict: the outcome in words.
    """

    ok: bool
    directional: np.ndarray
    finite_difference: np.ndarray
    uncertainty: np.ndarray
    relative_error: float
    verdict: str

    def __str__(self) -> str:
        """The verdict."""
        return self.verdict


def check_gradients(
    problem: BilevelProblem,
    x: PyTree,
    method: Method | type | str | None = None,
    *,
    directions: int = 5,
    rtol: float | None = None,
    key: Key[Array, ""] | int = 0,
) -> GradientCheck:
    """Compare the hyper-gradient with finite differences of φ along random directions.

    φ is evaluated by solving the lower level anew, so that nothing of the derivative's own code
    is trusted. Central differences at several steps are extrapolated (Richardson), and their
    spread says how far they can be trusted themselves.

    Args:
        problem: the bilevel problem.
        x: where to check (any pytree of float arrays).
        method: what gives the hyper-gradient, its class or its name; `Exact()` by default. A
            single-loop or sampled method is expected to fail away from its fixed point: the verdict
            shows by how much.
        directions: how many random directions of length 1.
        rtol: agreement that counts as good; 1e-5 in float64, 1e-2 in float32.
        key: a typed JAX key or an integer seed.

    Raises:
        InvalidInputError: φ is not finite at x, or an option is out of range.
        ConvergenceError: the lower level could not be solved at x.
    """
    if directions < 1:
        raise InvalidInputError(f"directions: must be at least 1, got {directions}")
    method = as_method(method)
    key = jax.random.key(key) if isinstance(key, int) else key
    x = jax.tree.map(jnp.asarray, x)
    for leaf in jax.tree.leaves(x):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InvalidInputError(f"x: expected floating-point arrays, got {leaf.dtype}")
    flat, unflatten = ravel_pytree(x)
    double = flat.dtype == np.float64
    rtol = (1e-5 if double else 1e-2) if rtol is None else rtol
    compiled = hoisting_jit(lambda problem, flat: problem.value(unflatten(flat)))

    def value(flat):
        """φ, or NaN where the lower level has no solution."""
        try:
            return float(compiled(problem, flat))
        except eqx.EquinoxRuntimeError:
            return np.nan

    try:
        at_x = float(compiled(problem, flat))
    except eqx.EquinoxRuntimeError as error:
        status = Status.from_error(error)
        if status is None:
            raise
        raise ConvergenceError(f"x: {status.advice}") from None
    if not np.isfinite(at_x):
        raise InvalidInputError(f"x: φ(x) is {at_x}; nothing can be checked there")
    state = method.init(problem, x, key)
    estimate = hoisting_jit(lambda problem, x, state: method.estimate(problem, x, state, key)[0])
    gradient = ravel_pytree(estimate(problem, x, state))[0]

    directional, differences, uncertainties = [], [], []
    for direction_key in jax.random.split(key, directions):
        direction = jax.random.normal(direction_key, flat.shape, flat.dtype)
        direction = direction / jnp.linalg.norm(direction)
        difference, uncertainty = _extrapolated_difference(
            lambda step, d=direction: value(flat + step * d),
            scale=max(1.0, float(jnp.linalg.norm(flat)) / np.sqrt(flat.size)),
            noise=(5e-14 if double else 1e-6) * max(abs(at_x), 1.0),
            double=double,
        )
        directional.append(float(gradient @ direction))
        differences.append(difference)
        uncertainties.append(uncertainty)
    directional, differences, uncertainties = map(
        np.array, (directional, differences, uncertainties)
    )
    # Errors count relative to the whole gradient (a direction along which φ is flat says little)
    # and, where the gradient vanishes, to φ itself.
    typical = float(jnp.linalg.norm(gradient)) / np.sqrt(flat.size)
    flat_enough = (1e-4 if double else 1e-2) * max(abs(at_x), 1.0)
    size = np.maximum(
        np.maximum(np.abs(directional), np.abs(differences)), max(typical, flat_enough)
    )
    error = np.abs(directional - differences)
    relative = error / size
    trusted = uncertainties <= rtol * size
    agrees = error <= rtol * size + uncertainties
    ok = bool(agrees.all() and trusted.any())
    worst = float(relative[trusted].max()) if trusted.any() else float(relative.max())
    return GradientCheck(
        ok=ok,
        directional=directional,
        finite_difference=differences,
        uncertainty=uncertainties,
        relative_error=worst,
        verdict=_verdict(type(method).__name__, agrees, trusted, worst, rtol, double),
    )


def _extrapolated_difference(
    along, scale: float, noise: float, double: bool
) -> tuple[float, float]:
    """A central difference and how far it may be off, from Richardson's table over step sizes.

    The entry whose neighbors agree best is the one where truncation and rounding are balanced;
    `noise`, the rounding error of φ, keeps a chance agreement at tiny steps from winning.
    """
    steps = scale * (1e-2 if double else 0.3) * 0.25 ** np.arange(8)
    central = [(along(h) - along(-h)) / (2 * h) for h in steps]
    best, uncertainty = central[0], np.inf
    previous = [central[0]]
    for step, first in zip(steps[1:], central[1:], strict=True):
        row = [first]
        for order, coarse in enumerate(previous, start=1):
            row.append(row[-1] + (row[-1] - coarse) / (16.0**order - 1))
            spread = max(abs(row[-1] - row[-2]), abs(row[-1] - coarse)) + noise / step
            if spread < uncertainty:
                best, uncertainty = row[-1], spread
        previous = row
    return best, uncertainty


def _verdict(name: str, agrees, trusted, worst: float, rtol: float, double: bool) -> str:
    """The outcome in words."""
    count = len(agrees)
    if not trusted.any():
        advice = (
            "φ is too rough or too flat around x for finite differences (try another x or a "
            "higher temperature)"
            if double
            else "JAX is set to float32; call jax.config.update('jax_enable_x64', True) first"
        )
        return (
            f"Undecided: the finite differences themselves are not accurate to {rtol:g}; {advice}."
        )
    if agrees.all():
        return (
            f"Good: {name}'s hyper-gradient agrees with finite differences along {count} random "
            f"directions (largest relative error {worst:.1e})."
        )
    return (
        f"Bad: {name}'s hyper-gradient disagrees with finite differences along "
        f"{count - int(agrees.sum())} of {count} random directions (largest relative error "
        f"{worst:.1e}). Likely causes: a part of follower or objective that JAX cannot "
        "differentiate (rounding, argmax, stop_gradient, NumPy calls on x), or, for a method "
        "other than Exact, a state that is not at its fixed point."
    )
