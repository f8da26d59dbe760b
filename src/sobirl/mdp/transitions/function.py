"""A transition law as a function that is asked whenever its answer is needed."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

from sobirl.core.checks import Checked
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.transitions.listed import Listed
from sobirl.mdp.transitions.operator import push_by_transposition, sums_to_one

# Pairs of a state and an action at which a function is looked at when it is given.
_CHECKED = 10**6


class FunctionTransition(Listed):
    """P as a function of state and action, computed in blocks of states and never stored.

    What `successors` closes over is differentiated like any array. A new operator from the same
    function is a new program to compile, unless what changes comes in as `arguments`.

    Args:
        successors: (state, action) -> next states (K,) and their probabilities (K,), in JAX; with
            `arguments`: (arguments, state, action) -> the same. Repeated next states add up.
        num_states: S.
        num_actions: A.
        arguments: a pytree for the function.
        block: states that are computed at once; memory is for block·A·K entries.
        bandwidth: how far apart a state and its successors are, if that is known; see
            `TransitionOperator.bandwidth`.

    Raises:
        InvalidInputError: what the function returns is not that, or, at one of up to a million
            pairs that are tried, is no distribution over the states.
    """

    successors: Callable[..., Any]
    num_states: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    block: int = eqx.field(static=True)
    given_bandwidth: int | None = eqx.field(static=True)

    def __init__(
        self,
        successors: Checked[Callable[..., Any]],
        num_states: Checked[int],
        num_actions: Checked[int],
        *,
        arguments: PyTree = None,
        block: Checked[int] = 4096,
        bandwidth: int | None = None,
    ):
        if not callable(successors):
            raise InvalidInputError(
                f"successors: expected a function (state, action), got {type(successors).__name__}"
            )
        sizes = {"num_states": num_states, "num_actions": num_actions, "block": block}
        for name, size in sizes.items():
            if not isinstance(size, (int, np.integer)) or size < 1:
                raise InvalidInputError(f"{name}: expected a positive integer, got {size!r}")
        pair = (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        if arguments is not None:
            self.successors = Partial(successors, jax.tree.map(jnp.asarray, arguments))
        else:
            _check_answer(_answer(successors, pair))
            program = jax.make_jaxpr(successors)(*pair)
            self.successors = _Program(program.jaxpr, [jnp.asarray(c) for c in program.consts])
        self.num_states, self.num_actions = int(num_states), int(num_actions)
        self.block, self.given_bandwidth = min(int(block), int(num_states)), bandwidth
        _check_answer(_answer(self.successors, pair))
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(self)):
            self._check_values()

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        return self.num_states, self.num_actions

    @property
    def bandwidth(self) -> int | None:
        """As given."""
        return self.given_bandwidth

    @property
    def num_successors(self) -> int:
        """K."""
        pair = (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        return _answer(self.successors, pair)[0].shape[0]

    def successors_of(
        self, state: Int[Array, ""], action: Int[Array, ""]
    ) -> tuple[Int[Array, "K"], Float[Array, "K"]]:
        """Next states and their probabilities."""
        there, probabilities = self.successors(state.astype(jnp.int32), action.astype(jnp.int32))
        return there, jnp.asarray(probabilities, jnp.result_type(probabilities, jnp.float32))

    def expect(self, values: Float[Array, "S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) values(s'), NaN where a successor is no state."""

        @jax.checkpoint  # or reverse mode would keep every block
        def row(state):
            there, probabilities = self._all_actions(state)
            ahead = values.at[there].get(mode="fill", fill_value=jnp.nan)
            return jnp.sum(probabilities * ahead, axis=-1)

        return jax.lax.map(row, self._all_states(), batch_size=self.block)

    def push(self, weights: Float[Array, "S A"]) -> Float[Array, "S"]:
        """Σ_{s,a} weights(s,a) P(s'|s,a): the transpose of `expect`, block by block."""
        return push_by_transposition(self, weights)

    def _all_states(self) -> Int[Array, "S"]:
        return jnp.arange(self.num_states, dtype=jnp.int32)

    def _check_values(self) -> None:
        """Look at many pairs, spread evenly over all."""
        total = self.num_states * self.num_actions
        count = min(total, _CHECKED)
        pairs = np.unique(np.linspace(0, total - 1, count).astype(np.int64))
        states, actions = np.divmod(pairs, self.num_actions)
        look = jax.jit(jax.vmap(lambda function, s, a: function(s, a), in_axes=(None, 0, 0)))
        for start in range(0, len(pairs), self.block):
            part = slice(start, start + self.block)
            where = states[part], actions[part]
            there, chances = map(
                np.asarray, look(self.successors, *(w.astype(np.int32) for w in where))
            )
            sums = chances.sum(axis=-1, dtype=np.float64)
            for name, found, right, requirement in (
                (
                    "next states",
                    there,
                    (there >= 0) & (there < self.num_states),
                    f"states are 0 to {self.num_states - 1}",
                ),
                (
                    "probabilities",
                    chances,
                    np.isfinite(chances) & (chances >= 0),
                    "must be finite and not negative",
                ),
                ("probabilities", sums, sums_to_one(sums), "must sum to 1"),
            ):
                if not right.all():
                    row = int(np.argwhere(~right)[0][0])
                    state, action = (int(w[row]) for w in where)
                    raise InvalidInputError(
                        f"successors: {name} of state {state}, action {action}: {requirement}, "
                        f"got {found[~right][0]}"
                    )


class _Program(eqx.Module):
    """A function as its program; what it closed over is the program's constants, as leaves."""

    jaxpr: Jaxpr = eqx.field(static=True)
    constants: list[Array]

    def __call__(self, state: Int[Array, ""], action: Int[Array, ""]) -> tuple[Array, Array]:
        """Run it."""
        there, probabilities = jaxpr_as_fun(ClosedJaxpr(self.jaxpr, self.constants))(state, action)
        return there, probabilities


def _answer(successors: Callable, pair: tuple) -> Any:
    try:
        return jax.eval_shape(successors, *pair)
    except InvalidInputError:
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise InvalidInputError(
            "successors: must be a JAX function of two traced integers, state and action; it "
            f"raised {type(error).__name__}: {first}"
        ) from error


def _check_answer(answer: Any) -> None:
    """Raise unless it is a pair of next states and probabilities, by their shapes."""
    right = (
        isinstance(answer, (tuple, list))
        and len(answer) == 2
        and all(hasattr(part, "shape") for part in answer)
        and answer[0].ndim == 1
        and answer[0].shape == answer[1].shape
        and answer[0].shape[0] > 0
        and jnp.issubdtype(answer[0].dtype, jnp.integer)
        and jnp.issubdtype(answer[1].dtype, jnp.floating)
    )
    if not right:
        raise InvalidInputError(
            "successors: must return next states (K,), integers, and probabilities (K,), got "
            f"{_shown(answer)}"
        )


def _shown(answer: Any) -> str:
    return str(jax.tree.map(lambda part: f"{part.dtype}{list(part.shape)}", answer)).replace(
        "'", ""
    )
