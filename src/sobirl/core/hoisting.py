"""Compilation in which the tables that a function closes over are arguments, not constants.

A user's `follower(x)` closes over its transition law. Compiled with `jax.jit`, a table of a million
rows would be a constant of the program: XLA folds constants for minutes, and keeps a copy of each.
"""

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array

# Programs that are kept for their next call, and the bytes of tables that they may keep alive.
_PROGRAMS, _MEMORY = 64, 2**30
# What is smaller may stay a constant.
_SMALL = 1024


class _Program(NamedTuple):
    compiled: Any
    tables: list[Array]
    restore: Callable


class hoisting_jit:  # a decorator
    """`equinox.filter_jit`, with the arrays that `function` closes over as hidden arguments.

    They are read when the function is traced: once for every structure, shape and static part of
    the arguments. Arguments that are no arrays must be hashable.
    """

    def __init__(self, function: Callable):
        functools.update_wrapper(self, function)
        self._function = function
        self._programs: collections.OrderedDict[Any, _Program] = collections.OrderedDict()

    def __call__(self, *args: Any) -> Any:
        """The function's value."""
        program, leaves = self._program(args)
        return program.restore(program.compiled(program.tables, leaves))

    def compile(self, *args: Any) -> Callable:
        """The function, compiled ahead of its calls with arguments of this kind."""
        program, leaves = self._program(args)
        compiled = program.compiled.lower(program.tables, leaves).compile()

        def call(*args):
            dynamic = eqx.partition(args, _is_table)[0]
            return program.restore(compiled(program.tables, jax.tree.leaves(dynamic)))

        return call

    def lower(self, *args: Any) -> Any:
        """The lowered program, as that of `jax.jit`; `tables` come before `args`."""
        program, leaves = self._program(args)
        return program.compiled.lower(program.tables, leaves)

    def _program(self, args) -> tuple[_Program, list]:
        dynamic, static = eqx.partition(args, _is_table)
        leaves, treedef = jax.tree.flatten(dynamic)
        static_leaves, static_def = jax.tree.flatten(static)
        kinds = tuple(_kind(leaf) for leaf in leaves)
        # pyrefly: ignore[missing-attribute]  # made at run time, as every option of JAX
        setting = (jax.config.jax_enable_x64, jax.config.jax_default_device)
        key = (treedef, static_def, tuple(static_leaves), kinds, setting)
        if key in self._programs:
            self._programs.move_to_end(key)
        else:
            self._programs[key] = _trace(self._function, treedef, static, leaves)
            while len(self._programs) > 1 and self._too_much():
                self._programs.popitem(last=False)
        return self._programs[key], leaves

    def _too_much(self) -> bool:
        kept = sum(table.nbytes for p in self._programs.values() for table in p.tables)
        return len(self._programs) > _PROGRAMS or kept > _MEMORY


def _is_table(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))


def _kind(leaf: Any) -> tuple:
    return np.shape(leaf), leaf.dtype, getattr(leaf, "weak_type", False)


def _trace(function: Callable, treedef, static, leaves) -> _Program:
    """The function as a program of its tables and leaves."""
    form = []

    def flat(*leaves):
        args = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
        arrays, rest = eqx.partition(function(*args), _is_table)
        out, out_def = jax.tree.flatten(arrays)
        form[:] = [out_def, rest]
        return out

    closed = jax.make_jaxpr(flat)(*leaves)
    tables = _tables(closed)

    @eqx.filter_jit  # its errors are clearer than those of `jax.jit`
    def compiled(tables, leaves):
        out = _evaluate(closed, iter(tables), leaves)
        # What does not depend on the arguments comes back as a number.
        return [
            value if isinstance(value, jax.Array) else jax.numpy.asarray(value, aval.dtype)
            for value, aval in zip(out, closed.out_avals, strict=True)
        ]

    def restore(out):
        out_def, rest = form
        return eqx.combine(jax.tree.unflatten(out_def, out), rest)

    return _Program(compiled, tables, restore)


def _tables(closed: ClosedJaxpr) -> list[Array]:
    """The large constants of a program and of the programs that it calls, in order."""
    found = [_as_array(const) for const in closed.consts if _is_large(const)]
    for call in _calls(closed):
        found += _tables(call)
    return found


def _as_array(const: Any) -> Array:
    return const if isinstance(const, jax.Array) else jax.numpy.asarray(np.asarray(const))


def _is_large(const: Any) -> bool:
    return _is_table(const) and const.nbytes > _SMALL


def _calls(closed: ClosedJaxpr) -> list[ClosedJaxpr]:
    """The programs of a user's own `jax.jit`, which keep constants; loops hand theirs out."""
    return [
        eqn.params["jaxpr"] for eqn in closed.jaxpr.eqns if eqn.primitive.name in ("jit", "pjit")
    ]


def _evaluate(closed: ClosedJaxpr, tables: Iterator, args: list) -> list:
    """The program's value, with `tables` in the place of its large constants."""
    consts = [next(tables) if _is_large(const) else const for const in closed.consts]
    if not any(_tables(call) for call in _calls(closed)):
        return jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, consts))(*args)
    # As `jaxpr_as_fun` does, but for calls that have tables of their own.
    values = dict(zip(closed.jaxpr.constvars, consts, strict=True))
    values |= dict(zip(closed.jaxpr.invars, args, strict=True))

    def read(atom):
        return atom.val if hasattr(atom, "val") else values[atom]

    calls = {id(call): call for call in _calls(closed)}
    for eqn in closed.jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        called = eqn.params.get("jaxpr")
        if id(called) in calls and _tables(called):
            outputs = _evaluate(called, tables, inputs)
        else:
            bound = eqn.primitive.get_bind_params(eqn.params)  # a pair before jax 0.10
            functions, params = bound if isinstance(bound, tuple) else ((), bound)
            outputs = eqn.primitive.bind(*functions, *inputs, **params)
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        values |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in closed.jaxpr.outvars]
