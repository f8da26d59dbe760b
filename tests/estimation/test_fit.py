"""Estimates and their errors, against plain NumPy, finite differences and known parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import sobirl as sb
from machines import CHANCES, TRUTH, counts_of, known, log_policy, machines, neg_log_likelihood
from sobirl.estimation.estimators import agent_of, with_law
from sobirl.estimation.fitting import cross_derivatives

THETA = np.array(list(TRUTH.values()))


def differences(function, at, step=1e-5):
    """Central differences, the axis of `at` last."""
    ends = [[function(at + sign * unit) for sign in (1, -1)] for unit in np.eye(len(at)) * step]
    return np.stack([(up - down) / (2 * step) for up, down in ends], axis=-1)


def test_the_maximum_is_that_of_plain_numpy(result, panel):
    chances = result.transition_probabilities[0][0]
    counts = counts_of(panel)
    found = scipy.optimize.minimize(
        lambda theta: neg_log_likelihood(theta, counts, chances),
        THETA,
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-10},
    )
    np.testing.assert_allclose(result.values, found.x, atol=1e-5)
    np.testing.assert_allclose(result.log_likelihood, -found.fun, rtol=1e-10)
    assert result.found.newton.converged
    assert result.names == ("rc", "wear")
    assert result.params == {"rc": result["rc"], "wear": result["wear"]}


def test_the_first_stage_is_frequencies(result, panel):
    state = panel["wear_state"].reshape(60, 30)
    replaced = panel["action"].reshape(60, 30)[:, :-1] == "replace"
    before = np.where(replaced, 0, state[:, :-1])
    step = (state[:, 1:] - before)[before <= 3]
    expected = np.bincount(step, minlength=3) / len(step)
    np.testing.assert_allclose(result.transition_probabilities[0], expected[None], rtol=1e-12)
    joint = result.log_likelihood + np.log(expected)[step].sum()
    np.testing.assert_allclose(result.joint_log_likelihood, joint, rtol=1e-12)


def test_standard_errors_have_two_witnesses(result, panel):
    """Hessian, scores and cross derivatives by finite differences of plain NumPy."""
    chances, counts = result.transition_probabilities[0][0], counts_of(panel)
    at = result.values
    slope = lambda theta, p: differences(  # noqa: E731
        lambda t: neg_log_likelihood(t, counts, p), theta, 1e-4
    )
    hessian = differences(lambda t: slope(t, chances), at, 1e-4)
    fixed = result.with_covariance("hessian", "fixed")
    np.testing.assert_allclose(fixed.covariance, np.linalg.inv(hessian), rtol=1e-5)

    table = differences(lambda t: log_policy(t, chances), at)
    action = (panel["action"] == "replace").astype(int)
    scores = table[panel["wear_state"], action]
    opg = fixed.with_covariance("opg").covariance
    np.testing.assert_allclose(opg, np.linalg.inv(scores.T @ scores), rtol=1e-6)
    bread = np.linalg.inv(hessian)
    sandwich = bread @ scores.T @ scores @ bread
    np.testing.assert_allclose(fixed.with_covariance("sandwich").covariance, sandwich, rtol=1e-5)
    sums = scores.reshape(60, 30, 2).sum(axis=1)
    cluster = bread @ sums.T @ sums @ bread * 60 / 59
    np.testing.assert_allclose(fixed.with_covariance("cluster").covariance, cluster, rtol=1e-5)

    # Murphy and Topel: how θ̂ moves with ψ̂, a multinomial frequency.
    directions = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    moves = differences(lambda w: slope(at, chances + w @ directions), np.zeros(2), 1e-4)
    seen = result.data.seen[0]
    spread = (np.diag(chances) - np.outer(chances, chances)) / len(seen.place)
    inner = np.linalg.pinv(directions @ directions.T) @ directions
    first = moves @ inner @ spread @ inner.T @ moves.T
    influence = (np.eye(3) - chances)[seen.place] @ inner.T @ moves.T / len(seen.place)
    cross = scores[seen.observation].T @ influence
    expected = bread + bread @ (first - cross - cross.T) @ bread
    two_step = result.with_covariance("hessian", "murphy-topel")
    np.testing.assert_allclose(two_step.covariance, expected, rtol=1e-4)


def test_cross_derivatives_agree_with_the_unrolled_solver(result):
    problem, layout = result.found.problem, result.layout
    law = agent_of(problem.follower).law
    (exact,) = cross_derivatives(problem, law, layout, result.x)

    def gradient(psi):
        moved = with_law(problem, law.with_psi((psi,)))
        value = lambda v: moved.value(  # noqa: E731
            {"rc": v[0], "wear": v[1]},
            solver=sb.ValueIteration(max_steps=400),
            adjoint=sb.Unrolled(block=20),
            throw=False,
        )
        return jax.grad(value)(jnp.asarray(result.values))

    unrolled = np.asarray(jax.jit(jax.jacfwd(gradient))(law.psi[0]))
    # Only directions in which a row still sums to 1 have a meaning.
    center = lambda c: c - c.mean(axis=-1, keepdims=True)  # noqa: E731
    np.testing.assert_allclose(center(exact), center(unrolled), rtol=1e-6, atol=1e-6)


def test_ccp_and_npl(result, panel):
    ccp = machines().fit(panel, estimator="ccp")
    within = np.abs(ccp.values - THETA) / ccp.standard_errors
    assert within.max() < 4
    npl = machines().fit(panel, estimator="npl")
    np.testing.assert_allclose(npl.values, result.values, rtol=1e-5)
    np.testing.assert_allclose(npl.log_likelihood, result.log_likelihood, rtol=1e-9)


@pytest.mark.slow  # compiles a likelihood of its own
def test_joint_likelihood(result, panel):
    joint = machines().fit(panel, first_stage="joint")
    assert joint.joint_log_likelihood >= result.joint_log_likelihood
    np.testing.assert_allclose(joint.values, result.values, atol=0.3 * result.standard_errors.max())
    ratio = joint.standard_errors / result.standard_errors
    assert np.all((ratio > 0.9) & (ratio < 1.1))
    assert "jointly" in joint.summary()


def test_tests_of_restrictions(result):
    wald = result.wald_test({"wear": 0.0})
    np.testing.assert_allclose(wald.statistic, result.z_values[1] ** 2)
    np.testing.assert_allclose(wald.p_value, result.p_values[1], rtol=1e-9)
    both = result.wald_test(lambda p: jnp.stack([p["rc"] - 3.0, p["wear"] - 0.8]))
    np.testing.assert_allclose(both.statistic, result.wald_test(TRUTH).statistic)
    assert both.p_value > 1e-3
    assert both.degrees == 2
    ratio = result.likelihood_ratio_test({"wear": 0.0})
    assert ratio.statistic > 50
    assert ratio.degrees == 1
    restricted = result.refit(fixed={"wear": 0.0})
    shares = counts_of_all(result)
    expected = np.sum(shares * np.log(shares / shares.sum()))  # a constant hazard
    np.testing.assert_allclose(restricted.log_likelihood, expected, rtol=1e-8)
    assert np.isnan(restricted.standard_errors[1])
    assert "fixed" in restricted.summary()


def counts_of_all(result):
    return np.bincount(result.data.panel.action).astype(float)


@pytest.mark.slow  # compiles Newton's method for a batch of samples
def test_bootstrap(result):
    drawn = result.bootstrap(64, seed=2)
    assert drawn.converged.all()
    ratio = drawn.standard_errors / result.standard_errors
    assert np.all((ratio > 0.6) & (ratio < 1.5))
    low, high = drawn.confidence_intervals(0.9).T
    assert np.all((low < result.values) & (result.values < high))
    np.testing.assert_array_equal(drawn.estimates, result.bootstrap(64, seed=2).estimates)


def test_bootstrap_of_another_estimator(panel):
    """A replication is the estimate from the units that it drew."""
    model = machines()
    result = model.fit(panel, estimator="ccp")
    drawn = result.bootstrap(2, seed=3)
    times = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=2)[1]
    rows = np.concatenate([np.flatnonzero(panel["unit"] == u) for u in np.repeat(range(60), times)])
    again = {name: values[rows] for name, values in panel.items()}
    again["unit"] = np.repeat(np.arange(60), 30)
    expected = model.fit(again, estimator="ccp").values
    np.testing.assert_allclose(drawn.estimates[1], expected, rtol=1e-6)
    assert drawn.converged.all()


def test_profile(result, panel):
    profile = result.profile("wear", 9)
    chances, counts = result.transition_probabilities[0][0], counts_of(panel)
    for place in (1, 7):
        best = scipy.optimize.minimize_scalar(
            lambda rc, at=place: neg_log_likelihood((rc, profile.points[at]), counts, chances),
            bounds=(0.5, 8.0),
            method="bounded",
        )
        np.testing.assert_allclose(profile.log_likelihood[place], -best.fun, rtol=1e-7)
    low, high = profile.interval()
    wald = result.with_covariance("hessian", "fixed").confidence_intervals()[1]
    np.testing.assert_allclose([low, high], wald, atol=0.5 * (wald[1] - wald[0]))
    assert low < result["wear"] < high


def test_tables(result):
    text = result.summary()
    assert "Log-likelihood" in text
    assert f"{result['rc']:.4f}" in text
    assert "rank 2 of 2, well conditioned" in text
    assert max(map(len, text.splitlines())) <= 100
    latex = result.to_latex(caption="Machines", label="tab:machines")
    assert r"\caption{Machines}" in latex
    assert f"({result.standard_errors[0]:.4f})" in latex
    frame = result.to_frame()
    assert list(frame.index) == ["rc", "wear"]
    np.testing.assert_allclose(frame["std_error"], result.standard_errors)
    assert result.to_dict()["observations"] == 1800


def test_a_cost_function_is_features_written_out(result):
    def cost(p, s):
        return jnp.stack([p["wear"] * s, jnp.full(s.shape, p["rc"])], axis=-1)

    other = machines(features=None, cost=cost, parameters={"rc": 1.0, "wear": 0.1})
    data = result.data
    tables = [
        model.agent(data.law, data.spaces, data.kinds).utility(result.x, 0)
        for model in (other, result.model)
    ]
    np.testing.assert_allclose(*tables, rtol=1e-12)
    first = other.first_values(data.spaces, data.kinds)
    assert first == {"rc": 1.0, "wear": 0.1}


def test_frames_mappings_and_files_say_the_same(result, panel, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(panel).sample(frac=1.0, random_state=0)  # in any order
    renamed = frame.rename(columns={"unit": "machine", "action": "done"})
    path = tmp_path / "panel.csv"
    renamed.to_csv(path, index=False)
    for data in (renamed, path):
        found = machines().fit(data, unit="machine", action="done")
        np.testing.assert_allclose(found.values, result.values, rtol=1e-9)


@pytest.mark.slow  # 200 samples: two minutes
def test_intervals_cover():
    inside = []
    for seed in range(200):
        sample = known().simulate(TRUTH, units=60, periods=30, seed=seed)
        low, high = machines().fit(sample).confidence_intervals().T
        inside.append((low < THETA) & (high > THETA))
    share = np.mean(inside, axis=0)
    assert np.all((share > 0.9) & (share < 0.99))


def test_simulation_follows_the_policy():
    sample = known().simulate(TRUTH, units=400, periods=20, seed=5)
    counts = counts_of(sample)
    chance = np.exp(log_policy(THETA))[:, 1]
    total = counts.sum(axis=1)
    seen = total > 20
    z = (counts[:, 1] - total * chance) / np.sqrt(total * chance * (1 - chance))
    assert np.abs(z[seen]).max() < 4
    assert CHANCES.sum() == 1
