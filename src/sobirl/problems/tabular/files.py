"""Tabular problems in files: two CSV files, one `.npz`, or a folder."""

import csv
import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from sobirl.core.array_folder import HEADER
from sobirl.core.errors import InvalidInputError
from sobirl.problems.tabular.checks import as_scalar
from sobirl.problems.tabular.csv_files import TRANSITIONS, read_csv
from sobirl.problems.tabular.folders import read_folder
from sobirl.problems.tabular.npz_files import read_npz
from sobirl.problems.tabular.problem import Tabular


def load(
    mdp: str | Path,
    rewards: str | Path | None = None,
    *,
    discount: float | int | None = None,
    temperature: float | int | None = None,
    leader_discount: float | int | None = None,
    transfer: float | int | None = None,
    initial: str | None = None,
) -> Tabular:
    """The problem in a CSV file of transitions and one of rewards, in an `.npz` or in a folder.

    `csv_files`, `npz_files` and `folders` say what they hold.

    Args:
        mdp: the transitions, or an `.npz` or a folder with everything.
        rewards: the second CSV file.
        discount: the follower's; instead of the file's or 0.95.
        temperature: the follower's; instead of the file's or 0.1.
        leader_discount: the leader's; instead of the file's or the follower's.
        transfer: the share of x's effect that the leader pays; instead of the file's or 0.
        initial: the state in which everything begins; instead of the file's distribution or the
            uniform one over the states that are not terminal.

    Raises:
        InvalidInputError: anything that cannot be read or is not a problem; one line that names
            the file and the place, what is wrong and what would be right.
    """
    given = {
        "discount": discount,
        "temperature": temperature,
        "leader_discount": leader_discount,
        "transfer": transfer,
    }
    changes: dict[str, Any] = {
        name: as_scalar(name, value) for name, value in given.items() if value is not None
    }
    is_folder = os.path.isdir(mdp) and (rewards is None or (Path(mdp) / HEADER).exists())
    if is_folder or Path(mdp).suffix.lower() == ".npz":
        if rewards is not None:
            what = "a folder" if is_folder else "an .npz"
            raise InvalidInputError(
                f"rewards: does not go with {mdp}; {what} holds the rewards too"
            )
        tabular = read_folder(mdp) if is_folder else read_npz(mdp)
    elif rewards is None:
        raise InvalidInputError(
            f"rewards: {mdp} has the transitions only; give a second CSV file, with the columns "
            "state, action, leader_reward and one for each entry of x"
        )
    else:
        tabular = read_csv(mdp, rewards)
    if initial is not None:
        changes["initial"] = tabular.starting_in(initial)
    return dataclasses.replace(tabular, **changes)


def write_csv(tabular: Tabular, directory: str | Path) -> None:
    """Write `transitions.csv` and `rewards.csv`, which `load` reads back.

    They hold neither the initial distribution nor discount, temperature and transfer. Terminal
    states come back as the last ones, and not at all if nothing leads there.
    """
    states, actions = tabular.states, tabular.actions
    steps = [
        (states[s], actions[a], states[t], float(chance))
        for s, a, t, chance in zip(*tabular.steps(), strict=True)
    ]
    tables = [tabular.reward[..., None], tabular.leader_reward[..., None], tabular.features]
    rewards = [
        (states[s], actions[a], *np.concatenate([table[s, a] for table in tables]).tolist())
        for s, a in np.argwhere(tabular.active)
    ]
    columns = ("state", "action", "reward", "leader_reward", *tabular.feature_names)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, header, rows in (
        ("transitions.csv", TRANSITIONS, steps),
        ("rewards.csv", columns, rewards),
    ):
        with (directory / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
