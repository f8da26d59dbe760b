"""Tables that a function closes over are no constants of its program."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.core.hoisting import hoisting_jit

TABLE = np.random.default_rng(0).normal(size=(40, 50))


def numbers_in_constants(lowered):
    """How many numbers a program has as constants."""
    shapes = re.findall(
        r"stablehlo\.constant dense.*: tensor<([\dx]*)x?[fui]\d+>", lowered.as_text()
    )
    splats = re.findall(
        r"stablehlo\.constant dense<[-\w.+]+> : tensor<([\dx]+)x", lowered.as_text()
    )

    def count(shapes):
        return sum(int(np.prod([int(n) for n in s.strip("x").split("x") if n])) for s in shapes)

    return count(shapes) - count(splats)


def plain(x):
    return jnp.asarray(TABLE) @ x


def twice(x):
    return jnp.asarray(TABLE) @ x + jnp.sum(jnp.asarray(TABLE) ** 2)


@jax.jit
def jitted(x):
    return plain(x) + jnp.asarray(TABLE)[:, 0]


def around_jitted(x):
    return jitted(x) + jax.jit(twice)(x)


def in_a_loop(x):
    table = jnp.asarray(TABLE)
    return jax.lax.fori_loop(0, 3, lambda i, x: jnp.tanh(table.T @ (table @ x)), x)


def differentiated(x):
    return jax.grad(lambda x: jnp.sum(jnp.asarray(TABLE) @ x) ** 2)(x)


@pytest.mark.parametrize(
    "function", [plain, twice, jitted, around_jitted, in_a_loop, differentiated]
)
def test_tables_are_arguments(function):
    x = jnp.arange(50.0)
    assert numbers_in_constants(jax.jit(function).lower(x)) >= TABLE.size
    hoisted = hoisting_jit(function)
    assert numbers_in_constants(hoisted.lower(x)) < 100
    np.testing.assert_allclose(hoisted(x), function(x), rtol=1e-12)
    np.testing.assert_allclose(hoisted(2 * x), function(2 * x), rtol=1e-12)


def test_a_function_is_traced_once_for_each_kind_of_arguments():
    traces = []

    @hoisting_jit
    def function(module, scale):
        traces.append(1)
        return {"value": module["x"] * scale, "name": module["name"]}

    for scale in (jnp.array(1.0), jnp.array(2.0), np.float64(3.0)):
        got = function({"x": jnp.ones(2), "name": "a"}, scale)
        np.testing.assert_array_equal(got["value"], scale)
        assert got["name"] == "a"
    assert len(traces) <= 2  # weak types are another kind
    assert function({"x": jnp.ones(2), "name": "b"}, jnp.array(1.0))["name"] == "b"
    assert function({"x": jnp.ones(3), "name": "a"}, jnp.array(1.0))["value"].shape == (3,)


def test_programs_do_not_keep_tables_without_end(monkeypatch):
    monkeypatch.setattr("sobirl.core.hoisting._MEMORY", 3 * TABLE.nbytes)
    call = hoisting_jit(lambda function, x: function(x))
    for scale in range(10):
        table = jnp.asarray(TABLE) * scale
        call(lambda x, table=table: table @ x, jnp.ones(50))
    assert len(call._programs) <= 3


def test_modules_and_keys_pass():
    @hoisting_jit
    def draw(module, key):
        return eqx.tree_at(lambda m: m[0], module, jax.random.normal(key, (2,)))

    got = draw((jnp.zeros(2), np.tanh), jax.random.key(0))
    np.testing.assert_array_equal(got[0], jax.random.normal(jax.random.key(0), (2,)))
    assert got[1] is np.tanh


def test_constants_come_back_as_arrays():
    got = hoisting_jit(lambda x: (jnp.array(True), 3, jnp.zeros(()), x))(jnp.ones(2))
    assert isinstance(got[0], jax.Array) and got[0].dtype == bool
    assert got[1] == 3
    assert isinstance(got[2], jax.Array)
