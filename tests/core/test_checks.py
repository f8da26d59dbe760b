import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.core.checks import as_float_array, check_shape
from sobirl.core.errors import ConvergenceError, InvalidInputError, SobirlError
from sobirl.core.status import Status


@pytest.mark.parametrize(
    "x", [1, True, 1.5, [1, 2], (0.5, 0.25), np.arange(3), np.float32(2), jnp.ones((2, 2))]
)
def test_numbers_become_floating_point_arrays(x):
    array = as_float_array("x", x)
    assert isinstance(array, jax.Array)
    assert jnp.issubdtype(array.dtype, jnp.floating)
    np.testing.assert_array_equal(array, np.asarray(x))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float32, np.float64])
def test_the_precision_of_floats_is_kept(dtype):
    assert as_float_array("x", np.ones(3, dtype)).dtype == dtype


def test_integers_take_the_default_precision():
    assert as_float_array("x", np.ones(3, int)).dtype == np.float64


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("text", "x: expected real numbers, got <U4"),
        (["a", "b"], "x: expected real numbers, got <U1"),
        (1 + 2j, "x: expected real numbers, got complex128"),
        (None, "x: expected real numbers, got NoneType"),
        (object(), "x: expected real numbers, got object"),
        ([[1.0], [1.0, 2.0]], "x: not a rectangular array of numbers"),
        (np.nan, "x: must be finite, got nan$"),
        ([0.0, -np.inf], r"x: must be finite, got -inf at index \[1\]$"),
        ([[0.0, 1.0], [np.nan, np.nan]], r"got nan at index \[1, 0\] \(and 1 more\)"),
    ],
)
def test_unusable_input_is_named(x, message):
    with pytest.raises(InvalidInputError, match=message):
        as_float_array("x", x)


def test_the_requirement_is_quoted_with_the_first_entry_that_fails_it():
    with pytest.raises(
        InvalidInputError, match=r"gain: must be even, got 3\.0 at index \[1\] \(and 2 more\)"
    ):
        as_float_array("gain", [2.0, 3.0, 5.0, 7.0], "must be even", lambda x: x % 2 == 0)


def test_entries_of_traced_arrays_are_not_checked():
    passed = jax.jit(lambda x: as_float_array("x", x, "must be positive", lambda x: x > 0))
    np.testing.assert_array_equal(passed(jnp.array([-1, 2])), [-1.0, 2.0])


def test_float64_input_in_float32_mode_warns():
    with jax.enable_x64(False), pytest.warns(UserWarning, match="x is float64 but JAX is set to"):
        assert as_float_array("x", np.ones(2)).dtype == np.float32


def test_shapes_that_would_be_right_are_listed():
    check_shape("x", np.ones((2, 3)), (2,), (2, 3))
    with pytest.raises(
        InvalidInputError, match=r"x: expected shape \(2,\) or \(2, 3\), got \(3, 2\)"
    ):
        check_shape("x", np.ones((3, 2)), (2,), (2, 3))


def test_errors_can_be_caught_as_standard_ones():
    assert issubclass(InvalidInputError, ValueError)
    assert issubclass(ConvergenceError, RuntimeError)
    assert issubclass(InvalidInputError, SobirlError)
    assert issubclass(ConvergenceError, SobirlError)


@pytest.mark.parametrize("status", Status)
def test_every_status_advises(status):
    assert len(status.advice) > 10


def test_the_worst_status_is_the_largest():
    assert min(Status) is Status.CONVERGED
    assert max(Status) is Status.INVALID
