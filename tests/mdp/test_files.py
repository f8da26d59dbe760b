"""Soft MDPs in folders."""

import json

import equinox as eqx
import jax
import numpy as np
import pytest

from laws import function_of_arguments, random_grid
from mdps import random_mdp
from sobirl.core import InvalidInputError
from sobirl.mdp import SoftMDP, files, load_mdp, save_mdp
from sobirl.mdp.transitions import structure
from sobirl.testing import same_bits


def big(discount=0.9):
    rng = np.random.default_rng(0)
    law = random_grid(rng)
    return SoftMDP(law, rng.normal(size=law.shape), discount, 0.1, rng.dirichlet(np.ones(2500)))


@pytest.mark.parametrize(
    "mdp",
    [
        random_mdp(0),
        random_mdp(1, operator="SuccessorList", reference_policy=None),
        random_mdp(2, discount=np.linspace(0, 0.9, 5)),
        big(),
    ],
    ids=["table", "list", "discounts of states", "big"],
)
def test_comes_back_to_the_last_bit(tmp_path, mdp):
    save_mdp(mdp, tmp_path / "mdp")
    again = load_mdp(tmp_path / "mdp")
    assert same_bits(mdp, again)
    assert jax.tree.structure(mdp) == jax.tree.structure(again)


def test_what_was_found_out_is_not_found_out_again(tmp_path, monkeypatch):
    mdp = big()
    save_mdp(mdp, tmp_path / "mdp")
    monkeypatch.setattr(structure, "find_bandwidth", None)
    monkeypatch.setattr(structure, "find_incoming", None)
    assert load_mdp(tmp_path / "mdp").transition.bandwidth == mdp.transition.bandwidth


def test_laws_that_are_no_tables_are_refused(tmp_path):
    law = function_of_arguments(np.random.default_rng(0))
    mdp = SoftMDP(law, np.zeros(law.shape), 0.9, 0.1, np.full(40, 1 / 40))
    with pytest.raises(InvalidInputError, match="transition: only Dense and SuccessorList are tab"):
        save_mdp(mdp, tmp_path / "mdp")
    assert not list(tmp_path.iterdir())


def test_a_transposed_list_of_something_else_is_refused(tmp_path):
    mdp = big()
    other = eqx.tree_at(lambda m: m.transition.successors, mdp, mdp.transition.successors[:, ::-1])
    save_mdp(other, tmp_path / "mdp")
    with pytest.raises(InvalidInputError, match="mdp: structure: does not belong to these succ"):
        load_mdp(tmp_path / "mdp")


def set_entry(name, index, value):
    def change(folder):
        array = np.load(folder / f"{name}.npy")
        array[index] = value
        np.save(folder / f"{name}.npy", array)

    return change


def set_number(name, value):
    def change(folder):
        header = json.loads((folder / "header.json").read_text())
        header["numbers"][name] = value
        (folder / "header.json").write_text(json.dumps(header))

    return change


def without_temperature(folder):
    header = json.loads((folder / "header.json").read_text())
    del header["numbers"]["temperature"]
    (folder / "header.json").write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (set_entry("successors", (1, 1, 1), 5), "successors: states are 0 to 4, got 5"),
        (set_entry("probabilities", (1, 1, 1), np.nan), "transition: must be finite, got nan"),
        (set_entry("probabilities", (1, 1, 1), 2.0), "transition: each row .* must sum to 1"),
        (set_entry("reward", (1, 1), np.inf), "reward: must be finite, got inf"),
        (set_number("temperature", 0.0), "temperature: must be positive, got 0.0"),
        (set_number("temperature", "warm"), "temperature: expected real numbers"),
        (set_number("bandwidth", -1), "bandwidth: expected an integer from 0 or null, got -1"),
        (without_temperature, "there is no number temperature in it"),
    ],
)
def test_names_the_folder_and_what_is_wrong(tmp_path, damage, message):
    save_mdp(random_mdp(0, operator="SuccessorList"), tmp_path / "mdp")
    damage(tmp_path / "mdp")
    with pytest.raises(InvalidInputError, match=f"mdp: {message}"):
        load_mdp(tmp_path / "mdp")


def test_the_version_is_written(tmp_path):
    save_mdp(random_mdp(0), tmp_path / "mdp")
    header = json.loads((tmp_path / "mdp" / "header.json").read_text())
    assert (header["format"], header["version"]) == (files.KIND, files.VERSION)
