"""What a sweep.toml means, and what is refused before anything starts."""

import sys

import pytest

from runs.conftest import sobirl
from sobirl.core.errors import InvalidInputError
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.sweeps import Cell, as_config, read_config
from sobirl.sweeps.cells import check, varied


def cells(**content):
    return as_config(content).cells()


def test_a_grid_is_every_combination_in_order():
    found = cells(
        command=["random-mdp", "random-incentives"],
        seeds=[3, 1],
        fixed={"num-steps": 5},
        grid={"learning-rate": [0.1, 0.2]},
    )
    assert [(c.command, c.options["learning_rate"], c.options["seed"]) for c in found] == [
        (command, rate, seed)
        for command in ("random-mdp", "random-incentives")
        for rate in (0.1, 0.2)
        for seed in (3, 1)
    ]
    assert all(cell.options["num_steps"] == 5 for cell in found)
    assert varied(found) == ["learning_rate", "seed"]
    assert found[0].named(varied(found)) == "random-mdp learning_rate=0.1 seed=3"


def test_random_samples_keep_to_their_ranges():
    draws = {
        "learning_rate": {"low": 1e-4, "high": 1.0, "log": True},
        "states": {"low": 2, "high": 4},
        "tolerance": {"low": 0.0, "high": 1.0},
        "method": {"choices": ["exact", "m-sobirl"]},
        "dimension": {"low": 1, "high": 1000, "log": True},
    }
    found = cells(command="random-mdp", samples=200, random=draws)
    rates = sorted(cell.options["learning_rate"] for cell in found)
    assert 1e-4 <= rates[0] < 1e-3
    assert 1e-1 < rates[-1] <= 1.0
    assert 1e-3 < rates[100] < 1e-1  # the logarithm is uniform
    assert {cell.options["states"] for cell in found} == {2, 3, 4}
    assert {cell.options["method"] for cell in found} == {"exact", "m-sobirl"}
    dimensions = sorted(cell.options["dimension"] for cell in found)
    assert all(isinstance(n, int) and 1 <= n <= 1000 for n in dimensions)
    assert dimensions[100] < 200
    check(found)


def test_more_samples_and_more_options_keep_the_first_ones():
    draws = {"learning_rate": {"low": 1e-3, "high": 1.0}}
    few = cells(command="random-mdp", samples=3, random=draws)
    assert cells(command="random-mdp", samples=5, random=draws)[:3] == few
    draws["tolerance"] = {"choices": [0.1, 0.2]}
    more = cells(command="random-mdp", samples=3, random=draws)
    rates = [[cell.options["learning_rate"] for cell in found] for found in (few, more)]
    assert rates[0] == rates[1]
    assert cells(command="random-mdp", samples=3, random=draws, sample_seed=1) != more


def test_parts_add_to_what_stands_above_them():
    found = cells(
        seeds=2,
        fixed={"num_steps": 5},
        grid={"method": ["exact"]},
        part=[
            {"command": "random-mdp", "fixed": {"states": 4}},
            {"command": "four-rooms", "fixed": {"method": "plug-in", "starts": 2}, "seeds": [7]},
        ],
    )
    common = {"num_steps": 5, "method": "exact", "states": 4}
    assert found == [
        Cell("random-mdp", {**common, "seed": 0}),
        Cell("random-mdp", {**common, "seed": 1}),
        Cell("four-rooms", {"num_steps": 5, "method": "plug-in", "starts": 2, "seed": 7}),
    ]


def test_an_id_is_of_what_is_run(tmp_path):
    """Defaults, what is aside, the order and the type in which values come make no difference."""
    cell = Cell("random-mdp", {"method": "exact", "num_steps": 10})
    same = Cell(
        "random-mdp", {"num_steps": 10.0, "seed": 0, "method": "exact", "tensorboard": True}
    )
    assert cell.id == same.id == "random-mdp-d793b77b37"
    assert cell.id != Cell("random-mdp", {"method": "exact", "num_steps": 11}).id


def test_an_input_file_counts_by_its_contents(tmp_path, monkeypatch):
    for name, content in (("a.npz", b"1"), ("b.npz", b"1"), ("c.npz", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (Cell("random-mdp", {"instance": str(tmp_path / f"{n}.npz")}).id for n in "abc")
    assert a == b != c
    monkeypatch.chdir(tmp_path)
    here = Cell("random-mdp", {"instance": "a.npz"})
    assert here.id == a
    assert here.explicit == {"instance": str(tmp_path / "a.npz")}


BAD = {
    "no command": ("seeds = 2", "command is missing"),
    "an unknown command": (
        'command = "four-room"',
        "command 'four-room' does not exist (did you mean 'four-rooms'?); there are "
        f"{next(iter(EXPERIMENTS))},",
    ),
    "an unknown option": (
        'command = "four-rooms"\nfixed = { temprature = 1 }',
        "four-rooms seed=0: four-rooms has no option 'temprature' (did you mean 'temperature'?)",
    ),
    "an option of the sweep's": (
        'command = "four-rooms"\nfixed = { out = "x" }',
        "option 'out' is the sweep's own; leave it out",
    ),
    "a wrong type": (
        'command = "random-mdp"\nseeds = 2\nfixed = { num_steps = "many" }',
        "2 of 2 cells cannot be run: random-mdp seed=0 (and 1 more): num_steps should be a valid "
        "integer, unable to parse string as an integer, got many",
    ),
    "a value out of its range": (
        'command = "random-mdp"\ngrid = { learning_rate = [0.1, -1] }',
        "1 of 2 cells cannot be run: random-mdp learning_rate=-1 seed=0: learning_rate should be "
        "greater than 0, got -1",
    ),
    "a method that there is not": (
        'command = "random-mdp"\ngrid = { method = ["exact", "exakt"] }',
        "random-mdp method=exakt seed=0: method should be one of exact, ",
    ),
    "what does not go together": (
        'command = "four-rooms"\nfixed = { rounds = 9, num_steps = 3 }',
        "--num-steps should be 1 a round or more, got 3",
    ),
    "several mistakes": (
        'command = ["random-mdp", "rust"]\ngrid = { states = [3, 1] }',
        "3 of 4 cells cannot be run: random-mdp states=1 seed=0: states should be greater than or "
        "equal to 2, got 1; rust states=3 seed=0 (and 1 more): command 'rust' does not exist",
    ),
    "an empty grid": (
        'command = "random-mdp"\ngrid = { states = [] }',
        "grid.states list should have at least 1 item after validation, not 0, got []",
    ),
    "a grid that is no list": (
        'command = "random-mdp"\ngrid = { states = 4 }',
        "grid.states should be a valid list, got 4",
    ),
    "a value twice": (
        'command = "random-mdp"\ngrid = { states = [4, 5, 4] }',
        "1 of 3 cells cannot be run: random-mdp states=4 seed=0: is the same run as random-mdp "
        "states=4 seed=0",
    ),
    "an option twice": (
        'command = "random-mdp"\nfixed = { num-steps = 4 }\ngrid = { num_steps = [4] }',
        "grid.num_steps: is given in [fixed] too",
    ),
    "a seed in the grid": (
        'command = "random-mdp"\ngrid = { seed = [4] }',
        "grid.seed: give seeds = [...] instead",
    ),
    "no seeds": (
        'command = "random-mdp"\nseeds = 0',
        "seeds should be greater than or equal to 1 or should be a valid list, got 0",
    ),
    "a negative seed": ('command = "random-mdp"\nseeds = [-1]', "greater than or equal to 0"),
    "an unknown key": (
        'command = "random-mdp"\nseed = 1',
        "seed is unknown (did you mean 'seeds'?)",
    ),
    "an unknown key of a part": (
        '[[part]]\ncommand = "random-mdp"\ngird = { states = [4] }',
        "part.0.gird is unknown (did you mean 'grid'?)",
    ),
    "a range upside down": (
        'command = "random-mdp"\nsamples = 1\nrandom = { states = { low = 5, high = 3 } }',
        "random.states should have a low below its high, both finite",
    ),
    "half a range": (
        'command = "random-mdp"\nsamples = 1\nrandom = { states = { low = 5 } }',
        "random.states should have both low and high",
    ),
    "a logarithm of 0": (
        'command = "random-mdp"\nsamples = 1\n'
        "random = { learning_rate = { low = 0.0, high = 1.0, log = true } }",
        "random.learning_rate should have a positive low with log",
    ),
    "a range and choices": (
        'command = "random-mdp"\nsamples = 1\n'
        "random = { states = { low = 2, high = 3, choices = [2] } }",
        "random.states should have either choices, or low and high",
    ),
    "an unknown key of a range": (
        'command = "random-mdp"\nsamples = 1\nrandom = { states = { lo = 2, high = 3 } }',
        "random.states.lo is unknown (did you mean 'low'?)",
    ),
    "no samples": (
        'command = "random-mdp"\nrandom = { states = { low = 2, high = 3 } }',
        "samples is missing",
    ),
    "samples of nothing": ('command = "random-mdp"\nsamples = 3', "samples needs a table [random]"),
    "more samples than there are": (
        'command = "random-mdp"\nsamples = 3\nrandom = { states = { choices = [2, 3] } }',
        "samples: [random] has only 2 different combinations, got 3",
    ),
    "no TOML": ('command = "random-mdp', "is no TOML: "),
    "a module that there is not": (
        'command = "random-mdp"\nmodules = ["no_such_module"]',
        "modules: 'no_such_module' cannot be imported (ModuleNotFoundError: ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_configurations_are_refused(name, tmp_path):
    """In one line, with the file, and before anything is made."""
    text, message = BAD[name]
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    code, printed, error = sobirl("sweep", path, "--out", tmp_path / "out")
    assert (code, printed) == (2, "")
    assert error.startswith(f"sobirl: error: {path}: ")
    assert message in error
    assert error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.toml"]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidInputError, match=r"gone\.toml: there is no such file"):
        read_config(tmp_path / "gone.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", 0), "workers: must be at least 1, got 0"),
        (("--batch", 0), "batch: must be at least 1, got 0"),
        (("--gpus", 1), "--gpus goes with --engine ray only"),
        (("--engine", "ray", "--workers", 2), "--workers goes with --engine local only"),
        (("--engine", "ray", "--cpus", -1), "cpus: must be 0 or more, got -1.0"),
        (("--engine", "dask"), "dask"),
    ],
)
def test_bad_options_are_refused(options, message, tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('command = "random-mdp"')
    code, _, error = sobirl("sweep", path, "--out", tmp_path / "out", *options)
    assert code == 2
    assert message in error


def test_ray_that_is_not_installed(tmp_path, monkeypatch):
    path = tmp_path / "sweep.toml"
    path.write_text('command = "random-mdp"')
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, error = sobirl("sweep", path, "--out", tmp_path / "out", "--engine", "ray")
    assert code == 2
    assert error == "sobirl: error: engine ray needs a further package: pip install 'sobirl[ray]'\n"


def test_a_dry_run_shows_the_cells(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('command = "random-mdp"\ngrid = { method = ["exact", "m-sobirl"] }')
    code, printed, error = sobirl("sweep", path, "--out", tmp_path / "out", "--dry-run")
    assert (code, error) == (0, "")
    assert printed.count("left") == 2
    assert "m-sobirl" in printed
    assert not (tmp_path / "out").exists()
