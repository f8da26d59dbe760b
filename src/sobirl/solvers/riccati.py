"""The discounted Riccati equation and the linear equation of its derivative, by doubling."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_MOST_DOUBLINGS = 60  # 2^60 steps of the plain iteration


class Quadratic(NamedTuple):
    """A discounted linear-quadratic problem: costs s'Qs + u'Ru, next state As + Bu."""

    A: Float[Array, "n n"]
    B: Float[Array, "n m"]
    Q: Float[Array, "n n"]
    R: Float[Array, "m m"]
    discount: Float[Array, ""]

    def control(self, P: Float[Array, "n n"]) -> tuple[Float[Array, "m n"], Float[Array, "m m"]]:
        """K = γ S⁻¹B'PA and S = R + γB'PB: the best action -Ks, and the curvature in actions."""
        S = self.R + self.discount * self.B.T @ P @ self.B
        return self.discount * jnp.linalg.solve(S, self.B.T @ P @ self.A), S

    def backup(self, P: Float[Array, "n n"]) -> Float[Array, "n n"]:
        """Q + γA'PA - γA'PB K: costs to go one step earlier."""
        K, _ = self.control(P)
        new = self.Q + self.discount * self.A.T @ P @ (self.A - self.B @ K)
        return (new + new.T) / 2


@jax.custom_jvp
def riccati(problem: Quadratic) -> Float[Array, "n n"]:
    """The fixed point P of `Quadratic.backup`: the costs to go are s'Ps.

    By the structure-preserving doubling algorithm, which converges quadratically. Differentiable
    to any order and in both modes by the implicit function theorem: with F = A - BK

        dP = dQ + K'dR K + ... + γF'dP F,

    a discounted Lyapunov equation. NaN where no gain keeps the discounted costs finite.

    Source: Chu, Fan, Lin, Wang, Structure-preserving algorithms for periodic discrete-time
    algebraic Riccati equations, International Journal of Control 77 (2004), algorithm 2.1.
    """
    root, eye = jnp.sqrt(problem.discount), jnp.eye(len(problem.A), dtype=problem.A.dtype)

    def step(state):
        A, G, H, _, count = state
        # One inverse for both uses: of two batched solves in a loop XLA's threads may never return.
        W = jnp.linalg.inv(eye + G @ H)
        change = A.T @ H @ W @ A
        new = A @ W @ A, G + A @ W @ G @ A.T, H + (change + change.T) / 2
        return *new, _settled(change, new[2]), count + 1

    A, B = root * problem.A, root * problem.B
    start = A, B @ jnp.linalg.solve(problem.R, B.T), problem.Q, jnp.array(False), 0
    P = jax.lax.while_loop(lambda s: ~s[3] & (s[4] < _MOST_DOUBLINGS), step, start)[2]
    return problem.backup(P)


@riccati.defjvp
def _riccati_jvp(primals, tangents):
    (problem,), (moved,) = primals, tangents
    P = riccati(problem)  # called again, so that the derivative can itself be differentiated
    _, change = jax.jvp(lambda problem: problem.backup(P), (problem,), (moved,))
    K, _ = problem.control(P)
    F = jnp.sqrt(problem.discount) * (problem.A - problem.B @ K)
    return P, lyapunov(F, change)


def lyapunov(F: Float[Array, "n n"], C: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """X = C + F'XF, differentiable to any order and in both modes.

    By doubling: X ← X + M'XM, M ← M². Finite if the eigenvalues of F lie within the unit circle.
    """
    return jax.lax.custom_linear_solve(
        lambda X: X - F.T @ X @ F,
        C,
        solve=lambda _, C: _doubled(F, C),
        transpose_solve=lambda _, C: _doubled(F.T, C),
    )


def _doubled(F, C):
    def step(state):
        X, M, _, count = state
        more = M.T @ X @ M
        return X + more, M @ M, _settled(more, X), count + 1

    start = C, F, jnp.array(False), 0
    return jax.lax.while_loop(lambda s: ~s[2] & (s[3] < _MOST_DOUBLINGS), step, start)[0]


def _settled(change: Float[Array, "n n"], X: Float[Array, "n n"]) -> Bool[Array, ""]:
    """Whether a change is lost in rounding; also, to end the loop, whether it is not finite."""
    small = jnp.max(jnp.abs(change)) <= jnp.finfo(X.dtype).eps * jnp.max(jnp.abs(X))
    return small | ~jnp.all(jnp.isfinite(change))
