"""Tabular problems in folders."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
import tabular_tables as tables
from laws import chances, grid
from sobirl.problems.tabular import Tabular, example, load, write_folder
from sobirl.testing import same_bits


def numbered():
    """A grid whose states have no names."""
    rng, successors = np.random.default_rng(0), grid(20)
    states, actions, _ = successors.shape
    return Tabular(
        transition=sb.SuccessorList(successors, chances(rng, successors)),
        reward=rng.normal(size=(states, actions)),
        features=rng.normal(size=(states, actions, 2)),
        leader_reward=rng.normal(size=(states, actions)),
        initial=np.full(states, 1 / states),
        available=np.ones((states, actions), dtype=bool),
        terminal=np.arange(states) == 3,
        states=tuple(map(str, range(states))),
        actions=("a", "b", "c", "d"),
        feature_names=("toll", "bonus"),
        leader_discount=0.8,
        transfer=1.0,
    )


def fields(tabular):
    return [getattr(tabular, name) for name in Tabular.__dataclass_fields__]


@pytest.mark.parametrize("tabular", [example(), numbered()], ids=["names", "numbers"])
def test_comes_back_as_it_was(tmp_path, tabular):
    write_folder(tabular, tmp_path / "problem")
    again = load(tmp_path / "problem")
    assert (tmp_path / "problem" / "states.npy").exists() == (tabular.states[0] != "0")
    for one, other in zip(fields(tabular), fields(again), strict=True):
        if isinstance(one, (tuple, float, type(None))):
            assert one == other
        else:
            assert same_bits(one, other)
    x = jnp.array([0.3] * len(tabular.feature_names))
    assert same_bits(tabular.follower(x), again.follower(x))


def test_options_replace_what_the_folder_says(tmp_path):
    write_folder(example(), tmp_path / "problem")
    changed = load(tmp_path / "problem", discount=0.5, initial="Market & East")
    assert changed.discount == 0.5
    assert changed.initial.sum() == changed.initial.max() == 1


def change_header(**changes):
    def change(folder):
        header = json.loads((folder / "header.json").read_text())
        (folder / "header.json").write_text(json.dumps(header | changes))

    return change


def as_kind(name, kind):
    """An array of another type, which the header knows of."""

    def change(folder):
        array = np.load(folder / f"{name}.npy").astype(kind)
        np.save(folder / f"{name}.npy", array)
        header = json.loads((folder / "header.json").read_text())
        header["arrays"][name]["dtype"] = array.dtype.str
        (folder / "header.json").write_text(json.dumps(header))

    return change


def cut(folder):
    file = folder / "features.npy"
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "features.npy: is cut short: it has .* bytes of"),
        (change_header(version=2), "is of version 2, written by a newer sobirl"),
        (change_header(format="sobirl-mdp"), "holds 'sobirl-mdp', expected 'sobirl-tabular'"),
        (as_kind("reward", int), "reward: must be floating-point numbers, got int64"),
        (as_kind("available", float), "available: must be truth values, got float64"),
        (as_kind("actions", bytes), "actions: must be names, got "),
        (lambda folder: (folder / "features.npy").unlink(), "features.npy: is missing"),
    ],
)
def test_damage_is_one_sentence(tmp_path, damage, message):
    write_folder(example(), tmp_path / "problem")
    damage(tmp_path / "problem")
    with pytest.raises(sb.InvalidInputError, match=message) as caught:
        load(tmp_path / "problem")
    assert "\n" not in str(caught.value)


def test_a_folder_and_rewards_do_not_go_together(tmp_path):
    write_folder(example(), tmp_path / "problem")
    _, rewards = tables.write_tables(tmp_path)
    with pytest.raises(sb.InvalidInputError, match="a folder holds the rewards too"):
        load(tmp_path / "problem", rewards)
    with pytest.raises(sb.InvalidInputError, match="is not a folder of arrays, it has no header"):
        load(tmp_path)


def test_more_states_than_a_table_could_have(tmp_path):
    count = 12_000
    steps = "".join(f"s{i},go,s{(i + 1) % count},1\n" for i in range(count))
    transitions, rewards = tables.write_tables(
        tmp_path,
        "state,action,next_state,probability\n" + steps,
        "state,leader_reward,toll\ns0,1,1\n",
    )
    tabular = load(transitions, rewards)
    assert len(tabular.states) == count
    assert tabular.notes() == []
