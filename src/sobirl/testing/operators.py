"""What every transition operator keeps to: one suite for ours and for yours."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.core.checks import Checked
from sobirl.core.errors import InvalidInputError
from sobirl.mdp import TransitionOperator
from sobirl.testing.conformance import ConformanceError, compiled, shown

# Sizes up to which tables of S·S and lists of all entries are looked at.
_MOST_STATES, _MOST_ENTRIES = 1_000, 10**7
_DRAWS = 2_000


def check_operator(operator: Checked[TransitionOperator], *, seed: int = 0) -> None:
    """Check that a transition operator keeps the contract that solvers and methods rely on.

    `shape` is (S,A); the rows of P are distributions; `push` is the transpose of `expect`;
    `matrix`, `sparse`, `num_entries`, `probability` and `expect_reward` describe the same law as
    `expect` does, and `next_state` draws from it. `expect` and `push` work inside `jit` and under
    `vmap`, and their derivatives agree with finite differences, forward and in reverse.

    Tables (S,S) are looked at up to 1,000 states, all else at any size. Call
    `jax.config.update("jax_enable_x64", True)` first.

    Args:
        operator: with concrete arrays.
        seed: of the numbers that are tried.

    Raises:
        ConformanceError: a part of the contract is not kept: one sentence says which.
        InvalidInputError: `operator` is none.
    """
    if not isinstance(operator, TransitionOperator):
        raise InvalidInputError(
            f"operator: expected a TransitionOperator, got {type(operator).__name__}"
        )
    suite = _Suite(operator, np.random.default_rng(seed))
    suite.shapes()
    suite.transformations()
    suite.rows()
    suite.transpose()
    suite.transposition()
    suite.matrices()
    suite.single_transitions()
    suite.places()
    suite.derivatives()


class _Suite:
    """The parts of the contract, on one operator with some random numbers."""

    def __init__(self, operator: TransitionOperator, rng: np.random.Generator):
        self.operator, self.rng = operator, rng
        shape = self.run("shape", lambda: operator.shape)
        right = isinstance(shape, tuple) and len(shape) == 2
        if not (right and all(isinstance(size, int) and size > 0 for size in shape)):
            raise self.error(f"`shape` must be (S, A), two positive integers, got {shape!r}")
        self.states, self.actions = shape
        self.values = jnp.asarray(rng.normal(size=self.states))
        self.weights = jnp.asarray(rng.normal(size=shape))
        # What rounding may add up to in a sum over all states, and in a single expectation.
        self.expect = compiled(lambda operator, values: operator.expect(values))
        self.near = float(np.sqrt(jnp.finfo(self.values.dtype).eps)) / 100
        self.far = max(self.near, 1e-5)

    def shapes(self) -> None:
        """Shapes of what comes out; numbers of any size must be possible."""
        self.ahead = self.run("expect(values)", lambda: self.operator.expect(self.values))
        self.arrived = self.run("push(weights)", lambda: self.operator.push(self.weights))
        for name, array, shape in (
            ("expect", self.ahead, (self.states, self.actions)),
            ("push", self.arrived, (self.states,)),
        ):
            if getattr(array, "shape", None) != shape:
                raise self.error(
                    f"`{name}` must return an array of shape {shape}, got "
                    f"{getattr(array, 'shape', type(array).__name__)}"
                )
        entries = self.run("num_entries", lambda: self.operator.num_entries)
        if not isinstance(entries, int) or entries < 1:
            raise self.error(f"`num_entries` must be a positive integer, got {entries!r}")
        band = self.run("bandwidth", lambda: self.operator.bandwidth)
        if band is not None and not (isinstance(band, int) and band >= 0):
            raise self.error(f"`bandwidth` must be None or an integer from 0, got {band!r}")

    def rows(self) -> None:
        """Rows sum to 1 and no probability is negative."""
        sums = self.expect(self.operator, jnp.ones(self.states))
        worst = float(jnp.abs(sums - 1).max())
        if not worst <= self.far:
            raise self.error(
                f"`expect` of ones must be ones: the probabilities of each state and action sum "
                f"to 1, but somewhere they miss it by {worst:.2g}"
            )
        if not self.run("is_nonnegative()", self.calls("is_nonnegative")):
            raise self.error("`is_nonnegative` is false: some probability is negative")
        # A negative probability of a state shows where all else counts 0.
        for _ in range(8):
            positive = jnp.asarray(self.rng.random(self.states) < 0.5, self.values.dtype)
            if float(self.expect(self.operator, positive).min()) < -self.near:
                raise self.error(
                    "`expect` of a function from 0 to 1 is negative somewhere, but "
                    "`is_nonnegative` says that no probability is"
                )

    def transpose(self) -> None:
        """⟨expect(v), m⟩ = ⟨v, push(m)⟩, in the whole and for single states."""
        whole = float(jnp.vdot(self.ahead, self.weights))
        back = float(jnp.vdot(self.values, self.arrived))
        size = float(jnp.abs(self.ahead * self.weights).sum()) + 1.0
        if not abs(whole - back) <= self.near * size:
            raise self.error(
                f"`push` must be the transpose of `expect`: with random v and m, ⟨expect(v), m⟩ is "
                f"{whole:.10g} but ⟨v, push(m)⟩ is {back:.10g}"
            )

    def transposition(self) -> None:
        """Solvers transpose systems: JAX must be able to, and finds the other product."""
        expect, push = self.operator.expect, self.operator.push
        values, weights = self.values, self.weights
        turned = lambda of, like, x: jax.linear_transpose(lambda y: of(y), like)(x)[0]  # noqa: E731
        for name, found, right, what in (
            ("expect", lambda: turned(expect, values, weights), self.arrived, "push"),
            ("push", lambda: turned(push, weights, values), self.ahead, "expect"),
        ):
            transpose = f"jax.linear_transpose({name})"
            self.same(transpose, self.run(transpose, compiled(found)), right, what)

    def matrices(self) -> None:
        """`matrix`, `sparse` and `expect_reward` against `expect`."""
        right = jnp.sum(self.weights * self.ahead, axis=-1)
        entries = self.operator.num_entries
        if self.states <= _MOST_STATES:
            matrix = self.run("matrix(weights)", self.calls("matrix", self.weights))
            self.same("matrix(weights) @ v", matrix @ self.values, right, "Σ_a weights·expect(v)")
            reward = jnp.asarray(self.rng.normal(size=(self.states,)))
            table = jnp.broadcast_to(reward, (self.states, self.actions, self.states))
            self.same(
                "expect_reward(r) of a reward r(s')",
                self.run("expect_reward(r)", self.calls("expect_reward", table)),
                self.expect(self.operator, reward),
                "expect(r)",
            )
        if entries <= _MOST_ENTRIES:
            sparse = self.run("sparse(weights)", self.calls("sparse", self.weights))
            if sparse.nse != entries:
                raise self.error(
                    f"`num_entries` must be the number of entries of `sparse`, {sparse.nse}, got "
                    f"{entries}"
                )
            self.same("sparse(weights) @ v", sparse @ self.values, right, "Σ_a weights·expect(v)")

    def single_transitions(self) -> None:
        """`next_state` draws from P, and `probability` is P."""
        pairs = 4
        state = jnp.asarray(self.rng.integers(0, self.states, pairs), jnp.int32)
        action = jnp.asarray(self.rng.integers(0, self.actions, pairs), jnp.int32)
        uniform = jnp.asarray(self.rng.random((_DRAWS, pairs)))
        start, by = (jnp.broadcast_to(i, uniform.shape) for i in (state, action))
        drawn = self.run(
            "next_state(u, s, a)", lambda: self.operator.next_state(uniform, start, by)
        )
        if drawn.shape != uniform.shape or drawn.dtype != state.dtype:
            raise self.error(
                f"`next_state` must return states like those it is given, {state.dtype}"
                f"{list(uniform.shape)}, got {drawn.dtype}{list(drawn.shape)}"
            )
        if not bool(jnp.all((drawn >= 0) & (drawn < self.states))):
            raise self.error(f"`next_state` must return states from 0 to {self.states - 1}")
        chance = self.run("probability(s, a, s')", self.calls("probability", start, by, drawn))
        for place in range(pairs):
            seen, first, counts = np.unique(
                np.asarray(drawn[:, place]), return_index=True, return_counts=True
            )
            own = np.asarray(chance)[first, place]
            where = f"state {int(state[place])}, action {int(action[place])}"
            share = counts / _DRAWS
            spread = np.sqrt(np.clip(own * (1 - own), 0, None) / _DRAWS)
            wrong = np.abs(share - own) > 6 * spread + 6 / _DRAWS
            if wrong.any():
                bad = int(np.argmax(wrong))
                raise self.error(
                    f"`next_state` must draw from `probability`: {where} led to state "
                    f"{int(seen[bad])} in {share[bad]:.3f} of the draws, with probability "
                    f"{own[bad]:.3f}"
                )
            for then, probability in list(zip(seen.tolist(), own, strict=True))[:3]:
                unit = jnp.zeros(self.states).at[then].set(1.0)
                right = float(self.expect(self.operator, unit)[state[place], action[place]])
                if abs(right - probability) > self.near:
                    raise self.error(
                        f"`probability` must agree with `expect`: of {where} to state {then} they "
                        f"say {probability:.8g} and {right:.8g}"
                    )

    def places(self) -> None:
        """Places of successors, for operators that number them: tables (S,A,K) by place."""
        try:
            count = self.operator.num_successors
        except InvalidInputError:
            return
        if self.states * self.actions * count > _MOST_ENTRIES:
            return
        state, action = jnp.arange(self.states), jnp.zeros(self.states, int)
        drawn = self.calls("next_state", jnp.full(self.states, 0.5), state, action)()
        place = self.run("place(s, a, s')", self.calls("place", state, action, drawn))
        if not bool(jnp.all((place >= 0) & (place < count))):
            raise self.error(f"`place` must be below `num_successors`, {count}, and not negative")
        table = jnp.zeros((self.states, self.actions, count)).at[state, action, place].set(1.0)
        certain = self.run("reweighted(p)", lambda: self.operator.reweighted(table))
        self.same(
            "reweighted(p).expect(v) with p = 1 at the place of s'",
            self.expect(certain, self.values)[state, action],
            self.values[drawn],
            "v(s')",
        )

    def transformations(self) -> None:
        """`jit` with the operator as an argument, and `vmap` over what it is applied to."""
        both = lambda operator, v, m: (operator.expect(v), operator.push(m))  # noqa: E731
        values, weights = (jnp.stack([x, -x, 2 * x]) for x in (self.values, self.weights))
        single = self.run(
            "expect and push inside jit",
            lambda: compiled(both)(self.operator, self.values, self.weights),
        )
        many = self.run(
            "expect and push under vmap",
            lambda: compiled(jax.vmap(both, in_axes=(None, 0, 0)))(self.operator, values, weights),
        )
        for name, alone, inside, batch in zip(
            ("expect", "push"), (self.ahead, self.arrived), single, many, strict=True
        ):
            self.same(f"{name} inside jit", inside, alone, "outside")
            for place, factor in enumerate((1.0, -1.0, 2.0)):
                self.same(f"{name} under vmap", batch[place], factor * alone, "one by one")

    def derivatives(self) -> None:
        """In its arrays, in values and in weights: forward, in reverse, by finite differences."""
        numbers, rest = eqx.partition(self.operator, eqx.is_inexact_array)
        if not jax.tree.leaves(numbers):
            numbers = jnp.zeros(())  # nothing to move
            of = lambda _: self.operator  # noqa: E731
        else:
            of = lambda numbers: eqx.combine(numbers, rest)  # noqa: E731

        def both(inputs):
            numbers, values, weights = inputs
            operator = of(numbers)
            ahead, back = operator.expect(values), operator.push(weights)
            return jnp.vdot(self.weights, ahead**2) + jnp.vdot(self.values, back**2)

        point = (numbers, self.values, self.weights)
        along = jax.tree.map(lambda leaf: jnp.asarray(self.rng.normal(size=leaf.shape)), point)
        along = jax.tree.map(lambda leaf, way: way.astype(leaf.dtype), point, along)
        step = float(jnp.finfo(self.values.dtype).eps) ** (1 / 3)

        def moved(size):
            return jax.tree.map(lambda leaf, way: leaf + size * way, point, along)

        def slopes():
            value, forward = jax.jvp(both, (point,), (along,))
            products = jax.tree.map(jnp.vdot, jax.grad(both)(point), along)
            difference = (both(moved(step)) - both(moved(-step))) / (2 * step)
            return value, forward, sum(jax.tree.leaves(products)), difference

        value, forward, reverse, difference = self.run("differentiation", compiled(slopes))
        scale = abs(float(value)) / step * float(jnp.finfo(self.values.dtype).eps)
        size = abs(float(difference)) + float(jnp.sum(jnp.abs(self.weights) * self.ahead**2)) + 1
        for name, found in (("forward", forward), ("reverse", reverse)):
            if not abs(float(found) - float(difference)) <= 1e4 * step**2 * size + 100 * scale:
                raise self.error(
                    f"its derivative in {name} mode is {float(found):.8g} where finite differences "
                    f"give {float(difference):.8g}"
                )

    def same(
        self, name: str, found: Float[Array, "..."], right: Float[Array, "..."], what: str
    ) -> None:
        """Raise unless two arrays agree but for rounding."""
        if found.shape != right.shape:
            raise self.error(f"`{name}` must have shape {right.shape}, got {found.shape}")
        worst = float(jnp.abs(found - right).max())
        if not worst <= self.near * (float(jnp.abs(right).max()) + 1):
            raise self.error(f"`{name}` must agree with {what}, but they differ by {worst:.2g}")

    def calls(self, name: str, *arguments: Array) -> Callable[[], Any]:
        """A call of a method, compiled."""
        of = compiled(lambda operator, *arguments: getattr(operator, name)(*arguments))
        return lambda: of(self.operator, *arguments)

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        """What a call returns; what it raises is the operator's fault."""
        try:
            return call()
        except Exception as error:
            raise self.error(f"`{name}` raised {shown(error)}") from error

    def error(self, message: str) -> ConformanceError:
        return ConformanceError(f"{type(self.operator).__name__}: {message}")
