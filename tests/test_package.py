"""The package as a whole: a light import, documented names, links that lead somewhere."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sobirl as sb
from sobirl.experiments.registry import EXPERIMENTS

ROOT = Path(__file__).parents[1]


HEAVY = {"jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "matplotlib", "rich", "pydantic"}
HEAVY |= {
    "gymnasium",
    "gymnax",
    "mujoco",
    "ale_py",
    "torch",
    "pandas",
    "flashbax",
    "ray",
    "pyarrow",
}


@pytest.mark.parametrize(
    ("program", "allowed"),
    [
        ("import sobirl", set()),
        # What answers at once: nothing is loaded before something is computed.
        ("from sobirl.apps.cli import main; main(['--version'])", {"rich"}),
        ("from sobirl.apps.cli import main; main(['--help'])", {"rich"}),
        ("from sobirl.apps.cli import main; main(['list'])", {"rich"}),
        ("from sobirl.apps.cli import main; main(['sweep', '--help'])", {"rich"}),
        *(
            (f"from sobirl.apps.cli import main; main(['run', {name!r}, '--help'])", {"rich"})
            for name in EXPERIMENTS
        ),
    ],
)
def test_a_light_start(program, allowed):
    code = f"import sys\n{program}\nprint('LOADED', *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.rpartition("LOADED")[2].split())
    assert loaded & HEAVY <= allowed


def test_every_public_name_is_there():
    for name in sb.__all__:
        assert getattr(sb, name) is not None
    assert set(sb.__all__) <= set(dir(sb))
    assert "Exact" in sb.__all__  # from the table of methods
    with pytest.raises(AttributeError, match="no attribute 'minimise'"):
        _ = sb.minimise


def test_functions_are_functions():
    """No module has the name of a public function, which importing it would take."""
    importlib.import_module("sobirl.bilevel.minimization")
    importlib.import_module("sobirl.solvers.solution")
    for name in ("solve", "minimize", "check_gradients", "record", "load_run", "rollout"):
        assert inspect.isfunction(getattr(sb, name)), name


def test_import_starts_no_backend():
    """So that users can still configure JAX after `import sobirl`."""
    code = (
        "import sobirl, jax; jax.config.update('jax_enable_x64', True);"
        " jax.config.update('jax_num_cpu_devices', 3); print(len(jax.devices()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "3"


@pytest.mark.parametrize("name", sb.__all__)
def test_public_names_are_documented(name):
    assert inspect.getdoc(getattr(sb, name))


def test_problems_are_loaded_when_they_are_asked_for():
    assert sb.problems.four_rooms.FourRooms
    assert "four_rooms" in dir(sb.problems)
    with pytest.raises(AttributeError):
        _ = sb.problems.chess


def test_readme_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (?!Unreleased)([^:\s]+)", text, re.MULTILINE)
    assert newest[1] == sb.__version__
