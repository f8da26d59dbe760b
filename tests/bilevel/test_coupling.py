"""Which optimizers and projections go together, found out by trying."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sobirl as sb
from sobirl.bilevel.coupling import couples_entries, scales_entries

X = {"a": jnp.array([0.2, -0.4]), "b": jnp.array(0.3)}
KEY = jax.random.key(0)


def on_a_sphere(x):
    """A user's own projection, onto a unit ball."""
    return optax.projections.projection_l2_ball(x, 1.0)


def rounded_up(x):
    """One of a user's that treats every entry by itself."""
    return jax.tree.map(lambda leaf: jnp.maximum(leaf, 0.1), x)


@pytest.mark.parametrize(
    ("projection", "coupled"),
    [
        (sb.box(0.0, 1.0), False),
        (sb.box(), False),
        (rounded_up, False),
        (sb.budget(0.5), True),
        (sb.budget(1e4, lower=0.0), True),  # which x is far from exhausting
        (sb.simplex(1.0), True),
        (on_a_sphere, True),
    ],
)
def test_coupling_is_seen(projection, coupled):
    assert bool(jax.jit(lambda x: couples_entries(projection, x, KEY))(X)) is coupled


@pytest.mark.parametrize(
    ("optimizer", "by_entry"),
    [
        (optax.sgd(0.1), False),
        (optax.sgd(optax.linear_schedule(0.0, 0.1, 50), momentum=0.9), False),
        (sb.scalar_adam(0.1), False),
        (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)), False),
        (optax.adam(0.1), True),
        (optax.adam(optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 100)), True),
        (optax.rmsprop(0.1), True),
        (optax.lion(0.1), True),
        (optax.chain(optax.clip(1e-3), optax.sgd(0.1)), True),
    ],
)
def test_scaling_is_seen(optimizer, by_entry):
    assert bool(jax.jit(lambda x: scales_entries(optimizer, x))(X)) is by_entry


def follower(x):
    return sb.SoftMDP(sb.Dense(np.ones((1, 2, 1))), x[None], 0.5, 1.0, np.ones(1))


def minimize(**arguments):
    problem = sb.BilevelProblem(follower, lambda x, response: -jnp.sum(x * jnp.array([1.0, 2.0])))
    return sb.minimize(problem, jnp.array([0.5, 0.5]), num_steps=400, **arguments)


@pytest.mark.parametrize("projection", [sb.budget(1.0, lower=0.0), sb.simplex(), on_a_sphere])
@pytest.mark.parametrize("optimizer", ["adam", optax.adam(0.02), optax.rmsprop(0.02)])
def test_what_would_stall_is_refused(projection, optimizer):
    """Maximize x₁ + 2x₂ where Adam would stay at (½, ½)."""
    with pytest.raises(sb.InvalidInputError, match=r"not stationary\. Use sobirl\.scalar_adam"):
        minimize(projection=projection, optimizer=optimizer)
    with pytest.raises(sb.InvalidInputError, match="optimizer: scales the entries of x one by one"):
        minimize(projection=projection, optimizer=optax.adam, learning_rates=jnp.array([0.02]))


def test_the_remedy_works():
    for arguments in ({}, {"optimizer": optax.sgd(0.1)}, {"optimizer": "scalar_adam"}):
        result = minimize(projection=sb.simplex(), **arguments)
        np.testing.assert_allclose(result.x, [0.0, 1.0], atol=1e-6)
        assert result.converged


def test_a_box_suits_all():
    result = minimize(projection=sb.box(0.0, 1.0), optimizer=optax.adam(0.02))
    np.testing.assert_allclose(result.x, [1.0, 1.0])
