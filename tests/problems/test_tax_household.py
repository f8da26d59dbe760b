"""The household as an environment: what it gets, and how its assets move."""

import jax
import jax.numpy as jnp
import numpy as np

from sobirl.problems import tax_design
from sobirl.problems.tax_household import Household, utility, welfare

X = {"income": jnp.array(-0.4), "goods": jnp.array([0.3, -1.0, 0.1])}
BASKET, HOUR = 57, 6
ACTION = jnp.int32(HOUR * len(tax_design.BASKETS) + BASKET)


def test_rewards_are_those_of_the_tables():
    seen = jnp.array([0.7, 0.0, 1.0])  # assets of 14, the second type
    _, _, own, ended, cut = Household(X).step((jnp.float32(14.0), 1), ACTION, jax.random.key(0))
    effort = 0.1 * tax_design.HOURS[HOUR] ** 2
    np.testing.assert_allclose(own, np.log1p(14 / 20) - effort, rtol=1e-5)
    assert not ended and not cut
    goods = tax_design.basket_utility(X, jnp.array(tax_design.TYPES[1]))
    np.testing.assert_allclose(utility(seen, ACTION, X), goods[BASKET], rtol=1e-5)
    states = tax_design.basket_welfare(X)[HOUR, 0, BASKET]
    np.testing.assert_allclose(welfare(seen, ACTION, seen, X), states, rtol=1e-5)


def test_assets_move_as_the_density_says():
    household = Household().with_x(X)
    keys = jax.random.split(jax.random.key(1), 4000)
    state = jnp.float32(14.0), 0
    _, shown, *_ = jax.jit(jax.vmap(lambda key: household.step(state, ACTION, key)))(keys)
    keep = 1 - float(tax_design.tax(X["income"]))
    mean = 14 + keep * tax_design.HOURS[HOUR] - tax_design.BASKETS[BASKET].sum()
    assets = 20 * np.asarray(shown[:, 0])
    assert abs(assets.mean() - mean) < 4 * 5 / np.sqrt(len(keys))
    np.testing.assert_allclose(assets.std(), 5, rtol=0.05)
    np.testing.assert_array_equal(np.unique(shown[:, 1:], axis=0), [[1, 0]])
    # The score in the income tax has mean zero, and its square the law's information.
    seen = jnp.array([0.7, 1.0, 0.0])

    def score(after):
        return jax.grad(lambda x: household.log_prob(after, seen, ACTION, x))(X)["income"]

    scores = np.asarray(jax.jit(jax.vmap(score))(shown))
    rate = float(jax.grad(tax_design.tax)(X["income"])) * tax_design.HOURS[HOUR]
    assert abs(scores.mean()) < 4 * rate / 5 / np.sqrt(len(keys))
    np.testing.assert_allclose(scores.std(), rate / 5, rtol=0.05)
