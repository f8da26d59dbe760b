"""What a type checker makes of the programs that users write."""

import json
import re
import subprocess
import sys
from pathlib import Path

import sobirl as sb

ROOT = Path(__file__).parents[1]
MISTAKES = """
import jax.numpy as jnp
import optax
import sobirl as sb

table, rho = jnp.ones((2, 1, 2)) / 2, [0.5, 0.5]
P = sb.Dense(table)

def follower(x):
    return sb.SoftMDP(P, x, discount=0.9, temperature=1.0, initial=rho)

def objective(x, response):
    return jnp.sum(response.value)

problem = sb.BilevelProblem(follower, objective)
result = sb.minimize(problem, jnp.zeros(2), steps=3)  # unexpected-keyword
sb.SoftMDP(transition=P, reward=[1.0, 2.0], discount=0.9, initial=rho)  # missing-argument
sb.SoftMDP(P, [1.0, 2.0], 0.9, temperature="hot", initial=rho)  # bad-argument-type
sb.SoftMDP(table, [1.0, 2.0], 0.9, 1.0, initial=rho)  # bad-argument-type
sb.SuccessorList("next", table)  # bad-argument-type
sb.BilevelProblem(follower, objective, weight=[1.0])  # unexpected-keyword
sb.BilevelProblem(follower(jnp.zeros(2)), objective)  # bad-argument-type
print(result.objektive)  # missing-attribute
print(sb.solve(follower(jnp.zeros(2))).polcy)  # missing-attribute
sb.solve(objective)  # no-matching-overload
sb.minimize(problem, jnp.zeros(2), method=3)  # bad-argument-type
sb.MSoBiRL(adjoint="occupancy")  # unexpected-keyword
sb.METHODS["exact"].clas  # missing-attribute
sb.record(problem, jnp.zeros(2))  # missing-argument
sb.load_run("here").histori  # missing-attribute
sb.Exakt()  # missing-attribute
"""


def check(program: str, tmp_path: Path) -> list[dict]:
    """What pyrefly finds in a program, without any configuration of ours."""
    (tmp_path / "pyrefly.toml").write_text('preset = "default"\n')
    file = tmp_path / "program.py"
    file.write_text(program)
    where = ["--python-interpreter-path", sys.executable, "--search-path", str(ROOT / "src")]
    command = [sys.executable, "-m", "pyrefly", "check", *where, "--output-format", "json"]
    process = subprocess.run(
        [*command, "--config", str(tmp_path / "pyrefly.toml"), str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode in (0, 1), process.stderr
    return json.loads(process.stdout)["errors"]


def revealed(expressions: list[str], tmp_path: Path, program: str = "") -> dict[str, str]:
    """Their types."""
    head = f"from typing import reveal_type\nimport sobirl as sb\n{program}\n"
    lines = "\n".join(f"reveal_type({expression})" for expression in expressions)
    found = check(head + lines, tmp_path)
    assert [entry["name"] for entry in found] == ["reveal-type"] * len(expressions), found
    kinds = (entry["description"].partition("revealed type: ")[2] for entry in found)
    return dict(zip(expressions, kinds, strict=True))


def test_the_readmes_program_passes(tmp_path):
    first, second, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert "sb.minimize(" in first and "sb.solve(" in second
    assert check(first + second, tmp_path) == []


def test_mistakes_are_found(tmp_path):
    lines = MISTAKES.splitlines()
    expected = {
        number: line.partition("  # ")[2]
        for number, line in enumerate(lines, start=1)
        if "  # " in line
    }
    assert {error["line"]: error["name"] for error in check(MISTAKES, tmp_path)} == expected


def test_public_names_are_known(tmp_path):
    """Those that are loaded when they are asked for, too; none is left unknown."""
    types = revealed([f"sb.{name}" for name in sb.__all__], tmp_path)
    assert not {name for name, kind in types.items() if kind in ("Any", "Unknown")}
    assert types["sb.SoftMDP"] == "type[SoftMDP]"
    assert types["sb.METHODS"] == "dict[str, MethodEntry]"


def test_what_solve_gives_is_known(tmp_path):
    """A `Solution` of a soft MDP, and of another lower level whatever its own `solve` gives."""
    program = """
class Market:
    def solve(self, *, initial_value=None, throw: bool = True) -> str:
        return "prices"

def at(mdp: sb.SoftMDP, problem: sb.BilevelProblem):
    level: sb.LowerLevel[str] = Market()
    return sb.solve(mdp), sb.solve(Market()), sb.minimize(problem, 0.0), sb.Exact(), level
"""
    assert revealed(["at"], tmp_path, program)["at"].endswith(
        "-> tuple[Solution, str, Result, Exact, LowerLevel[str]]"
    )
