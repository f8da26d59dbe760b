import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.core.errors import InvalidInputError
from sobirl.mdp import Dense, PolicySystem, Product, SuccessorList
from sobirl.solvers.linear import AutoLinear, Kronecker, Krylov, SweepsFirst, direct_solver

SIZES = (3, 4, 2)


def fleet(rng, sizes=SIZES, discount=0.99):
    """Components of two actions, of which one at a time may take the second; a random policy."""
    tables = [rng.dirichlet(np.full(m, 0.2), size=(m, 2)) for m in sizes]
    law = Product(tables, np.eye(len(sizes) + 1, len(sizes), -1, dtype=int))
    policy = rng.dirichlet(np.ones(law.shape[1]), size=law.shape[0])
    return PolicySystem(law, jnp.asarray(discount * policy), jnp.asarray(discount))


def multiply_by_columns(multiply, size):
    return jax.vmap(multiply, out_axes=1)(jnp.eye(size))


def test_the_inverse_is_exact_where_components_are_independent():
    rng = np.random.default_rng(0)
    tables = [rng.dirichlet(np.ones(m), size=(m, 2)) for m in (3, 4)]
    law = Product(tables, [[i, j] for i in range(2) for j in range(2)])
    own = [rng.dirichlet(np.ones(2), size=m) for m in (3, 4)]
    policy = np.einsum("ia,jb->ijab", *own).reshape(12, 4)
    # So small a discount that nothing is left of the series where it is cut off.
    system = PolicySystem(law, jnp.asarray(1e-9 * policy), jnp.asarray(1e-9))
    got = multiply_by_columns(Kronecker().inverse(system, transposed=False), 12)
    np.testing.assert_allclose(got, np.linalg.inv(system.as_matrix()), rtol=0, atol=1e-15)


def test_the_transposed_inverse_is_the_transpose():
    system = fleet(np.random.default_rng(1))
    plain, transposed = (
        multiply_by_columns(Kronecker().inverse(system, transposed=t), system.size)
        for t in (False, True)
    )
    np.testing.assert_allclose(transposed, plain.T, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
@pytest.mark.parametrize("discount", [0.9, 0.9999])
def test_a_few_products_solve_the_system(transposed, discount):
    rng = np.random.default_rng(2)
    system, b = fleet(rng, discount=discount), jnp.asarray(rng.normal(size=24))
    solver = Krylov(restart=12, preconditioner=Kronecker())
    got = solver.solve(system, b, (), 1e-10, transposed)
    assert got.ok
    matrix = system.as_matrix()
    exact = np.linalg.solve(matrix.T if transposed else matrix, b)
    np.testing.assert_allclose(got.solution, exact, rtol=0, atol=1e-8 * np.abs(exact).max())
    assert got.work.sweeps < 40


def test_products_are_preconditioned_by_default():
    rng = np.random.default_rng(3)
    chosen = AutoLinear().resolve(fleet(rng, sizes=(30, 80)))
    assert isinstance(chosen, SweepsFirst)
    assert chosen.direct == Krylov(restart=10, preconditioner=Kronecker())
    alone = Product([SuccessorList(np.zeros((2400, 1, 1), int), np.ones((2400, 1, 1)))], [[0]])
    assert direct_solver(PolicySystem(alone, jnp.ones((2400, 1)), None)) == Krylov()


def test_other_laws_are_refused():
    rows = np.random.default_rng(4).dirichlet(np.ones(3), size=(3, 2))
    system = PolicySystem(Dense(rows), jnp.full((3, 2), 0.4), jnp.asarray(0.8))
    with pytest.raises(InvalidInputError, match=r"preconditioner: Kronecker\(\) needs a Product"):
        Krylov(preconditioner=Kronecker()).solve(system, jnp.ones(3), (), 1e-8)
