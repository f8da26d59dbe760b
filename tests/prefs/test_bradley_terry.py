import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sobirl.core import InvalidInputError
from sobirl.prefs import (
    fragment_return,
    preference_entropy,
    preference_logit,
    preference_loss,
    preference_probability,
    win_probability,
)

REWARD = jnp.array([[1.0, 2.0, 4.0], [1.0, 2.0, jnp.nan]])
MASK = jnp.array([[True, True, True], [True, True, False]])


def test_returns_count_what_is_masked_in(precision):
    reward, mask = np.asarray(REWARD, np.float32), np.asarray(MASK)
    np.testing.assert_allclose(fragment_return(reward, mask), [7, 3])
    np.testing.assert_allclose(fragment_return(jnp.asarray(reward), jnp.asarray(mask)), [7, 3])


def test_discounted_returns_weigh_the_last_step_most():
    expected = [1 / 4 + 2 / 2 + 4, 1 / 2 + 2]
    np.testing.assert_allclose(fragment_return(REWARD, MASK, 0.5), expected)


def test_derivatives_of_returns():
    @jax.jit
    def total(reward, discount):
        return fragment_return(reward, MASK, discount)

    safe = jnp.where(MASK, REWARD, 0)
    check_grads(total, (safe, jnp.array(0.9)), order=2, modes=("fwd", "rev"))
    gradient = jax.grad(lambda reward: total(reward, 0.5).sum())(REWARD)
    np.testing.assert_allclose(gradient, [[0.25, 0.5, 1], [0.5, 1, 0]])


def test_the_logit_is_the_log_odds():
    logit = preference_logit(jnp.array([3.0, 1.0]), jnp.array([1.0, 1.0]), 4.0)
    np.testing.assert_allclose(logit, [0.5, 0.0])
    first, second = np.exp(3 / 4), np.exp(1 / 4)
    assert preference_probability(logit)[0] == pytest.approx(first / (first + second))


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.9])
def test_probability_and_loss_by_their_definition(noise):
    logit = jnp.linspace(-5, 5, 7)
    probability = (1 - noise) / (1 + np.exp(-logit)) + noise / 2
    np.testing.assert_allclose(preference_probability(logit, noise), probability)
    for label in (0.0, 0.3, 0.5, 1.0):
        entropy = -label * np.log(probability) - (1 - label) * np.log(1 - probability)
        np.testing.assert_allclose(preference_loss(logit, label, noise), entropy, rtol=1e-12)


def test_the_entropy_is_the_least_loss():
    probability = jnp.array([0.05, 0.3, 0.5, 0.9])
    best = jnp.log(probability / (1 - probability))
    entropy = preference_entropy(probability)
    np.testing.assert_allclose(preference_loss(best, probability), entropy, rtol=1e-12)
    for off in (-2.0, -0.5, 0.5, 2.0):
        assert jnp.all(preference_loss(best + off, probability) > entropy + 0.005)
    np.testing.assert_array_equal(preference_entropy(jnp.array([0.0, 1.0])), 0)
    assert preference_entropy(1) == 0
    np.testing.assert_allclose(preference_entropy(0.5), np.log(2))


def test_win_probability_is_a_mean_over_references():
    returns, references = jnp.array([[1.0, -2.0], [0.5, 3.0]]), jnp.array([0.0, 1.0, 4.0])
    odds = np.exp((np.asarray(returns)[..., None] - np.asarray(references)) / 2)
    wins = 0.9 * odds / (1 + odds) + 0.05
    options = {"temperature": 2.0, "noise": 0.1}
    np.testing.assert_allclose(
        win_probability(returns, references, **options), wins.mean(axis=-1), rtol=1e-12
    )
    weight = np.array([0.5, 0.2, 0.3])
    np.testing.assert_allclose(
        win_probability(returns, references, weight, **options), wins @ weight, rtol=1e-12
    )


def test_derivatives_of_the_loss():
    logit, label = jnp.meshgrid(jnp.array([-6.0, -1.0, 0.0, 0.5, 8.0]), jnp.array([0.0, 0.3, 1.0]))

    @jax.jit
    def losses(logit):
        return [preference_loss(logit, label, noise) for noise in (0.0, 0.1)]

    check_grads(losses, (logit,), order=2, rtol=1e-5)


def test_derivative_in_the_noise():
    logit = jnp.array([-6.0, 0.5, 8.0])
    check_grads(jax.jit(lambda noise: preference_loss(logit, 0.3, noise)), (0.1,), order=1)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_large_logits_in_single_precision(noise, size):
    logit = jnp.array([-size, size], jnp.float32)
    loss, slope = jax.vmap(jax.value_and_grad(lambda z: preference_loss(z, 1.0, noise)))(logit)
    assert loss.dtype == slope.dtype == jnp.float32
    wrong = size if noise == 0 else -np.log(noise / 2)
    np.testing.assert_allclose(loss, [wrong, -np.log1p(-noise / 2)], rtol=1e-6)
    np.testing.assert_allclose(slope, [-1.0 if noise == 0 else 0.0, 0.0], atol=1e-30)


def test_single_precision_is_kept(precision):
    logit = preference_logit(jnp.ones(2, jnp.float32), jnp.zeros(2, jnp.float32), 2.0)
    assert logit.dtype == preference_loss(logit, jnp.ones(2, jnp.float32), 0.1).dtype == jnp.float32


def test_labels_can_be_traced():
    loss = jax.jit(preference_loss)(jnp.zeros(2), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(loss, np.log(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fragment_return(REWARD, MASK, 1.1), r"discount: must be in \(0, 1\], got 1.1"),
        (lambda: preference_logit(REWARD[0], REWARD[1], 0), "temperature: must be positive, got 0"),
        (lambda: preference_loss(REWARD[0], 1.0, 1.0), r"noise: must be in \[0, 1\), got 1.0"),
        (lambda: preference_probability(REWARD[0], -0.1), r"noise: must be in \[0, 1\), got -0.1"),
        (lambda: preference_entropy(1.5), "probability: must be between 0 and 1, got 1.5"),
        (
            lambda: win_probability(REWARD[0], REWARD[1], temperature=-1),
            "temperature: must be positive, got -1",
        ),
        (lambda: preference_loss(REWARD[0], -1.0), "label: must be between 0 and 1, got -1.0"),
        (
            lambda: preference_loss(REWARD[0], jnp.array([0.0, 1.0, 2.0])),
            r"label: must be between 0 and 1, got 2.0 at index \[2\]",
        ),
    ],
)
def test_bad_numbers(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()
