"""`make test-versions`: a quick part of the tests with the lowest and the newest dependencies.

    python tests/versions.py [JAX ...]

The range is what `pyproject.toml` claims, on every Python of its claim that this machine has.
Versions of JAX that lie between, `0.10` or `0.11.1`, are tried with the newest of all else. Every
combination has its environment and its log in `.cache/versions`, and prints one line.
"""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".cache" / "versions"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The tabular world needs no extra, but these of the extra `dev`.
TOOLS = ("beartype", "hypothesis", "pytest")
QUICK = (
    "tests/core",
    "tests/mdp",
    "tests/solvers/test_solve.py",
    "tests/hypergrad/test_exact.py",
    "tests/hypergrad/test_m_sobirl.py",
    "tests/bilevel/test_minimize.py",
    "tests/bilevel/test_projections.py",
    "tests/problems/test_tabular.py",
    "tests/test_broken_input.py",
)
SHOWN = ("jax", "equinox", "optax", "numpy", "scipy")


def pythons() -> dict[str, str]:
    """A working interpreter for every minor version of the claim that is found."""
    claim, found = SpecifierSet(PROJECT["requires-python"]), {}
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(30):
        name = f"python3.{minor}"
        for candidate in (shutil.which(name), *sorted(managed.glob(f"3.{minor}.*/bin/{name}"))):
            asked = "import ensurepip, platform, venv; print(platform.python_version())"
            # Shims of version managers exist without what they stand for.
            answer = candidate and subprocess.run(
                [candidate, "-c", asked], capture_output=True, text=True, check=False
            )
            if answer and answer.returncode == 0 and claim.contains(answer.stdout.strip()):
                found.setdefault(f"3.{minor}", str(candidate))
    return found


def requirements() -> list[Requirement]:
    """The dependencies, and the tools of the extra `dev`."""
    tools = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]
    needed = [Requirement(text) for text in PROJECT["dependencies"]]
    return needed + [tool for tool in tools if tool.name in TOOLS]


def lowest() -> list[str]:
    """The lower bounds as pins."""
    pins = []
    for need in requirements():
        (bound,) = (part.version for part in need.specifier if part.operator == ">=")
        pins.append(f"{need.name}=={bound}")
    return pins


def combinations(between: list[str]) -> dict[str, list[str]]:
    """What is installed, by the name of the combination."""
    newest = list(map(str, requirements()))
    middle = {
        f"jax-{version}": [*newest, f"jax=={version}" + ".*" * (version.count(".") == 1)]
        for version in between
    }
    return {"lowest": lowest(), **middle, "newest": newest}


def exists(interpreter: str, package: str) -> bool:
    """Whether a Python can have it: new releases leave old Pythons behind."""
    asked = [
        interpreter,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        FOLDER,
        package,
    ]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def tried(python: str, interpreter: str, name: str, packages: list[str]) -> bool:
    """Install, test, print the line; whether all passed."""
    folder = FOLDER / f"{python}-{name}"
    log, binary = FOLDER / f"{python}-{name}.log", folder / "bin" / "python"
    began = time.monotonic()
    if name.startswith("jax-") and not exists(interpreter, packages[-1]):
        print(f"none   {python:5} {name}: no {packages[-1]} for this Python", flush=True)
        return True
    steps = [
        [interpreter, "-m", "venv", "--clear", folder],
        [binary, "-m", "pip", "install", "--quiet", *packages, "--editable", ROOT],
        [binary, "-m", "pytest", "-p", "no:cacheprovider", *QUICK],
    ]
    with log.open("w") as output:
        code = 0
        for step in steps:
            code = code or subprocess.call(step, stdout=output, stderr=output, cwd=ROOT)
    asked = f"from importlib.metadata import version as v; print(*map(v, {SHOWN}))"
    answer = subprocess.run([binary, "-c", asked], capture_output=True, text=True, check=False)
    versions = zip(SHOWN, answer.stdout.split(), strict=False)
    last = log.read_text().strip().splitlines()[-1:] or [""]
    print(
        "ok    " if code == 0 else "FAILED",
        f"{python:5} {name:10}",
        "  ".join(f"{package} {version:9}" for package, version in versions),
        f" {time.monotonic() - began:4.0f} s  {last[0]}",
        flush=True,
    )
    if code:
        print(f"       see {log}", flush=True)
    return code == 0


def main(between: list[str]) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    results = [
        tried(python, interpreter, name, packages)
        for python, interpreter in pythons().items()
        for name, packages in combinations(between).items()
    ]
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
