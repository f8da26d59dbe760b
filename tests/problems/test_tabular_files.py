"""Files of tabular problems: one clear error for everything that is none."""

import io
import zipfile

import numpy as np
import pytest

import sobirl as sb
import tabular_tables as tables
from sobirl.problems.tabular import load

T, R = tables.TRANSITIONS, tables.REWARDS


def changed(content, line, text):
    """`content` with another line (counted from 1)."""
    lines = content.splitlines()
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


BAD_TRANSITIONS = {
    "empty": ("", "is empty; expected a CSV file with a header"),
    "blank": ("\n ,, \n", "is empty"),
    "header only": ("state,action,next_state,probability\n", "has a header but no rows"),
    "no text": (b"\xff\xfe\x00s\x00t", r"is not a text file \(UTF-8\)"),
    "binary": (b"\x00" * 50, "line 1: there is no column state"),
    "no header": (T.split("\n", 1)[1], "line 1: there is no column state; expected state, action,"),
    "semicolons": (T.replace(",", ";"), "separated by commas, got 'state;action;next_state"),
    "missing column": (T.replace("probability", "p"), "line 1: there is no column probability"),
    "column twice": (T.replace("action", "state"), "line 1: column state is there more than once"),
    "short row": (changed(T, 4, "rested,work,weekend"), "line 4: has 3 fields where the header"),
    "long row": (changed(T, 4, "rested,work,weekend,0.25,"), "line 4: has 5 fields"),
    "no state": (changed(T, 4, ",work,weekend,0.25"), "line 4, column state: .*got nothing"),
    "no action": (changed(T, 4, "rested, ,weekend,0.25"), "line 4, column action: must be a name"),
    "no next state": (changed(T, 4, "rested,work,,0.25"), "line 4, column next_state: must be"),
    "line end": (changed(T, 4, 'rested,"wo\nrk",weekend,0.25'), r"line 4, column action: .*\\n"),
    "no number": (
        changed(T, 4, "rested,work,weekend,often"),
        "line 4, column probability: must be a number from 0 to 1, got 'often'",
    ),
    "empty number": (changed(T, 4, "rested,work,weekend,"), "column probability: .*got nothing"),
    "percent": (changed(T, 4, "rested,work,weekend,25%"), "column probability: .*got '25%'"),
    "above 1": (changed(T, 4, "rested,work,weekend,1.25"), "column probability: .*got '1.25'"),
    "negative": (changed(T, 4, "rested,work,weekend,-0.1"), "column probability: .*got '-0.1'"),
    "NaN": (changed(T, 4, "rested,work,weekend,nan"), "column probability: .*got 'nan'"),
    "infinite": (changed(T, 4, "rested,work,weekend,1e999"), "probability: .*got '1e999'"),
    "underscore": (changed(T, 4, "rested,work,weekend,0.2_5"), "probability: .*got '0.2_5'"),
    "other digits": (changed(T, 4, "rested,work,weekend,٠"), "probability: .*got '٠'"),
    "long number": (changed(T, 4, "rested,work,weekend," + "9" * 10**5), r"got '999.*9\.\.\.'"),
    "repeated": (
        changed(T, 4, "rested,work,tired,0.25"),
        "line 4: state 'rested', action 'work', next_state 'tired' is there already, in line 3",
    ),
    "sum": (
        changed(T, 4, "rested,work,weekend,0.2"),
        r"the probabilities of state 'rested', action 'work' must sum to 1, got 0.95$",
    ),
    "sums": (
        T.replace("0.25", "0.2").replace("0.9", "0.1"),
        r"action 'work' must sum to 1, got 0.9 \(and 1 more like this\)",
    ),
    "open quote": (changed(T, 4, 'rested,work,weekend,"0.25'), "line 4, column probability"),
    "huge field": (changed(T, 4, "r" * 200_000 + ",work,weekend,0.25"), "line 4: not CSV"),
}

BAD_REWARDS = {
    "empty": ("", "is empty"),
    "header only": (R.splitlines()[0], "has a header but no rows"),
    "no leader": (R.replace("leader_reward", "mine"), "there is no column leader_reward"),
    "the other file": (T, "there is no column leader_reward; expected state, leader_reward"),
    "action twice": (R.replace("next_state", "action"), "column action is there more than once"),
    "feature twice": (R.replace("rest\n", "wage\n"), "header: 'wage' is there more than once"),
    "no name": (R.replace("wage", ""), "header: column 6 has no name"),
    "reserved": (R.replace("wage", "probability"), "header: 'probability' means something else"),
    "two lines": (R.replace("wage", '"wa\nge"'), r"header: must be text on one line.*'wa\\nge'"),
    "no features": (
        "state,leader_reward\nrested,1\n",
        "header: must have a column for each entry of x, .*got 'state,leader_reward'",
    ),
    "short row": (changed(R, 3, "rested,work"), "line 3: has 2 fields where the header has 7"),
    "no state": (changed(R, 3, ",work,,,0.5,1,"), "line 3, column state: must not be empty"),
    "unknown state": (
        changed(R, 3, "Rested,work,,,0.5,1,"),
        r"line 3, column state: 'Rested' is not in the transitions \(did you mean 'rested'\?\)",
    ),
    "unknown action": (
        changed(R, 3, "rested,works,,,0.5,1,"),
        r"line 3, column action: 'works' is not .*\(did you mean 'work'\?\)",
    ),
    "unknown next state": (
        changed(R, 3, "rested,work,xyz,,0.5,1,"),
        "line 3, column next_state: 'xyz' is not in the transitions$",
    ),
    "terminal": (
        changed(R, 3, "weekend,,,,0.5,1,"),
        "line 3, column state: 'weekend' ends the episode, .*with 'weekend' as next_state",
    ),
    "unavailable": (
        changed(R, 3, "rested,sleep,,,0.5,1,"),
        "line 3, column action: 'sleep' is not available in state 'rested'",
    ),
    "impossible step": (
        changed(R, 3, "tired,work,rested,,0.5,1,"),
        "line 3, column next_state: state 'tired', action 'work', next_state 'rested' has prob",
    ),
    "impossible by any action": (
        changed(R, 3, "tired,,weekend,,0.5,1,"),
        "line 3, column next_state: state 'tired', next_state 'weekend' has probability 0",
    ),
    "repeated": (changed(R, 4, "rested,work,,,,,"), "line 4: .* is there already, in line 3"),
    "no number": (
        changed(R, 3, "rested,work,,,much,1,"),
        "line 3, column leader_reward: must be a finite number, got 'much'",
    ),
    "NaN": (changed(R, 3, "rested,work,,nan,0.5,1,"), "line 3, column reward: .*got 'nan'"),
    "infinite": (changed(R, 3, "rested,work,,,0.5,inf,"), "line 3, column 'wage': .*got 'inf'"),
    "overflow": (
        R.replace("rested,,,1,", "rested,,,1e308,").replace("work,,,0.5", "work,,1.7e308,0.5"),
        "the sums of rows: must be finite, got inf",
    ),
}


def assert_one_line(raised, *paths):
    message = str(raised.value)
    assert any(path.name in message for path in paths)
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(("content", "message"), BAD_TRANSITIONS.values(), ids=BAD_TRANSITIONS)
def test_bad_transitions(tmp_path, content, message):
    files = tables.write_tables(tmp_path, transitions=content)
    with pytest.raises(sb.InvalidInputError, match=message) as raised:
        load(*files)
    assert_one_line(raised, files[0])


@pytest.mark.parametrize(("content", "message"), BAD_REWARDS.values(), ids=BAD_REWARDS)
def test_bad_rewards(tmp_path, content, message):
    files = tables.write_tables(tmp_path, rewards=content)
    with pytest.raises(sb.InvalidInputError, match=message) as raised:
        load(*files)
    assert_one_line(raised, files[1])


BAD_ARRAYS = {
    "unknown": ({"rewards": np.ones(3)}, r"'rewards', .* \(did you mean 'reward'\?\); known are"),
    "missing": ({"features": None}, "there is no array features; needed are transition, features"),
    "objects": ({"states": np.array(["a", None, "b"])}, "states holds Python objects"),
    "two axes": ({"transition": np.eye(3)}, r"transition: must have shape \(S,A,S\), got \(3, 3\)"),
    "other axes": ({"transition": np.ones((3, 4, 2))}, "transition: .*got .3, 4, 2.; here S = 3"),
    "no states": ({"transition": np.ones((0, 3, 0))}, "must have shape"),
    "no actions": (
        {"transition": np.ones((3, 0, 3)), "available": None, "actions": None}
        | {"reward": None, "leader_reward": np.ones(3), "features": np.ones((3, 2))},
        "transition: must have at least one action",
    ),
    "reward": ({"reward": np.ones((3, 2))}, r"reward: must have shape .* got \(3, 2\)"),
    "leader": ({"leader_reward": np.array(1.0)}, r"leader_reward: must have shape .* got \(\)"),
    "flat features": ({"features": np.ones(3)}, r"features: must have .*\(S,A,S,n\), got \(3,\)"),
    "no features": (
        {"features": np.ones((3, 0)), "feature_names": None},
        "features: must have at least one",
    ),
    "names": ({"states": np.array(["a", "b"])}, r"states: must have shape \(S,\), got \(2,\)"),
    "names repeated": ({"states": np.array(["a", "b", "a"])}, "states: 'a' is there more than"),
    "bytes": ({"states": np.array([b"a", b"b", b"c"])}, "states: must be an array of strings"),
    "numbered": ({"states": np.arange(3)}, "states: must be an array of strings, got one of int"),
    "strange": (
        {"states": np.full(3, 0x7FFFFFFF, np.uint32).view("<U1")},
        "states: has characters that do not exist",
    ),
    "surrogate": ({"states": np.array(["\ud800", "b", "c"])}, r"states: .*got '\\ud800'"),
    "text": ({"reward": np.full((3, 3), "1")}, "reward: must be real numbers, got an array of <U1"),
    "complex": ({"features": np.ones((3, 2)) * 1j}, "features: must be real numbers, got .*compl"),
    "dates": ({"initial": np.zeros(3, "M8[s]")}, "initial: must be real numbers"),
    "NaN": ({"features": np.full((3, 2), np.nan)}, "features: must be finite, got nan"),
    "NaN P": (
        {"transition": np.full((3, 3, 3), np.nan)},
        "transition: probabilities must lie .* got nan",
    ),
    "negative P": ({"transition": -tables.PROBABILITIES}, "transition: prob.* got -0.5"),
    "sums": (
        {"transition": tables.PROBABILITIES / 2},
        r"state 'rested', action 'work' must sum to 1, got 0.5 \(and 3 more like this\)",
    ),
    "initial": ({"initial": np.array([0.5, 0.4, 0])}, "initial: must sum to 1, got 0.9"),
    "flags": ({"terminal": np.array([0, 0, 2])}, "terminal: must be 0 or 1, got 2"),
    "flag text": ({"available": np.full((3, 3), "yes")}, "available: must be real numbers"),
    "all terminal": ({"terminal": np.ones(3)}, "terminal: must leave a state"),
    "no choice": ({"available": np.zeros((3, 3))}, "without one: 'rested', 'tired'"),
    "discount": ({"discount": np.array(1.0)}, r"discount: must lie in \[0, 1\), got 1.0"),
    "text discount": ({"discount": np.array("0.9")}, r"discount: must lie in .*got 0.9"),
    "discounts": ({"discount": np.array([0.9])}, r"discount: must have shape \(\), got \(1,\)"),
    "temperature": ({"temperature": np.array(-1)}, "temperature: must be a positive number"),
    "transfer": ({"transfer": np.array(np.inf)}, "transfer: must be a finite number, got inf"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays(tmp_path, changes, message):
    path = tables.write_arrays(tmp_path, **changes)
    with pytest.raises(sb.InvalidInputError, match=message) as raised:
        load(path)
    assert_one_line(raised, path)


def test_files_that_are_none(tmp_path):
    transitions, rewards = tables.write_tables(tmp_path)
    archive = tables.write_arrays(tmp_path)
    missing, text = tmp_path / "none.npz", tmp_path / "text.npz"
    text.write_text(T)
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for arguments, message in (
        ((missing,), "none.npz: there is no such file"),
        ((text,), "text.npz: is not an .npz"),
        ((tmp_path / "one.npz",), "holds a single array"),
        ((archive, rewards), "rewards: does not go with .*problem.npz"),
        ((transitions,), "rewards: .*transitions.csv has the transitions only; give a second CSV"),
        ((tmp_path, rewards), "is a directory; give a CSV file"),
        ((transitions, tmp_path / "none.csv"), "none.csv: there is no such file"),
        ((transitions, archive), r"problem.npz: is not a text file \(UTF-8\)"),
        (("/dev/null", rewards), "not a regular file"),
        (("nul\0byte.npz",), "cannot be read"),
        (("x" * 5000, rewards), "cannot be read"),
    ):
        with pytest.raises(sb.InvalidInputError, match=message):
            load(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discount": 1.0}, r"^discount: must lie in \[0, 1\), got 1.0"),
        ({"discount": -0.5}, "^discount: must lie"),
        ({"temperature": 0.0}, "^temperature: must be a positive number, got 0.0"),
        ({"temperature": float("inf")}, "^temperature: must be a positive number, got inf"),
        ({"leader_discount": float("nan")}, "^leader_discount: must lie .* got nan"),
        ({"transfer": 10**400}, "^transfer: must be a finite number"),
        ({"initial": "weekend"}, "^initial: 'weekend' is terminal"),
        ({"initial": "tried"}, r"^initial: there is no state 'tried' \(did you mean 'tired'\?\)"),
    ],
)
def test_bad_options(tmp_path, options, message):
    for files in (tables.write_tables(tmp_path), [tables.write_arrays(tmp_path)]):
        with pytest.raises(sb.InvalidInputError, match=message):
            load(*files, **options)


def test_too_large_tables_are_refused_before_they_are_made(tmp_path):
    head = "state,action,next_state,probability\n"
    actions = head + "".join(f"s{i},go to {i},s0,1\n" for i in range(9_000))
    lone = R.splitlines()[0] + "\ns0,,,,,,\n"
    features = ",".join(f"f{i}" for i in range(1200))
    wide = f"state,leader_reward,{features}\ns0,1" + "," * 1200
    few = head + "".join(f"s{i},go {i % 300},s0,1\n" for i in range(300))
    for transitions, rewards, message in (
        (actions, lone, r"rewards.csv: a table of shape \(9000, 9000, 4\) takes too much memory"),
        (few, wide, r"rewards.csv: a table of shape \(300, 300, 1202\) takes too much memory"),
    ):
        with pytest.raises(sb.InvalidInputError, match=message):
            load(*tables.write_tables(tmp_path, transitions, rewards))


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((10**5, 1, 10**5), "<f8", r"shape \(100000, 1, 100000\) takes too much"),
        ((10**4, 500, 10**4), "<f8", r"shape \(10000, 500, 10000\) takes too much memory"),
        ((10**30, 1, 10**30), "<f8", "takes too much memory"),
        ((3, 3, 3), "<U400000000", "its arrays take 43.2 GB of memory; at most 2 GB are loaded"),
        ((3, -3, 3), "<f8", "transition has a negative size"),
        ((3, 3, 3), "<f8", "is not a readable .npz"),
    ],
)
def test_headers_that_promise_too_much(tmp_path, shape, dtype, message):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    path = tmp_path / "absurd.npz"
    states = shape[0]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("transition.npy", header.getvalue() + bytes(64))
        for name, rest in (("features", (states, 1)), ("leader_reward", (states,))):
            other = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                other, {"descr": "<f8", "fortran_order": False, "shape": rest}
            )
            archive.writestr(f"{name}.npy", other.getvalue())
    with pytest.raises(sb.InvalidInputError, match=message):
        load(path)
