"""Rust (1987), table IX, group 4: estimates, likelihoods and standard errors as published."""

import numpy as np
import pytest

from sobirl.problems import rust_bus


@pytest.fixture(scope="module")
def columns():
    panel = rust_bus.group4()
    found = {"unit": panel.bus, "period": panel.period, "state": panel.state}
    return found | {"usage": panel.usage, "action": panel.decision}


@pytest.mark.slow  # four programs of 90 states
def test_table_nine(columns):
    model = rust_bus.model("linear")
    two_step = model.fit(columns, first_period=1, first_stage="fixed")
    np.testing.assert_allclose(two_step.values, [10.0750, 2.2930], atol=2e-4)
    np.testing.assert_allclose(two_step.standard_errors, [1.35126, 0.55384], atol=1e-4)
    np.testing.assert_allclose(two_step.joint_log_likelihood, -3304.155, atol=5e-4)
    joint = model.fit(columns, first_period=1, first_stage="joint", cov_type="opg")
    np.testing.assert_allclose(joint.standard_errors, [1.582, 0.639], atol=5e-4)
    np.testing.assert_allclose(joint.joint_log_likelihood, -3304.155, atol=5e-4)


@pytest.mark.slow
def test_table_nine_without_foresight(columns):
    found = rust_bus.model("linear", discount=0.0).fit(columns, first_period=1, first_stage="fixed")
    np.testing.assert_allclose(found.values, [7.6358, 71.5133], atol=1e-4)
    np.testing.assert_allclose(found.joint_log_likelihood, -3306.028, atol=2e-3)


def test_the_columns_of_a_panel_say_what_its_counts_say(columns):
    data = rust_bus.model().read(columns, first_period=1)
    panel = rust_bus.group4()
    counts = np.zeros((90, 2))
    np.add.at(counts, (data.panel.state, data.panel.action), 1)
    np.testing.assert_array_equal(counts, panel.decision_counts)
    np.testing.assert_allclose(data.law.psi[0][0], panel.transition_probabilities, rtol=1e-12)
