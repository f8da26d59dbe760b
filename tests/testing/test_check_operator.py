"""The conformance suite of operators names what is wrong with one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laws import random_grid
from mdps import random_rows
from sobirl.core import InvalidInputError
from sobirl.hypergrad.transition_counts import TransitionCounts
from sobirl.mdp import Dense, TransitionOperator
from sobirl.testing import ConformanceError, check_operator

RNG = np.random.default_rng


class Strange(Dense):
    """A stranger's operator that keeps the contract; each one below breaks a part of it."""


class OtherPush(Strange):
    def push(self, weights):
        return super().push(weights[:, ::-1])


class Shape(Strange):
    @property
    def shape(self):
        return (5, 3, 5)


class Transposed(Strange):
    def expect(self, values):
        return super().expect(values).T


class NoDistribution(Strange):
    def expect(self, values):
        return 1.01 * super().expect(values)


class SaysPositive(Strange):
    def is_nonnegative(self):
        return jnp.array(True)


class OtherMatrix(Strange):
    def matrix(self, weights):
        return super().matrix(weights).T


class OtherReward(Strange):
    def expect_reward(self, reward):
        return super().expect_reward(reward) / 2


class OtherSparse(Strange):
    def sparse(self, weights):
        return super().sparse(2 * weights)


class OtherCount(Strange):
    @property
    def num_entries(self):
        return 7


class OtherDraws(Strange):
    def next_state(self, uniform, state, action):
        return super().next_state(uniform**2, state, action)


class OutOfRange(Strange):
    def next_state(self, uniform, state, action):
        return super().next_state(uniform, state, action) + 1


class WrongKind(Strange):
    def next_state(self, uniform, state, action):
        return super().next_state(uniform, state, action) * 1.0


class OtherProbability(Strange):
    def next_state(self, uniform, state, action):
        return jnp.zeros_like(state)

    def probability(self, state, action, next_state):
        return jnp.where(next_state == 0, 1.0, 0.0)


class OtherPlace(Strange):
    def place(self, state, action, next_state):
        return super().place(state, action, next_state) * 0


class NoTracers(Strange):
    def expect(self, values):
        return super().expect(values) if float(values[0]) > -100 else values


class NoTranspose(Strange):
    def expect(self, values):
        return super().expect(values + 0 * jnp.sin(values))


class NoDerivative(Strange):
    def expect(self, values):
        return jax.lax.stop_gradient(self.probabilities) @ values


class Raises(Strange):
    def sparse(self, weights):
        raise RuntimeError("no\nlines")


def negative():
    """Rows that sum to 1 with a negative probability; constructors would refuse them."""
    rows = random_rows(RNG(0))
    rows[2, 1] += np.array([-1.0, 1.0, 0.0, 0.0, 0.0])
    return rows


def made(kind, probabilities=None):
    law = kind(random_rows(RNG(0)))
    if probabilities is None:
        return law
    return eqx.tree_at(lambda t: t.probabilities, law, jnp.asarray(probabilities))


class Unnumbered(Strange):
    """One that leaves out what only fitted values need."""

    num_successors = TransitionOperator.num_successors
    place = TransitionOperator.place
    reweighted = TransitionOperator.reweighted


def test_passes_a_stranger():
    assert check_operator(made(Strange)) is None


def test_successors_need_not_be_numbered():
    operator = made(Unnumbered)
    check_operator(operator)
    with pytest.raises(InvalidInputError, match="Unnumbered does not number its successors"):
        TransitionCounts.empty(operator, float)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (made(OtherPush), r"OtherPush: `push` must be the transpose of `expect`: .*⟨v, push\(m\)⟩"),
        (made(Shape), r"Shape: `shape` must be \(S, A\), two positive integers, got \(5, 3, 5\)"),
        (made(Transposed), r"`expect` must return an array of shape \(5, 3\), got \(3, 5\)"),
        (made(NoDistribution), "`expect` of ones must be ones: .* miss it by 0.01"),
        (made(Dense, negative()), "`is_nonnegative` is false"),
        (made(SaysPositive, negative()), "is negative somewhere, but `is_nonnegative` says"),
        (made(OtherMatrix), r"`matrix\(weights\) @ v` must agree with"),
        (made(OtherReward), r"`expect_reward\(r\) of a reward r\(s'\)` must agree with expect"),
        (made(OtherSparse), r"`sparse\(weights\) @ v` must agree with"),
        (made(OtherCount), "`num_entries` must be the number of entries of `sparse`, 25, got 7"),
        (made(OtherDraws), "`next_state` must draw from `probability`: state . led|action"),
        (made(OutOfRange), "`next_state` must return states from 0 to 4"),
        (made(WrongKind), "`next_state` must return states like those it is given, int32"),
        (made(OtherProbability), "`probability` must agree with `expect`"),
        (
            made(OtherPlace),
            r"`reweighted\(p\).expect\(v\) with p = 1 at the place",
        ),
        (made(NoTracers), "`expect and push inside jit` raised"),
        (made(NoTranspose), r"`jax.linear_transpose\(expect\)` raised"),
        (made(NoDerivative), "its derivative in forward mode is .* finite differences"),
        (made(Raises), r"`sparse\(weights\)` raised RuntimeError: no$"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_names_what_is_wrong(operator, message):
    with pytest.raises(ConformanceError, match=message) as caught:
        check_operator(operator)
    assert "\n" not in str(caught.value)


def test_a_transposed_list_of_other_successors_is_found():
    """What no constructor can see: successors that were replaced afterwards."""
    law = random_grid(RNG(1))
    moved = eqx.tree_at(lambda t: t.successors, law, law.successors[:, ::-1])
    with pytest.raises(ConformanceError, match="SuccessorList: `push` must be the transpose"):
        check_operator(moved)


def test_something_else_is_no_operator():
    with pytest.raises(InvalidInputError, match="operator: expected a TransitionOperator, got flo"):
        check_operator(3.0)
