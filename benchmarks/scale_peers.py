"""`solve` on large MDPs beside mdpsolver, mdpax, quantecon and jaxdp.

    python benchmarks/scale_peers.py [--states 2e3 1e5 1e6] [--discounts 0.99 0.999]

Every library solves the same tables in a process and a virtual environment of its own (made below
`--peers` at the first run, with pip) on the same cores, until the largest |T V - V|, measured by
one NumPy function (`scale_peer.py`), is at most 1e-6 (1 - γ), which bounds the error of V by 1e-6.
The hard Bellman equation, which all solve: sobirl at a temperature whose entropy is worth a tenth
of that residual. Soft, at τ = 0.1, where a peer can.

Seconds are those of the solve alone: the median of three where that is quick. "First" is the first
call, compilation included; "load" brings the tables into the library's own form. The ratio is to
sobirl's seconds on the same case: above 1 sobirl is ahead.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import label

from machine import header

PEERS = {
    "mdpsolver": ("mdpsolver==0.10.2", "numpy==2.4.6"),
    "mdpax": ("mdpax==0.2.2",),
    "quantecon": ("quantecon==0.11.4",),
    "jaxdp": ("jaxdp==0.4.0",),
}
ACTIONS = PLACES = 4
WALLS, SLIP = 0.2, 0.2
DENSE_STATES = 2_500  # a full table of more does not fit beside its reward
SOFT_TEMPERATURE = 0.1
COLUMNS = ("MDP", "states", "γ", "τ", "library", "setting", "s", "first", "load", "residual")
COLUMNS += ("MiB", "ratio")
WORKER = Path(__file__).with_name("scale_peer.py")


def settings(kind: str, states: int, temperature: float) -> list[tuple[str, str]]:
    """Who solves a case, and how."""
    dense = states <= DENSE_STATES
    if temperature:
        return [("sobirl", "Auto"), *([("jaxdp", "soft value iteration")] if dense else [])]
    runs = [
        ("sobirl", "Auto"),
        ("mdpsolver", "mpi/standard/100"),
        ("mdpsolver", "mpi/gs/100"),
        ("quantecon", "mpi"),
        ("mdpax", "policy iteration"),
    ]
    if kind == "random" and dense:  # `Auto` makes sweeps above
        runs.insert(1, ("sobirl", "ValueIteration"))
    if dense:
        runs.append(("mdpax", "value iteration"))
    if kind == "grid" or dense:  # scattered successors fill a sparse factor up
        runs.append(("quantecon", "pi"))
    if dense:
        runs.append(("jaxdp", "policy iteration"))
    return runs


def random_mdp(states: int) -> dict[str, np.ndarray]:
    """K successors anywhere, a reward everywhere."""
    rng = np.random.default_rng(0)
    return {
        "successors": rng.integers(0, states, (states, ACTIONS, PLACES), dtype=np.int32),
        "probabilities": rng.dirichlet(np.ones(PLACES), (states, ACTIONS)),
        "reward": rng.random((states, ACTIONS)),
    }


def grid_mdp(states: int) -> dict[str, np.ndarray]:
    """Four slippery moves between the open cells of a square; one cell is worth something."""
    rng = np.random.default_rng(0)
    side = round((states / (1 - WALLS)) ** 0.5)
    parts, _ = label(rng.random((side, side)) > WALLS)
    largest = np.argmax(np.bincount(parts[parts > 0]))
    padded = np.pad(parts == largest, 1)
    number = np.full(padded.shape, -1, np.int32)
    number[padded] = np.arange(padded.sum())
    down, right = np.nonzero(padded)
    here = number[down, right]
    beside = [number[down + i, right + j] for i, j in ((-1, 0), (0, 1), (1, 0), (0, -1))]
    to = np.stack([np.where(there < 0, here, there) for there in beside], -1)
    successors = np.stack([np.roll(to, -turn, -1)[:, [0, 1, 3]] for turn in range(ACTIONS)], 1)
    reward = np.zeros((len(here), ACTIONS))
    reward[rng.integers(len(here))] = 1.0
    law = np.array([1 - SLIP, SLIP / 2, SLIP / 2])
    return {
        "successors": successors.astype(np.int32),
        "probabilities": np.broadcast_to(law, successors.shape).copy(),
        "reward": reward,
    }


def merged(tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same law with the probability of a repeated successor at its first place, 0 after it."""
    successors, probabilities = tables["successors"], tables["probabilities"]
    for later in range(1, successors.shape[-1]):
        for first in range(later):
            same = successors[..., later] == successors[..., first]
            probabilities[..., first] += np.where(same, probabilities[..., later], 0.0)
            probabilities[..., later] = np.where(same, 0.0, probabilities[..., later])
    return tables


KINDS = {"random": random_mdp, "grid": grid_mdp}


def environment(peer: str, folder: Path) -> Path:
    """The peer's Python, installed where it is not yet."""
    python = folder / peer / "bin" / "python"
    done = folder / peer / "installed"
    wanted = " ".join(PEERS[peer])
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", folder / peer], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[peer]], check=True)
        done.write_text(wanted)
    return python


def measure(python: Path, arguments: list[str], own: bool, options) -> dict:
    """What a worker said before it ended or its time was over."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    variables = {**os.environ, **dict.fromkeys(names, str(options.threads))}
    variables["OMP_WAIT_POLICY"] = "passive"  # threads that spin lose by it on a shared machine
    variables.pop("JAX_COMPILATION_CACHE_DIR", None)  # first calls compile
    if not own:
        variables.pop("PYTHONPATH", None)
    cores = sorted(os.sched_getaffinity(0))[: options.threads]
    facts = {}
    try:
        ran = subprocess.run(
            ["taskset", "-c", ",".join(map(str, cores)), python, WORKER, *arguments],
            env=variables,
            capture_output=True,
            timeout=options.limit,
        )
        output = ran.stdout
        if ran.returncode:
            reason = ran.stderr.decode(errors="replace").strip().splitlines() or [""]
            facts["failed"] = f"ended with {ran.returncode}: {reason[-1][:80]}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        facts["failed"] = f"not done in {options.limit:.0f} s"
    for line in output.decode().splitlines():
        if line.startswith("RESULT "):
            facts.update(json.loads(line.removeprefix("RESULT ")))
    return facts


def row(case: list[str], library: str, setting: str, facts: dict, asked: float, own: float | None):
    """Print one line of the table; the seconds, if the residual was reached."""
    reached = facts.get("residual", np.inf) <= asked
    seconds = statistics.median(facts["seconds"]) if reached else None
    cells = [*case, library, setting]
    if "residual" in facts:
        shown = statistics.median(facts["seconds"])
        ratio = f"{seconds / own:.2f}" if seconds and own else ""
        cells += [f"{shown:.3g}", f"{facts['first']:.3g}", f"{facts['load']:.2g}"]
        cells += [f"{facts['residual']:.1e}", f"{facts['memory']:.0f}"]
        cells += [ratio if reached else "missed"]
    else:
        load = f"{facts['load']:.2g}" if "load" in facts else ""
        cells += [facts["failed"], "", load, "", "", ""]
    print("| " + " | ".join(cells) + " |", flush=True)
    if "did" in facts:
        print(f"{library}, {', '.join(case)}: {facts['did']}", file=sys.stderr, flush=True)
    return seconds


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=float, nargs="+", default=[2e3, 1e5, 1e6])
    parser.add_argument("--discounts", type=float, nargs="+", default=[0.99, 0.999])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--libraries", nargs="+", default=["sobirl", *PEERS])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, SOFT_TEMPERATURE])
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of a process")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", type=Path, default=Path("~/.cache/sobirl-peers").expanduser())
    options = parser.parse_args()
    options.peers.mkdir(parents=True, exist_ok=True)
    peers = [name for name in PEERS if name in options.libraries]
    pythons = {name: environment(name, options.peers) for name in peers}
    pythons["sobirl"] = Path(sys.executable)
    print(header() + "; " + ", ".join(pins[0] for pins in PEERS.values()))
    print(f"{options.threads} threads each, at most {options.limit:.0f} s a process\n")
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for states in map(int, options.states):
        for kind in options.kinds:
            path = options.peers / f"{kind}-{states}.npz"
            tables = merged(KINDS[kind](states))
            np.savez(path, **tables)
            size = len(tables["reward"])
            del tables
            for discount in options.discounts:
                for temperature in options.temperatures:
                    if temperature and states > DENSE_STATES:
                        continue
                    asked = 1e-6 * (1 - discount)
                    case = [kind, f"{size:,}", str(discount), str(temperature or "hard")]
                    own = None
                    for library, setting in settings(kind, states, temperature):
                        if library not in options.libraries:
                            continue
                        arguments = [library, setting, path]
                        arguments += [str(discount), str(temperature), str(asked)]
                        facts = measure(pythons[library], arguments, library == "sobirl", options)
                        seconds = row(case, library, setting, facts, asked, own)
                        own = own or (seconds if library == "sobirl" else None)


if __name__ == "__main__":
    main()
