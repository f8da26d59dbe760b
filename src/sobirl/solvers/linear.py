"""Dense policy systems (I - γP_π) x = b and their transposes, factored once and reused."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def sequential_on_cpu(function: Callable) -> Callable:
    """`function`, whose `vmap` on CPU is a loop and elsewhere an ordinary batch.

    Batched LAPACK calls on a CPU gain nothing over a loop, and two independent ones in the same
    loop body can hang for ever in jaxlib 0.10. In a loop, `while` and `cond` inside `function`
    also stop at each element's own time.
    """
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def rule(axis_size, in_batched, *args):
        leaves, treedef = jax.tree.flatten(args)
        is_batched = jax.tree.leaves(in_batched)

        def over_batch(call, batch):
            batch = iter(batch)
            chosen = [next(batch) if b else x for x, b in zip(leaves, is_batched, strict=True)]
            return call(*jax.tree.unflatten(treedef, chosen))

        batch = [x for x, b in zip(leaves, is_batched, strict=True) if b]
        if default_platform() == "cpu":
            # An outer `vmap` meets `mapped` again in the loop's body, and loops once more.
            out = jax.lax.map(lambda xs: over_batch(mapped, xs), batch)
        else:
            out = jax.vmap(lambda xs: over_batch(function, xs))(batch)
        return out, jax.tree.map(lambda _: True, out)

    return mapped


def default_platform() -> str:
    """Where JAX computes by default. (`lax.platform_dependent` would trace every branch.)"""
    # pyrefly: ignore[missing-attribute]  # made at run time, as every option of JAX
    device = jax.config.jax_default_device
    return getattr(device, "platform", device) or jax.default_backend()


class LU(eqx.Module):
    """A factored matrix: A[permutation] = L U."""

    factors: Float[Array, "S S"]
    permutation: Int[Array, "S"]

    @classmethod
    def identity(cls, size: int, dtype) -> "LU":
        """The factorization of the identity matrix: a preconditioner that does nothing."""
        return cls(jnp.eye(size, dtype=dtype), jnp.arange(size, dtype=jnp.int32))


@sequential_on_cpu
def factorize(matrix: Float[Array, "S S"]) -> LU:
    """The LU factorization of `matrix` with partial pivoting."""
    factors, _, permutation = jax.lax.linalg.lu(matrix)
    return LU(factors, permutation)


@sequential_on_cpu
def back_substitute(lu: LU, b: Float[Array, "S"]) -> Float[Array, "S"]:
    """x with A x = b."""
    triangle = functools.partial(jax.lax.linalg.triangular_solve, lu.factors, left_side=True)
    x = b[lu.permutation, None]
    x = triangle(x, lower=True, unit_diagonal=True)
    return triangle(x, lower=False)[:, 0]


@sequential_on_cpu
def back_substitute_transposed(lu: LU, b: Float[Array, "S"]) -> Float[Array, "S"]:
    """x with Aᵀ x = b."""
    triangle = functools.partial(
        jax.lax.linalg.triangular_solve, lu.factors, left_side=True, transpose_a=True
    )
    x = triangle(b[:, None], lower=False)
    x = triangle(x, lower=True, unit_diagonal=True)[:, 0]
    return jnp.zeros_like(x).at[lu.permutation].set(x, unique_indices=True)


def linear_solve(
    matrix: Float[Array, "S S"],
    b: Float[Array, "S"],
    transposed: bool = False,
    lu: LU | None = None,
) -> Float[Array, "S"]:
    """x with A x = b (or Aᵀ x = b), differentiable in A and b in every mode, one factorization."""
    lu = factorize(jax.lax.stop_gradient(matrix)) if lu is None else lu
    operator = matrix.T if transposed else matrix
    forward, backward = (
        (back_substitute_transposed, back_substitute)
        if transposed
        else (back_substitute, back_substitute_transposed)
    )
    return jax.lax.custom_linear_solve(
        lambda x: operator @ x,
        b,
        solve=lambda _, b: forward(lu, b),
        transpose_solve=lambda _, b: backward(lu, b),
    )


# A refinement that reduces the residual by less is dearer than factors of the matrix itself.
_PAYS = 0.05


class Refined(eqx.Module):
    """The solution of a linear system and what is known about its error."""

    solution: Float[Array, "S"]
    relative_residual: Float[Array, ""]
    ok: Bool[Array, ""]


def refined_solve(
    matrix: Float[Array, "S S"],
    b: Float[Array, "S"],
    lu: LU,
    rtol: float | Float[Array, ""],
    transposed: bool = False,
) -> Refined:
    """x with A x = b (or Aᵀ x = b) by iterative refinement with the factors of a *nearby* matrix.

    The last factorization of soft policy iteration belongs to the policy before the last, so a
    refinement or two suffice; where they stall, A itself is factored.

    Args:
        matrix: A (S,S) = I - γP_π.
        b: right-hand side (S,).
        lu: factors of A or of a matrix close to it.
        rtol: asked relative residual ‖b - Ax‖/‖b‖, in the norm in which A is bounded by 2
            (maximum norm; 1-norm when transposed), with a round-off floor.
        transposed: solve Aᵀ x = b instead.
    """
    solve = _solve_transposed if transposed else _solve_plain
    return solve(matrix, b, lu, rtol)


def _make_refined_solve(transposed: bool) -> Callable[..., Refined]:
    substitute = back_substitute_transposed if transposed else back_substitute

    def norm(x):
        return jnp.sum(jnp.abs(x)) if transposed else jnp.max(jnp.abs(x))

    @sequential_on_cpu
    def run(matrix, b, lu, rtol):
        info = jnp.finfo(b.dtype)

        def size_and_goal(x, residual):
            floor = 16 * (info.eps * (norm(b) + norm(x)) + len(b) * info.tiny)
            return norm(residual), jnp.maximum(rtol * norm(b), floor)

        def residual_of(x):
            return b - (x @ matrix if transposed else matrix @ x)

        def refine(lu):
            def improving(carry):
                x, residual, previous = carry
                size, goal = size_and_goal(x, residual)
                return (size > goal) & (size < _PAYS * previous)

            def improve(carry):
                x, residual, _ = carry
                better = x + substitute(lu, residual)
                return better, residual_of(better), norm(residual)

            start = substitute(lu, b)
            infinite = jnp.full((), jnp.inf, b.dtype)
            x, residual, _ = jax.lax.while_loop(
                improving, improve, (start, residual_of(start), infinite)
            )
            return x, residual

        x, residual = refine(lu)
        size, goal = size_and_goal(x, residual)
        x, residual = jax.lax.cond(
            size <= goal, lambda: (x, residual), lambda: refine(factorize(matrix))
        )
        size, goal = size_and_goal(x, residual)
        scale = jnp.where(norm(b) > 0, norm(b), 1.0)
        return Refined(x, size / scale, size <= goal)

    return run


_solve_plain = _make_refined_solve(False)
_solve_transposed = _make_refined_solve(True)
