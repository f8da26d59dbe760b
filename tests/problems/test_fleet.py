"""The fleet: the transition law, the reward, derivatives, and one machine as Rust's bus."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from estimators import compiled, finite_differences, gradient, value
from runs.conftest import sobirl
from sobirl.core.errors import InvalidInputError
from sobirl.problems import rust_bus
from sobirl.problems.fleet import RUST_PRICE, THETA, Fleet

SMALL = Fleet(machines=2, wear_states=4, bands=2, discount=0.99)
PRICES = np.array([4.0, 6.0])


def test_one_machine_is_rusts_bus():
    x = {"replacement_cost": RUST_PRICE, "theta": np.array([THETA])}
    expected = sb.solve(rust_bus.bus_mdp("linear", rust_bus.GROUP4_PROBABILITIES)(x))
    alone = Fleet(machines=1, wear_states=90)
    found = sb.solve(alone.follower(alone.x0()))
    np.testing.assert_allclose(found.policy, expected.policy, rtol=1e-9)


def test_machines_are_alike():
    """Exchanging the wear of two machines exchanges who is serviced."""
    policy = np.asarray(sb.solve(SMALL.follower(jnp.asarray(PRICES))).policy).reshape(4, 4, 3)
    np.testing.assert_allclose(policy, policy.swapaxes(0, 1)[..., [0, 2, 1]], rtol=1e-9)


def test_rewards_by_hand():
    fleet = Fleet(machines=2, wear_states=3, bands=3, service_cost=2.0, discount=0.5)
    prices = np.array([3.0, 5.0, 7.0])
    depot = np.asarray(fleet.follower(jnp.asarray(prices)).reward).reshape(3, 3, 3)
    workshop = np.asarray(fleet.leader_reward(jnp.asarray(prices))).reshape(3, 3, 3)
    unit = 0.001 * THETA * 30  # three states for 90 bins
    np.testing.assert_allclose(depot[2, 1], [-3 * unit, -unit - 7, -2 * unit - 5])
    np.testing.assert_allclose(workshop[2, 1], [0, 2.5, 1.5])


def test_transitions_by_hand():
    law = SMALL.transition
    _, once, twice = rust_bus.GROUP4_PROBABILITIES / SMALL.bins
    never = 1 - once - twice
    # Joint states are 4 s_1 + s_2: the first machine is serviced, the second is worn out.
    state, action = np.full(4, 4 * 2 + 3), np.ones(4, int)
    chances = law.probability(*map(jnp.asarray, (state, action, 4 * np.arange(4) + 3)))
    np.testing.assert_allclose(chances, [never, once, twice, 0])


def test_gradients():
    problem, x = SMALL.problem(), jnp.asarray(PRICES)
    expected = finite_differences(lambda x: value(problem, x), x)
    np.testing.assert_allclose(gradient(problem, x), expected, rtol=1e-5)


@pytest.mark.slow  # differences of the same objective are below
def test_check_gradients():
    found = sb.check_gradients(SMALL.problem(), jnp.asarray(PRICES), directions=2)
    assert found.ok, found.verdict


def test_the_best_price_is_between():
    """Income rises up to a price, and falls beyond it until nobody comes."""
    problem = Fleet(machines=1, wear_states=15, bands=1).problem()
    column = jnp.array([[4.0], [10.0], [15.0], [20.0], [40.0]])
    losses = np.asarray(compiled(lambda x: jax.lax.map(lambda p: value(problem, p), x))(column))
    assert losses[0] > 0 > losses[1] > losses[2] < losses[3] < 0
    assert abs(losses[4]) < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"machines": 0}, "machines: must be at least 1, got 0"),
        ({"wear_states": 2}, "wear_states: must be at least 3, got 2"),
        ({"bands": 16}, "bands: must be 1 to 15, the wear states, got 16"),
        ({"service_cost": np.nan}, "service_cost: must be finite, got nan"),
        ({"discount": 1.0}, r"discount: must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_instances(options, message):
    with pytest.raises(InvalidInputError, match=message):
        Fleet(**options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--machines", 9), "--machines should leave M^K states below 10 million, got 9"),
        (("--bands", 20), "--bands should be at most 15 wear states, got 20"),
        (("--large", "--machines", 4), "--machines does not go with --large, got 4"),
        (("--service-cost", -1), "--service-cost should be greater than or equal to 0, got -1.0"),
    ],
)
def test_bad_options(words, message):
    code, _, error = sobirl("run", "fleet", *words)
    assert (code, error) == (2, f"sobirl: error: {message}\n")


@pytest.mark.slow  # the gradients are in the default run, and other commands
@pytest.mark.usefixtures("unrendered")
def test_command(tmp_path):
    run = tmp_path / "run"
    words = ("--wear-states", 4, "--bands", 2, "--num-steps", 3, "--discount", 0.99, "--quiet")
    code, printed, error = sobirl("run", "fleet", *words, "--out", run)
    assert (code, error) == (0, "")
    assert "fleet: 2 machines, 16 states" in printed
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert metrics["income"] > metrics["income_at_first"]
    for name in ("prices", "single-price", "bay"):
        assert (run / "figures" / f"{name}.png").exists()
    saved = sb.load_run(run)
    fleet = Fleet(2, 4, 2, discount=0.99)
    expected = sb.solve(fleet.follower(saved.x)).policy[5]
    np.testing.assert_allclose(saved.policy(5), expected, rtol=1e-9)
    assert len((run / "prices.csv").read_text().splitlines()) == 5
