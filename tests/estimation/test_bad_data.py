"""What may be wrong with a panel or a model, and the sentence that each mistake gets."""

import numpy as np
import pytest

import sobirl as sb
from machines import machines


def panel(**changes):
    columns = {
        "unit": np.repeat(["a", "b"], 4),
        "period": np.tile(np.arange(4), 2),
        "wear_state": np.array([0, 1, 2, 0, 0, 0, 1, 1]),
        "action": np.array(["keep", "keep", "replace", "keep"] * 2),
    }
    return columns | changes


def changed(column, row, value):
    entries = panel()[column].astype(object)
    entries[row] = value
    return panel(**{column: entries})


def fit(data=None, columns=None, **model):
    return machines(**model).fit(panel() if data is None else data, **(columns or {}))


DATA = {
    "a missing column": (
        {k: v for k, v in panel().items() if k != "period"},
        "data: there is no column 'period'; there are 'unit', 'wear_state', 'action'",
    ),
    "no rows": ({k: v[:0] for k, v in panel().items()}, "data: has no rows"),
    "columns of different lengths": (
        panel(period=np.arange(3)),
        r"data: columns of different shapes, \[\(3,\), \(8,\)\]",
    ),
    "no table": (7, "data: expected a pandas or polars frame, a mapping .* got int"),
    "a gap": (
        changed("period", 3, 5),
        "data, row 3, column period: unit 'a' goes from period 2 to 5; fill the gap, or ask",
    ),
    "a period twice": (changed("period", 3, 2), "data, row 3, .*: unit 'a' has period 2 twice"),
    "half a period": (changed("period", 1, 1.5), "row 1, column period: must be a whole number"),
    "a missing state": (
        changed("wear_state", 2, np.nan),
        "data, row 2, column wear_state: must be 0 to 5, got nothing",
    ),
    "a state outside": (changed("wear_state", 7, 9), "row 7, column wear_state: .* 0 to 5, got 9"),
    "an unknown action": (
        changed("action", 5, "sell"),
        "data, row 5, column action: must be one of 'keep', 'replace', got 'sell'",
    ),
    "an action never chosen": (
        panel(action=np.array(["keep"] * 8)),
        "data: nobody ever chooses 'replace'; the likelihood has no maximum",
    ),
    "no unit": (changed("unit", 4, None), "data, row 4, column unit: must not be empty"),
    "a jump": (
        changed("wear_state", 1, 4),
        r"data, row 1: the increment \(of the state\) is 4 where the law has 0 to 2",
    ),
    "a step back": (changed("wear_state", 2, 0), "data, row 2: the increment .* is -1"),
    "perfect separation": (
        panel(
            wear_state=np.array([0, 2, 3, 0, 0, 2, 3, 0]),
        ),
        "data: perfect separation: the features tell choices for certain",
    ),
}


@pytest.mark.parametrize("mistake", DATA)
def test_bad_data(mistake):
    data, message = DATA[mistake]
    with pytest.raises(sb.InvalidInputError, match=message) as error:
        fit(data)
    assert "\n" not in str(error.value)


@pytest.mark.slow  # `experiments/test_discrete_choice.py` has it too
def test_singular_information():
    features = {
        "rc": {"replace": -1.0},
        "wear": {"keep": lambda s: -s},
        "more": {"keep": lambda s: -2.0 * s},
    }
    data = panel(wear_state=np.array([0, 1, 2, 0, 0, 2, 2, 1]))
    data["action"] = np.array(
        ["keep", "replace", "replace", "keep", "keep", "keep", "keep", "keep"]
    )
    message = "data: do not identify the parameters .rank 2 of 3: .* wear and .* more, along which"
    with pytest.raises(sb.InvalidInputError, match=message):
        fit(data, features=features, transitions=np.full((6, 2, 6), 1 / 6))


def test_a_file_is_quoted_by_line(tmp_path):
    path = tmp_path / "panel.csv"
    path.write_text("unit,period,wear_state,action\na,0,0,keep\na,1,x,replace\n")
    with pytest.raises(sb.InvalidInputError, match=r"panel\.csv, line 3, column wear_state: must"):
        fit(path)
    with pytest.raises(sb.InvalidInputError, match="there is no such file"):
        fit(tmp_path / "none.csv")


MODELS = {
    "neither features nor cost": ({"features": None}, "features, cost: give one of the two"),
    "features of another action": (
        {"features": {"rc": {"repair": 1.0}}},
        r"features\['rc'\]: 'repair' is no action .did you mean 'replace'.*; actions are 'keep'",
    ),
    "features of another shape": (
        {"features": {"rc": np.ones((3, 2))}},
        r"features\['rc'\]: expected a mapping from actions, or shape \(6, 2\)",
    ),
    "a function of more columns": (
        {"features": {"rc": {"keep": lambda s, price: s}}},
        r"features\['rc'\]\['keep'\]: could not be called with the columns wear_state",
    ),
    "features that are not finite": (
        {"features": {"rc": {"keep": lambda s: np.log(s)}}},
        r"features\['rc'\]\['keep'\]: must be finite, got -inf at index \[0\]",
    ),
    "a discount of 1": ({"discount": 1.0}, r"discount: must lie in \[0, 1\), got 1.0"),
    "a negative scale": ({"scale": -1.0}, "scale: must be positive, got -1.0"),
    "one action": ({"actions": ["keep"], "features": {"a": {}}}, "actions: expected at least two"),
    "a level twice": ({"actions": ["keep", "keep"]}, "actions: a level is there twice"),
    "no horizon": ({"horizon": 0}, "horizon: must be a whole number from 1, or None, got 0"),
    "a cost without parameters": (
        {"features": None, "cost": lambda p, s: s},
        "parameters: a cost needs their first values",
    ),
    "a cost of another shape": (
        {"features": None, "cost": lambda p, s: s, "parameters": {"rc": 1.0}},
        r"cost: could not be called as cost\(parameters, wear_state\) for a table \(6, 2\)",
    ),
    "a law of other states": (
        {"transitions": np.full((3, 2, 3), 1 / 3)},
        "transitions: the law is of 3 states and 2 actions where the model has 6 and 2",
    ),
    "a law that the data contradict": (
        {"transitions": np.tile(np.eye(6)[:, None], (1, 2, 1))},
        "data, row 1: state 1 cannot follow state 0 and action 0 under the given law",
    ),
    "laws of other columns": (
        {"transitions": {"price": sb.Frequencies()}},
        "transitions: expected a law for each of wear_state, got one for price",
    ),
    "frequencies of what was never seen": (
        {"transitions": sb.Frequencies()},
        "transitions: nothing is known of what follows state 0 and action 'replace' .and 7 more",
    ),
    "no such action to reset": (
        {"transitions": sb.Increments(3, reset=["repair"])},
        "reset: 'repair' is no action",
    ),
    "first values of nothing": (
        {"parameters": {"price": 1.0}},
        "parameters: no features have the name 'price'",
    ),
    "an action that is not there": (
        {"available": {"replace": lambda s: s > 2}},
        "row 2, column action: 'replace' was chosen where it is not available",
    ),
}


@pytest.mark.parametrize("mistake", MODELS)
def test_bad_models(mistake):
    model, message = MODELS[mistake]
    with pytest.raises(sb.InvalidInputError, match=message) as error:
        fit(**model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "gmm"}, "estimator: expected one of mle, ccp, npl"),
        ({"cov_type": "hc3"}, "cov_type: expected one of hessian, opg, sandwich, cluster"),
        ({"first_stage": "none"}, "first_stage: expected one of murphy-topel, fixed, joint"),
        ({"fixed": {"rv": 1.0}}, "parameters: there is no 'rv'; there are 'rc', 'wear'"),
        ({"gaps": "skip"}, "gaps: expected 'error' or 'split', got 'skip'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        fit(columns=options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sb.Bins([3, 1]), "edges: expected at least two increasing numbers"),
        (lambda: sb.Quantiles(0), "count: must be a whole number from 1"),
        (lambda: sb.Increments(1), "count: must be a whole number from 2, got 1"),
        (lambda: sb.Increments(2, probabilities=[0.5, 0.4]), "probabilities: must sum to 1"),
        (lambda: sb.Frequencies(smoothing=-1), "smoothing: must not be negative, got -1"),
        (lambda: sb.Frequencies(toward="zero"), "toward: expected 'action', 'state' or 'uniform'"),
    ],
)
def test_bad_parts(call, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        call()
