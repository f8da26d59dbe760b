"""The package as a whole: a light import, documented names, links that lead somewhere."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sobirl as sb

ROOT = Path(__file__).parents[1]


def test_import_loads_no_heavy_packages():
    code = (
        "import sys, sobirl; heavy = {'matplotlib', 'cyclopts', 'gymnasium', 'gymnax', 'starlette',"
        " 'fastapi', 'ray', 'mujoco', 'ale_py', 'torch', 'pandas'};"
        " print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


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
    newest = re.search(r"^## ([^:\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == sb.__version__
