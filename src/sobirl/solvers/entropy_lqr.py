"""A lower level without tables: the entropy-regularized linear-quadratic regulator."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.stats import multivariate_normal
from jaxtyping import Array, Float, Int, Key

from sobirl.core.checks import Numbers, as_float_array, check, check_shape
from sobirl.core.errors import ConvergenceError
from sobirl.core.status import Status
from sobirl.solvers.riccati import Quadratic, riccati

_RESIDUAL = 1e6  # in units of rounding: what the last backup may still change


class GaussianResponse(eqx.Module):
    """What an `EntropyLQR` answers: u ~ N(-Ks, Σ), of value V(s) = c - s'Ps.

    Attributes:
        gain: K (m,n).
        covariance: Σ (m,m).
        curvature: P (n,n).
        offset: c.
        residual: the Riccati equation's, relative to P.
        status_code: how the solve ended, a `Status` as an integer.
    """

    gain: Float[Array, "m n"]
    covariance: Float[Array, "m m"]
    curvature: Float[Array, "n n"]
    offset: Float[Array, ""]
    residual: Float[Array, ""]
    status_code: Int[Array, ""]

    @property
    def status(self) -> Status | Int[Array, ""]:
        """How the solve ended; an integer inside compiled programs."""
        code = self.status_code
        return code if isinstance(code, jax.core.Tracer) or code.ndim else Status(int(code))

    def value(self, state: Float[Array, "... n"]) -> Float[Array, "..."]:
        """V(s)."""
        return self.offset - jnp.einsum("...i,ij,...j->...", state, self.curvature, state)

    def mean(self, state: Float[Array, "... n"]) -> Float[Array, "... m"]:
        """The mean action -Ks."""
        return -state @ self.gain.T

    def sample(self, key: Key[Array, ""], state: Float[Array, "... n"]) -> Float[Array, "... m"]:
        """An action in every state."""
        mean = self.mean(state)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        return mean + noise @ jnp.linalg.cholesky(self.covariance).T

    def log_prob(
        self, state: Float[Array, "... n"], action: Float[Array, "... m"]
    ) -> Float[Array, "..."]:
        """log π(u|s)."""
        zero = jnp.zeros(len(self.gain), self.gain.dtype)
        off = action - self.mean(state)
        return jnp.asarray(multivariate_normal.logpdf(off, zero, self.covariance))


class EntropyLQR(eqx.Module):
    """A follower with linear dynamics, quadratic costs and entropy: u ~ N(-Ks, Σ) is its best.

        maximize E[Σ_t γ^t (-s_t'Q s_t - u_t'R u_t - τ log π(u_t|s_t))]
        s_{t+1} = A s_t + B u_t + noise of covariance N

    With P the solution of the discounted Riccati equation and S = R + γB'PB,

        K = γ S⁻¹B'PA,   Σ = (τ/2) S⁻¹,   V(s) = c - s'Ps,
        c = (τ/2 (m log πτ - log det S) - γ tr(PN))/(1 - γ).

    A pytree of arrays and a `LowerLevel`: `sobirl.solve` solves it, `BilevelProblem` takes it, and
    `Exact` gives its hyper-gradient. The response is differentiable in every array, implicitly.

    Args:
        A: (n,n).
        B: (n,m).
        Q: costs of states (n,n), symmetric and positive semidefinite.
        R: costs of actions (m,m), symmetric and positive definite.
        discount: γ in (0, 1).
        temperature: τ > 0, in units of reward.
        noise: N (n,n), symmetric and positive semidefinite; none by default.

    Raises:
        InvalidInputError: an argument has the wrong shape, or is not what it has to be.

    Source: Kudo et al. (2026), the thermal control problem; without the entropy Bertsekas, Dynamic
    Programming and Optimal Control I, section 4.1.
    """

    A: Float[Array, "n n"]
    B: Float[Array, "n m"]
    Q: Float[Array, "n n"]
    R: Float[Array, "m m"]
    discount: Float[Array, ""]
    temperature: Float[Array, ""]
    noise: Float[Array, "n n"]

    def __init__(
        self,
        A: Numbers,
        B: Numbers,
        Q: Numbers,
        R: Numbers,
        discount: Numbers,
        temperature: Numbers,
        noise: Numbers | None = None,
    ):
        self.B = as_float_array("B", B)
        check("B", self.B.ndim, self.B.ndim == 2, "must have two axes, states and actions")
        states, actions = self.B.shape
        self.A = _square("A", A, states)
        self.Q = _square("Q", Q, states, lowest=0.0)
        self.R = _square("R", R, actions, lowest=float(jnp.finfo(self.B.dtype).tiny))
        none = jnp.zeros((states, states), self.A.dtype)
        self.noise = none if noise is None else _square("noise", noise, states, lowest=0.0)
        self.discount = as_float_array(
            "discount", discount, "must lie in (0, 1)", lambda d: (d > 0) & (d < 1)
        )
        self.temperature = as_float_array(
            "temperature", temperature, "must be positive", lambda t: t > 0
        )
        for name in ("discount", "temperature"):
            check_shape(name, getattr(self, name), ())

    def solve(self, *, initial_value: Any = None, throw: bool = True) -> GaussianResponse:
        """The optimal policy and its value.

        Args:
            initial_value: unused: the doubling algorithm has no use for a first guess.
            throw: raise if no gain keeps the discounted costs finite. With False look at `status`.

        Raises:
            ConvergenceError: there is no solution (inside `jit`, JAX raises its own runtime error
                with the same text).
        """
        del initial_value
        response = self._respond()
        failed = response.status_code != Status.CONVERGED
        if not throw:
            return response
        advice = (
            "The Riccati equation has no finite solution: no gain keeps the follower's discounted "
            "costs finite, or A, B, Q, R hold NaN or huge entries."
        )
        if isinstance(failed, jax.core.Tracer):
            return eqx.error_if(response, failed, advice)
        if failed.any():
            raise ConvergenceError(advice)
        return response

    @eqx.filter_jit
    def _respond(self) -> GaussianResponse:
        problem = Quadratic(self.A, self.B, self.Q, self.R, self.discount)
        P = riccati(problem)
        gain, S = problem.control(P)
        entropy = len(S) * jnp.log(jnp.pi * self.temperature) - jnp.linalg.slogdet(S)[1]
        gains = self.temperature / 2 * entropy - self.discount * jnp.sum(P * self.noise)
        residual = jax.lax.stop_gradient(
            jnp.max(jnp.abs(problem.backup(P) - P)) / jnp.max(jnp.abs(P))
        )
        good = residual <= _RESIDUAL * jnp.finfo(P.dtype).eps
        return GaussianResponse(
            gain=gain,
            covariance=self.temperature / 2 * jnp.linalg.inv(S),
            curvature=P,
            offset=gains / (1 - self.discount),
            residual=residual,
            status_code=jnp.where(good, Status.CONVERGED, Status.NOT_FINITE).astype(jnp.int32),
        )

    def moments(
        self,
        response: GaussianResponse,
        mean: Float[Array, "n"],
        covariance: Float[Array, "n n"],
        horizon: int,
    ) -> tuple[Float[Array, "T n"], Float[Array, "T n n"]]:
        """Mean and covariance of s_t for t = 0..T-1, from those of s_0; exact."""
        F = self.A - self.B @ response.gain
        noise = self.B @ response.covariance @ self.B.T + self.noise

        def step(state, _):
            mean, covariance = state
            return (F @ mean, F @ covariance @ F.T + noise), state

        return jax.lax.scan(step, (mean, covariance), None, length=horizon)[1]


def _square(
    name: str, matrix: Numbers, size: int, lowest: float | None = None
) -> Float[Array, "k k"]:
    """A square matrix; with `lowest`, symmetric and of eigenvalues that are no lower."""
    array = as_float_array(name, matrix)
    check_shape(name, array, (size, size))
    if lowest is None or isinstance(array, jax.core.Tracer):
        return array
    scale = jnp.finfo(array.dtype).eps * len(array) * jnp.max(jnp.abs(array))
    check(name, array, jnp.abs(array - array.T) <= 4 * scale, "must be symmetric")
    least = jnp.linalg.eigvalsh(array)[0]
    kind = "semidefinite" if lowest == 0 else "definite"
    allowed = least >= (-4 * scale if lowest == 0 else lowest)
    check(name, least, allowed, f"must be positive {kind}; its least eigenvalue")
    return array
