"""Tabular problems: what the tables mean, whichever way they come."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
import tabular_tables as tables
from sobirl.mdp import Dense, SuccessorList
from sobirl.problems.tabular import Tabular, example, load, write_csv

X = jnp.array([0.7, -0.3])


def small(**changes) -> Tabular:
    """The small problem, built in Python, with numbers where none count."""
    idle = ~tables.AVAILABLE
    fields = {
        "transition": Dense(tables.PROBABILITIES + idle[..., None] * np.eye(3)[:, None]),
        "reward": tables.REWARD + 100.0 * idle,
        "features": tables.ARRAYS["features"] + 10.0 * idle[..., None],
        "leader_reward": tables.LEADER_REWARD - 50.0 * idle,
        "initial": np.array([0.5, 0.5, 0.0]),
        "available": tables.AVAILABLE,
        "terminal": np.array([False, False, True]),
        "states": tables.STATES,
        "actions": tables.ACTIONS,
        "feature_names": tables.FEATURES,
        **changes,
    }
    return Tabular(**fields)


EPS = np.finfo(float).eps  # rows of P are divided by their sums


def assert_same(one, other, rtol=0.0):
    for field in dataclasses.fields(Tabular):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name == "transition":
            assert type(mine) is type(theirs)
            mine, theirs = np.array(one.steps()), np.array(other.steps())
        if isinstance(mine, np.ndarray):
            np.testing.assert_allclose(mine, theirs, rtol=rtol, err_msg=field.name)
        else:
            assert mine == theirs, field.name


def leader_return(tabular, policy):
    """The leader's discounted return, with NumPy."""
    chances = tables.PROBABILITIES
    pays = tables.ARRAYS["features"] @ np.asarray(X)
    earned = np.where(tables.AVAILABLE, tables.LEADER_REWARD - tabular.transfer * pays, 0)
    discount = tabular.discount if tabular.leader_discount is None else tabular.leader_discount
    system = np.eye(3) - discount * np.einsum("sa,sat->st", policy, chances)
    return tabular.initial @ np.linalg.solve(system, (policy * earned).sum(axis=1))


def test_hyper_gradient_of_the_example():
    problem = example().problem()
    assert sb.check_gradients(problem, jnp.array([0.1, 0.2, 0.3, 0.4]), directions=2).ok


def test_response_and_objective():
    tabular = small(discount=0.9, temperature=0.5, leader_discount=0.8, transfer=0.25)
    mdp = tabular.follower(X)
    solution = sb.solve(mdp)
    value, policy = np.asarray(solution.value), np.asarray(solution.policy)
    assert value[2] == 0
    assert (policy[:2][~tables.AVAILABLE[:2]] == 0).all()
    np.testing.assert_array_equal(mdp.reward[2], 0)
    np.testing.assert_allclose(policy.sum(axis=1), 1)
    # The Bellman equation by hand.
    reward = tables.REWARD + tables.ARRAYS["features"] @ np.asarray(X)
    q = reward + 0.9 * tables.PROBABILITIES @ value
    best = 0.5 * np.log((np.exp(q / 0.5) * tables.AVAILABLE).sum(axis=1)[:2])
    np.testing.assert_allclose(value[:2], best, rtol=1e-10)
    for changes in ({}, {"transfer": 0.0}, {"leader_discount": None}, {"transfer": 1.0}):
        other = dataclasses.replace(tabular, **changes)
        expected = -leader_return(other, policy)
        np.testing.assert_allclose(other.objective(X, solution.response), expected, rtol=1e-10)


def test_files_give_the_tables_and_the_same_objective(tmp_path):
    from_csv = load(*tables.write_tables(tmp_path))
    from_npz = load(tables.write_arrays(tmp_path))
    in_python = small(
        reward=tables.REWARD,
        features=tables.ARRAYS["features"],
        leader_reward=tables.LEADER_REWARD,
    )
    assert_same(from_csv, in_python)
    assert_same(from_csv, dataclasses.replace(from_npz, available=from_csv.available))
    write_csv(small(), tmp_path / "again")
    again = load(tmp_path / "again" / "transitions.csv", tmp_path / "again" / "rewards.csv")
    assert_same(from_csv, again)
    values = [t.problem().value(X) for t in (from_csv, from_npz, in_python, small(), again)]
    np.testing.assert_allclose(values, values[0], rtol=1e-12)


def test_rewards_of_states_actions_and_steps_agree(tmp_path):
    """(S,), (S,A) and (S,A,S) tables of one reward give the same; NaN where nobody acts."""
    worth, chances = np.array([1.5, -2.0, 9.0]), tables.PROBABILITIES
    by_pair = np.where(tables.AVAILABLE, worth[:, None], np.nan)
    by_step = np.repeat(by_pair[..., None], 3, axis=-1)
    features = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    wide = np.where(tables.AVAILABLE[..., None], features[:, None], np.nan)
    loaded = [
        load(
            tables.write_arrays(
                tmp_path,
                transition=np.where(tables.AVAILABLE[..., None], chances, np.nan),
                reward=reward,
                leader_reward=reward,
                features=feature,
            )
        )
        for reward, feature in (
            (worth, features),
            (by_pair, wide),
            (by_step, np.repeat(wide[:, :, None], 3, axis=2)),
        )
    ]
    for tabular in loaded:
        active = tabular.active
        for table in (tabular.reward, tabular.leader_reward):
            expected = np.broadcast_to(worth[:, None], (3, 3))[active]
            np.testing.assert_allclose(table[active], expected)
        np.testing.assert_allclose(tabular.features[active], wide[active])
    # What a step is worth depends on where it ends.
    ends = np.broadcast_to(worth, (3, 3, 3))
    arrays = {"reward": ends, "features": ends[..., None], "feature_names": None}
    tabular = load(tables.write_arrays(tmp_path, **arrays))
    np.testing.assert_allclose(tabular.reward[tabular.active], (chances @ worth)[tabular.active])
    np.testing.assert_allclose(tabular.features[..., 0], tabular.reward)


def test_order_of_rows_and_columns_does_not_matter(tmp_path):
    expected = load(*tables.write_tables(tmp_path))
    rows = tables.TRANSITIONS.replace("\n", ",remark\n").splitlines()
    swapped = "\n".join(",".join(reversed(row.split(","))) for row in rows)
    head, *rewards = tables.REWARDS.splitlines()
    found = load(
        *tables.write_tables(
            tmp_path,
            "\ufeff" + swapped.replace("\n", "\r\n\r\n").replace(",", " , "),
            "\n\n".join([head, *reversed(rewards)]),
        )
    )
    assert_same(found, expected, rtol=8 * EPS)


@pytest.mark.parametrize("states", [5, 40])
def test_written_tables_come_back(tmp_path, states):
    """Few states make a dense table, many with few successors a list; repeated ones add up."""
    rng = np.random.default_rng(states)
    successors = rng.integers(states, size=(states, 3, 4))
    chances = rng.dirichlet(np.ones(4), size=(states, 3))
    terminal = np.arange(states) == 1
    available = rng.uniform(size=(states, 3)) < 0.7
    available[:, 2] = True
    tabular = Tabular(
        transition=SuccessorList(successors, chances),
        reward=rng.normal(size=(states, 3)),
        features=rng.normal(size=(states, 3, 2)),
        leader_reward=rng.normal(size=(states, 3)),
        initial=~terminal / (states - 1),
        available=available,
        terminal=terminal,
        states=tuple(f'Straße "{place}", {place}' for place in range(states)),
        actions=("a", "b,", "c"),
        feature_names=("toll, day", "toll"),
    )
    write_csv(tabular, tmp_path)
    found = load(tmp_path / "transitions.csv", tmp_path / "rewards.csv")
    assert isinstance(found.transition, SuccessorList if states > 16 else Dense)
    state = [found.states.index(name) for name in tabular.states]
    action = [found.actions.index(name) for name in tabular.actions]
    pairs = np.ix_(state, action)
    np.testing.assert_array_equal(found.terminal[state], terminal)
    np.testing.assert_array_equal(found.active[pairs], tabular.active)
    for name in ("reward", "features", "leader_reward"):
        table = getattr(tabular, name) * tabular.active.reshape(states, 3, *[1] * (name[0] == "f"))
        np.testing.assert_array_equal(getattr(found, name)[pairs], table)
    there, here = (
        np.array(each.transition.matrix(jnp.asarray(weights)))
        for each, weights in ((found, found.active * 1.0), (tabular, tabular.active * 1.0))
    )
    np.testing.assert_allclose(there[np.ix_(state, state)], here, rtol=1e-12)
    assert_same(load(*_written(found, tmp_path / "again")), found, rtol=8 * EPS)


def _written(tabular, folder):
    write_csv(tabular, folder)
    return folder / "transitions.csv", folder / "rewards.csv"


def test_example_files():
    folder = Path(__file__).parents[2] / "examples" / "tabular"
    assert_same(load(folder / "transitions.csv", folder / "rewards.csv"), example())


def test_options(tmp_path):
    files = tables.write_tables(tmp_path)
    tabular = load(
        *files, discount=0, temperature=2, leader_discount=0.5, transfer=1, initial="tired"
    )
    assert (tabular.discount, tabular.temperature) == (0, 2)
    assert (tabular.leader_discount, tabular.transfer) == (0.5, 1)
    np.testing.assert_array_equal(tabular.initial, [0, 1, 0])
    arrays = {"discount": 0.5, "transfer": 0.25, "initial": np.array([0.25, 0.75, 0])}
    tabular = load(tables.write_arrays(tmp_path, **arrays), discount=0.75)
    assert (tabular.discount, tabular.temperature, tabular.transfer) == (0.75, 0.1, 0.25)
    np.testing.assert_array_equal(tabular.initial, [0.25, 0.75, 0])
    anonymous = tables.write_arrays(tmp_path, states=None, actions=None, feature_names=None)
    assert load(anonymous, initial="1").states == ("0", "1", "2")
    assert load(anonymous).feature_names == ("x0", "x1")


def test_notes(tmp_path):
    files = tables.write_tables(tmp_path)
    assert load(*files).notes() == ["Episodes end in 'weekend'."]
    assert "Rewards of the terminal states 'weekend' are ignored" in small().notes()[1]
    lonely = tables.TRANSITIONS + "".join(f"far {i},work,rested,1\n" for i in range(8))
    idle = (
        tables.REWARDS.replace(",wage", ",free").replace(",1,\n", ",,\n").replace(",2,\n", ",,\n")
    )
    assert load(*tables.write_tables(tmp_path, lonely, idle), initial="tired").notes()[1:] == [
        "Never reached from the initial states: 'far 0', 'far 1', 'far 2', 'far 3', 'far 4' "
        "and 3 more.",
        "Without effect, 0 for every action: 'free'.",
    ]
    endless = tables.TRANSITIONS + "weekend,sleep,rested,1\n"
    assert load(*tables.write_tables(tmp_path, endless)).notes() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"transition": Dense(np.eye(4)[:, None].repeat(3, axis=1)), "states": tuple("abcd")},
            r"reward: expected shape \(4, 3\), got \(3, 3\)",
        ),
        ({"features": np.zeros((3, 3, 0)), "feature_names": ()}, "feature_names: .* at least one"),
        ({"leader_reward": np.full((3, 3), np.nan)}, "leader_reward: must be finite, got nan"),
        ({"initial": np.array([0.5, 0.25, 0])}, "initial: must sum to 1, got 0.75"),
        ({"initial": np.array([1.5, -0.5, 0])}, "initial: probabilities must lie .* got 1.5"),
        ({"available": np.eye(3, dtype=bool)[[1, 1, 1]] & False}, "without one: 'rested', 'tired'"),
        ({"states": ("a", "b")}, "states: expected 3 names, got 2"),
        ({"states": ("a", "b", "a")}, "states: 'a' is there more than once"),
        ({"actions": ("a", "", "c")}, "actions: must be text .*got ''"),
        ({"feature_names": ("wage", "reward")}, "feature_names: 'reward' means something else"),
        ({"discount": 1.0}, r"discount: must lie in \[0, 1\), got 1.0"),
        ({"temperature": float("nan")}, "temperature: must be a positive number, got nan"),
        ({"leader_discount": -0.1}, r"leader_discount: must lie in \[0, 1\), got -0.1"),
        ({"transfer": float("inf")}, "transfer: must be a finite number, got inf"),
    ],
)
def test_bad_tables(changes, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        small(**changes)
