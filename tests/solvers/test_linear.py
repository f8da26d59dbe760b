from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from mdps import seeds
from sobirl.mdp import Dense, PolicySystem, SuccessorList
from sobirl.solvers.linear import (
    AutoLinear,
    DenseLU,
    Krylov,
    LinearSolver,
    SparseLU,
    Sweeping,
    SweepsFirst,
    linear_solve,
    superlu,
)
from sobirl.solvers.linear.auto import DENSE_STATES, SMALL_STATES
from sobirl.solvers.linear.base import Work, conclude
from sobirl.solvers.linear.dense_lu import back_substitute, back_substitute_transposed, factorize
from sobirl.testing import ConformanceError, check_linear_solver

SIZE = 6
SOLVERS = [
    DenseLU(),
    pytest.param(SparseLU(), marks=pytest.mark.slow),  # its factors have tests of their own below
    pytest.param(Krylov(restart=8), marks=pytest.mark.slow),  # `test_kronecker.py` has GMRES
    Sweeping(patience=2000),
    # Two solvers in one program: a while to compile.
    pytest.param(SweepsFirst(SparseLU(), Sweeping(patience=40)), marks=pytest.mark.slow),
    pytest.param(SweepsFirst(Krylov(), Sweeping(patience=2000)), marks=pytest.mark.slow),
    AutoLinear(),
]

both_ways = pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_every_linear_solver_keeps_the_contract(solver):
    check_linear_solver(solver)


class Inverse(LinearSolver):
    """A stranger's solver, in one function."""

    name: ClassVar[str] = "inverse"

    def solve(self, system, b, state, rtol, transposed=False):
        inverse = jnp.linalg.inv(system.as_matrix())
        inverse = inverse.T if transposed else inverse
        x = inverse @ b
        residual = b - (system.rmv(x) if transposed else system.mv(x))
        return conclude(b, x, residual, rtol, transposed, state, Work.of())


class Hopeful(Inverse):
    """Says that all is well."""

    name: ClassVar[str] = "hopeful"

    def solve(self, system, b, state, rtol, transposed=False):
        got = super().solve(system, b, state, rtol, transposed)
        return eqx.tree_at(lambda g: g.ok, got, jnp.array(True))


class Sideways(Inverse):
    """Has never heard of the transpose."""

    name: ClassVar[str] = "sideways"

    def solve(self, system, b, state, rtol, transposed=False):
        return super().solve(system, b, state, rtol)


def test_a_stranger_is_held_to_it():
    check_linear_solver(Inverse())
    with pytest.raises(ConformanceError, match=r"hopeful: a .* is reported as solved"):
        check_linear_solver(Hopeful())
    with pytest.raises(ConformanceError, match="sideways: transposed system with uniform"):
        check_linear_solver(Sideways())


def random_matrix(seed):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(SIZE, SIZE))), jnp.asarray(rng.normal(size=SIZE))


@given(seed=seeds)
def test_factors_multiply_to_the_matrix(seed):
    matrix, _ = random_matrix(seed)
    lu = factorize(matrix)
    lower, upper = np.tril(lu.factors, -1) + np.eye(SIZE), np.triu(lu.factors)
    np.testing.assert_allclose(lower @ upper, matrix[lu.permutation], atol=1e-13)


@both_ways
@given(seed=seeds)
def test_back_substitution_solves_any_matrix(transposed, seed):
    matrix, b = random_matrix(seed)
    substitute = back_substitute_transposed if transposed else back_substitute
    operator = matrix.T if transposed else matrix
    np.testing.assert_allclose(operator @ substitute(factorize(matrix), b), b, atol=1e-10)


def random_system(seed, discount=0.99, noise=0.0):
    """A policy system over a full table; with noise, one near it."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.ones(SIZE), size=(SIZE, 1))
    rows = rows * (1 + noise * rng.uniform(-1, 1, size=rows.shape))
    rows = rows / rows.sum(axis=-1, keepdims=True)
    discount = jnp.asarray(discount)
    system = PolicySystem(Dense(rows), discount * jnp.ones((SIZE, 1)), discount)
    return system, jnp.asarray(rng.normal(size=SIZE))


@both_ways
def test_nearby_factors_serve_and_others_do_not(transposed):
    (system, b), (nearby, _), (other, _) = (
        random_system(0),
        random_system(0, noise=1e-3),
        random_system(1),
    )
    solver = DenseLU()
    for near, factorizations in ((system, 0), (nearby, 0), (other, 1)):
        got = solver.solve(system, b, factorize(near.as_matrix()), 1e-12, transposed)
        assert got.ok
        assert got.work.factorizations == factorizations


@both_ways
@given(seed=seeds)
def test_a_tiny_right_hand_side(transposed, seed):
    system, b = random_system(seed)
    tiny = 10 * jnp.finfo(b.dtype).tiny
    state = factorize(system.as_matrix())
    assert DenseLU().solve(system, tiny * b, state, 1e-12, transposed).ok


def chain(size, discount, reach=1):
    """Neighbors only, both ways: a system without fill-in that mixes slowly."""
    states = np.arange(size)[:, None, None]
    successors = np.clip(states + np.array([-reach, reach]), 0, size - 1)
    transition = SuccessorList(successors, np.full(successors.shape, 0.5))
    discount = jnp.asarray(discount)
    return PolicySystem(transition, discount * jnp.ones((size, 1)), discount)


def scattered(size, discount, rng):
    """Successors anywhere: a system that mixes fast."""
    transition = SuccessorList(
        rng.integers(0, size, size=(size, 1, 4)), rng.dirichlet(np.ones(4), (size, 1))
    )
    discount = jnp.asarray(discount)
    return PolicySystem(transition, discount * jnp.ones((size, 1)), discount)


@both_ways
@pytest.mark.parametrize("discount", [0.99, 0.9999])
def test_sweeps_do_not_mind_the_discount_where_mixing_is_fast(discount, transposed):
    rng = np.random.default_rng(0)
    system = scattered(300, discount, rng)
    for b in (jnp.full(300, 1 / 300), jnp.asarray(rng.normal(size=300))):
        got = Sweeping().solve(system, b, Sweeping().init(system), 1e-10, transposed)
        assert got.ok
        assert got.work.sweeps <= 90  # plain sweeps would take 2,300 or 230,000


def test_sweeps_give_up_early_where_mixing_is_slow():
    system = chain(500, 0.9999)
    b = jnp.zeros(500).at[0].set(1.0)
    got = Sweeping().solve(system, b, Sweeping().init(system), 1e-10)
    assert not got.ok
    assert got.work.sweeps <= 100


@both_ways
def test_what_sweeps_give_up_is_solved_directly(transposed):
    system = chain(500, 0.9999)
    b = jnp.zeros(500).at[0].set(1.0)
    solver = SweepsFirst(SparseLU())
    got = solver.solve(system, b, solver.init(system), 1e-10, transposed)
    assert got.ok
    assert got.work.factorizations == 1
    again = solver.solve(system, 2 * b, got.state, 1e-10, transposed)
    assert again.ok
    assert again.work.factorizations == 0


def test_an_earlier_solution_saves_sweeps():
    system = scattered(300, 0.99, np.random.default_rng(0))
    b = jnp.full(300, 1 / 300)
    first = Sweeping().solve(system, b, Sweeping().init(system), 1e-10, True)
    again = Sweeping().solve(system, b * 1.0001, first.state, 1e-10, True)
    assert again.ok
    assert again.work.sweeps < first.work.sweeps / 2


def test_factors_that_the_host_has_lost_are_made_again():
    system, solver = chain(50, 0.99), SparseLU()
    b = jnp.arange(50.0)
    state = solver.prepare(system, solver.init(system))
    first = solver.solve(system, b, state, 1e-12)
    superlu.drop_all()
    again = solver.solve(system, b, state, 1e-12)
    np.testing.assert_array_equal(first.solution, again.solution)
    assert again.work.factorizations == 0


def test_the_host_keeps_no_more_factors_than_fit(monkeypatch):
    superlu.drop_all()
    monkeypatch.setattr(superlu, "MEMORY", 1)
    solver, b = SparseLU(), jnp.arange(50.0)
    for discount in (0.9, 0.99):
        system = chain(50, discount)
        state = solver.prepare(system, solver.init(system))
        assert solver.solve(system, b, state, 1e-12).ok
        assert superlu.count() == 1


def test_factors_that_do_not_fit_into_memory_are_no_factors(monkeypatch):
    def fails(*args, **kwargs):
        raise MemoryError

    superlu.drop_all()
    monkeypatch.setattr("scipy.sparse.linalg.splu", fails)
    system, solver = chain(50, 0.97), SparseLU()
    got = solver.solve(system, jnp.ones(50), solver.init(system), 1e-12)
    assert not got.ok
    assert jnp.isnan(linear_solve(system, jnp.ones(50), solver=solver)).all()


def test_the_choice_looks_at_size_and_structure():
    def chosen(system):
        return AutoLinear().resolve(system)

    size = DENSE_STATES + 1
    assert isinstance(chosen(chain(SMALL_STATES, 0.9)), DenseLU)
    assert isinstance(chosen(chain(SMALL_STATES + 1, 0.9)).direct, DenseLU)
    assert isinstance(chosen(scattered(size, 0.9, np.random.default_rng(0))).direct, Krylov)
    assert isinstance(chosen(chain(size, 0.9)).direct, SparseLU)
    assert chosen(chain(size, 0.9)).description == "sweeps, sparse-lu"
