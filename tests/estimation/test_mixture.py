"""Types that nobody sees: a mixture's likelihood in plain NumPy, and what is recovered of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from machines import known, log_policy, machines
from sobirl.bilevel import BilevelProblem
from sobirl.estimation.likelihood import count_choices
from sobirl.estimation.mixture import Mixture, TypedAgents, log_shares


@pytest.fixture(scope="module")
def panel():
    """120 units that replace early, 80 that do so late."""
    parts = [
        known().simulate({"rc": rc, "wear": 0.8}, units=units, periods=40, seed=seed)
        for seed, (rc, units) in enumerate([(2.0, 120), (5.0, 80)])
    ]
    parts[1]["unit"] = parts[1]["unit"] + 120
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_the_likelihood_and_its_gradient(panel):
    model = known()
    data = model.read(panel)
    decisions = data.panel
    choices, index = count_choices(decisions.kind, data.place, decisions.action, 1, 2)
    objective = Mixture(
        choices.places[0], jnp.asarray(index), jnp.asarray(decisions.action),
        jnp.asarray(decisions.unit), 200,
    )  # fmt: skip
    problem = BilevelProblem(TypedAgents(model.known_agent(), 2), objective)

    def direct(theta):
        rc0, rc1, wear, logit = theta
        total = []
        for k, rc in enumerate((rc0, rc1)):
            table = log_policy((rc, wear))[decisions.state, decisions.action]
            sums = np.bincount(decisions.unit, table, 200)
            total.append(sums + np.asarray(log_shares(np.array([logit])))[k])
        return -np.logaddexp(*total).sum()

    def as_x(theta):
        return {"common": {"wear": theta[2]}, "varying": {"rc": theta[:2]}, "logits": theta[3:]}

    at = np.array([2.5, 4.0, 0.7, 0.3])
    value, slope = jax.jit(jax.value_and_grad(lambda t: problem.value(as_x(t))))(at)
    np.testing.assert_allclose(value, direct(at), rtol=1e-10)
    steps = np.eye(4) * 1e-4
    differences = [(direct(at + h) - direct(at - h)) / 2e-4 for h in steps]
    np.testing.assert_allclose(slope, differences, rtol=1e-5, atol=1e-4)


@pytest.mark.slow  # compiles EM's steps and the mixture's Hessian of two observed types
def test_types_within_observed_types():
    """Heavy machines wear twice as fast, and in both kinds some owners replace early."""
    parts = []
    for (rc, heavy, units), seed in zip(
        [(2.0, 0, 80), (2.0, 1, 80), (5.0, 0, 60), (5.0, 1, 60)], range(4), strict=True
    ):
        truth = {"rc": rc, "wear": 0.4 * (1 + heavy)}
        parts.append(known().simulate(truth, units=units, periods=40, seed=seed))
        parts[-1]["heavy"] = np.full(40 * units, heavy)
        parts[-1]["unit"] = parts[-1]["unit"] + 1000 * seed
    panel = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    model = machines(
        types={"heavy": [0, 1]},
        features={
            "rc": {"replace": -1.0},
            "wear": {"keep": lambda s, heavy: -s},
            "more": {"keep": lambda s, heavy: -s * heavy},
        },
    )
    found = model.fit_mixture(panel, types=2, varying=["rc"], starts=1)
    z = (found.values[:4] - [2.0, 5.0, 0.4, 0.4]) / found.standard_errors[:4]
    assert np.abs(z).max() < 3.5
    assert abs(found.shares[0] - 160 / 280) < 3.5 * found.share_errors[0]
    # The likelihood at the estimate, in plain NumPy.
    rc0, rc1, wear, more = (
        found.values[found.names.index(name)] for name in ("rc[0]", "rc[1]", "wear", "more")
    )
    action = (panel["action"] == "replace").astype(int)
    _, unit = np.unique(panel["unit"], return_inverse=True)
    chosen = []
    for rc in (rc0, rc1):
        tables = np.stack([log_policy((rc, wear + more * heavy), known_chances(model, panel))
                           for heavy in (0, 1)])  # fmt: skip
        of_row = tables[panel["heavy"], panel["wear_state"], action]
        chosen.append(np.bincount(unit, of_row))
    direct = np.logaddexp(*(np.log(found.shares)[:, None] + np.array(chosen))).sum()
    np.testing.assert_allclose(found.log_likelihood, direct, rtol=1e-9)


def known_chances(model, panel):
    return np.asarray(model.read(panel).law.psi[0])[0]


@pytest.mark.slow  # compiles EM's steps and the mixture's Hessian
def test_two_types_are_recovered(panel):
    model = machines()
    found = model.fit_mixture(panel, types=2, varying=["rc"], starts=2)
    assert found.names == ("rc[0]", "rc[1]", "wear", "logit of share 0")
    z = (found.values[:3] - [2.0, 5.0, 0.8]) / found.standard_errors[:3]
    assert np.abs(z).max() < 3.5
    assert abs(found.shares[0] - 0.6) < 3.5 * found.share_errors[0]
    late = found.posterior[:, 1] > 0.5
    assert np.mean(late == (np.arange(200) >= 120)) > 0.95
    alone = model.fit(panel)
    assert found.log_likelihood > alone.log_likelihood + 50
    assert "share of type 1" in found.summary()
    sandwich = model.fit_mixture(panel, types=2, varying=["rc"], starts=1, cov_type="sandwich")
    ratio = sandwich.standard_errors / found.standard_errors
    assert np.all((ratio > 0.8) & (ratio < 1.25))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"types": 1}, "types: must be at least 2, got 1"),
        ({"starts": 0}, "starts: must be at least 1, got 0"),
        ({"cov_type": "hc1"}, "cov_type: expected one of"),
    ],
)
def test_bad_arguments(panel, options, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        machines().fit_mixture(panel, **options)
