import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax.test_util import check_grads

from mdps import seeds
from sobirl.solvers.linear import (
    LU,
    back_substitute,
    back_substitute_transposed,
    factorize,
    linear_solve,
    refined_solve,
    sequential_on_cpu,
)

SIZE = 6

both_ways = pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])


def random_system(seed, discount=0.99):
    """I - γP, another such matrix near it, and a right-hand side."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.ones(SIZE), size=SIZE)
    nearby = rows * (1 + 1e-3 * rng.uniform(-1, 1, size=rows.shape))
    nearby = nearby / nearby.sum(axis=-1, keepdims=True)
    b = jnp.asarray(rng.normal(size=SIZE))
    return *(jnp.asarray(np.eye(SIZE) - discount * p) for p in (rows, nearby)), b


@functools.partial(jax.jit, static_argnames=("rtol", "transposed"))
def refined(matrix, b, lu, rtol=1e-12, transposed=False):
    return refined_solve(matrix, b, lu, rtol, transposed)


def reference(matrix, b, transposed):
    return np.linalg.solve(matrix.T if transposed else matrix, b)


@given(seed=seeds)
def test_factors_multiply_to_the_matrix(seed):
    matrix = jnp.asarray(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))
    lu = factorize(matrix)
    lower, upper = np.tril(lu.factors, -1) + np.eye(SIZE), np.triu(lu.factors)
    np.testing.assert_allclose(lower @ upper, matrix[lu.permutation], atol=1e-13)


@both_ways
@given(seed=seeds)
def test_back_substitution_solves_any_matrix(transposed, seed):
    rng = np.random.default_rng(seed)
    matrix, b = jnp.asarray(rng.normal(size=(SIZE, SIZE))), jnp.asarray(rng.normal(size=SIZE))
    substitute = back_substitute_transposed if transposed else back_substitute
    operator = matrix.T if transposed else matrix
    np.testing.assert_allclose(operator @ substitute(factorize(matrix), b), b, atol=1e-10)


@pytest.mark.parametrize("substitute", [back_substitute, back_substitute_transposed])
def test_the_identity_changes_nothing(substitute):
    b = jnp.arange(SIZE, dtype=float)
    np.testing.assert_array_equal(substitute(LU.identity(SIZE, b.dtype), b), b)


@both_ways
def test_linear_solve_and_its_derivatives(transposed):
    matrix, _, b = random_system(0, discount=0.9)
    solution = linear_solve(matrix, b, transposed)
    np.testing.assert_allclose(solution, reference(matrix, b, transposed), rtol=1e-12)
    check_grads(
        jax.jit(lambda matrix, b: linear_solve(matrix, b, transposed)),
        (matrix, b),
        order=2,
        rtol=1e-4,
    )


@both_ways
@pytest.mark.parametrize("factors", ["exact", "nearby", "identity"])
@given(seed=seeds)
def test_refined_solve(factors, transposed, seed):
    matrix, nearby, b = random_system(seed)
    lu = {
        "exact": factorize(matrix),
        "nearby": factorize(nearby),
        "identity": LU.identity(SIZE, b.dtype),
    }[factors]
    got = refined(matrix, b, lu, transposed=transposed)
    assert got.ok
    assert got.relative_residual <= 1e-12
    np.testing.assert_allclose(got.solution, reference(matrix, b, transposed), rtol=1e-9)


@both_ways
def test_the_residual_is_reported_in_the_norm_of_the_contraction(transposed):
    matrix, nearby, b = random_system(0)
    got = refined(matrix, b, factorize(nearby), rtol=0.1, transposed=transposed)
    residual, norm = b - (matrix.T if transposed else matrix) @ got.solution, np.linalg.norm
    order = 1 if transposed else np.inf
    np.testing.assert_allclose(
        got.relative_residual, norm(residual, order) / norm(b, order), rtol=1e-9
    )
    assert got.ok
    assert 1e-9 < got.relative_residual <= 0.1


def test_refinement_improves_on_nearby_factors():
    matrix, nearby, b = random_system(0)
    exact = reference(matrix, b, False)
    unrefined = np.max(np.abs(back_substitute(factorize(nearby), b) - exact))
    solution = refined(matrix, b, factorize(nearby)).solution
    assert np.max(np.abs(solution - exact)) < 1e-8 * unrefined


def test_a_right_hand_side_of_zero():
    matrix, nearby, b = random_system(0)
    got = refined(matrix, jnp.zeros_like(b), factorize(nearby))
    assert got.ok
    assert got.relative_residual == 0
    np.testing.assert_array_equal(got.solution, 0)


@both_ways
@given(seed=seeds)
def test_a_tiny_right_hand_side(transposed, seed):
    matrix, _, b = random_system(seed)
    tiny = 10 * jnp.finfo(b.dtype).tiny
    assert refined(matrix, tiny * b, factorize(matrix), transposed=transposed).ok


@both_ways
def test_a_singular_matrix_is_not_ok(transposed):
    _, _, b = random_system(0)
    singular = jnp.eye(SIZE).at[0, 0].set(0)
    lu = LU.identity(SIZE, b.dtype)
    assert not refined(singular, b, lu, transposed=transposed).ok


@both_ways
def test_batches_agree_with_loops(transposed):
    matrices, others, rights = (
        jnp.stack(x) for x in zip(*map(random_system, range(3)), strict=True)
    )

    def solve(matrix, other, b):
        near = refined_solve(matrix, b, factorize(other), 1e-12, transposed)
        return near.solution, linear_solve(matrix, b, transposed)

    expected = [
        reference(matrix, b, transposed) for matrix, b in zip(matrices, rights, strict=True)
    ]
    for solution in jax.jit(jax.vmap(solve))(matrices, others, rights):
        np.testing.assert_allclose(solution, expected, rtol=1e-9)


@pytest.mark.parametrize("in_axes", [(0, None), (None, 0), (0, 0), (1, 0)])
def test_sequential_map_takes_any_mixture_of_batched_arguments(in_axes):
    def function(x, scale):
        return {"product": x * scale, "sum": jnp.sum(x)}

    shapes = {0: (4, 3), 1: (3, 4), None: (3,)}
    x = jnp.arange(float(np.prod(shapes[in_axes[0]]))).reshape(shapes[in_axes[0]])
    scale = jnp.arange(4.0) if in_axes[1] == 0 else jnp.asarray(2.0)
    got = jax.vmap(sequential_on_cpu(function), in_axes)(x, scale)
    expected = jax.vmap(function, in_axes)(x, scale)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_sequential_map_nests():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    nested = jax.vmap(jax.vmap(sequential_on_cpu(lambda x: jnp.sum(x))))
    np.testing.assert_array_equal(nested(x), x.sum(axis=-1))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="batched elsewhere")
def test_each_element_of_a_batch_stops_at_its_own_time():
    runs = []

    def body(count):
        jax.debug.callback(lambda: runs.append(1))
        return count + 1

    def count_to(limit):
        return jax.lax.while_loop(lambda count: count < limit, body, jnp.zeros_like(limit))

    counts = jax.vmap(sequential_on_cpu(count_to))(jnp.array([1, 2, 10]))
    jax.effects_barrier()
    np.testing.assert_array_equal(counts, [1, 2, 10])
    assert len(runs) == 13
