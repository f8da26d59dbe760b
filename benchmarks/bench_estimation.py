"""Discrete choice: Rust's table, Su and Judd's Monte Carlo, coverage, and a million states.

    python benchmarks/bench_estimation.py table            Rust (1987), table IX, group 4
    python benchmarks/bench_estimation.py monte-carlo      Su and Judd (2012), 250 samples, 5 starts
    python benchmarks/bench_estimation.py coverage         intervals of 200 samples
    python benchmarks/bench_estimation.py estimators       `mle`, `ccp`, `npl` and their errors, for
                                                           the figures of docs/estimation
    python benchmarks/bench_estimation.py million          100 x 100 x 100 states
    python benchmarks/bench_estimation.py peer --econirl PYTHON --ruspy PYTHON
                                                           their nested fixed points beside ours
    python benchmarks/bench_estimation.py supermarket CSV  Aguirregabiria's (1999) panel, as econirl
                                                           has it: datasets/supermarket_data.csv

`--samples` makes a part smaller, `--first` is the seed to begin with, `--discount` picks one of the
Monte Carlo's, whose runs are added to `--out`.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

import jax
import numpy as np

import sobirl as sb
from sobirl.core.errors import ConvergenceError
from sobirl.problems import rust_bus

jax.config.update("jax_enable_x64", True)

GROUP4 = Path(rust_bus.__file__).parent / "data" / "rust1987_group4.csv"

# Rust (1987), table IX, group 4, linear cost: RC and its error, θ₁ and its error, joint log L.
PUBLISHED = {0.9999: (10.0750, 1.582, 2.2930, 0.639, -3304.155), 0.0: (7.6358, 71.5133, -3306.028)}


def buses(discount, states=90, transitions=None):
    """Rust's model with the linear cost."""
    return sb.DiscreteChoice(
        states={"state": states},
        actions=("keep", "replace"),
        features={"RC": {"replace": -1.0}, "theta": {"keep": lambda s: -0.001 * s}},
        transitions=transitions or sb.Increments(3, reset=["replace"], column="usage"),
        discount=discount,
    )


def group4():
    """The rows that Rust's likelihood uses, as a mapping of columns."""
    panel = rust_bus.group4()
    later = panel.period >= 1
    columns = {"unit": panel.bus, "period": panel.period, "state": panel.state}
    columns |= {"usage": panel.usage, "action": panel.decision}
    return {name: values[later] for name, values in columns.items()}


def table(_):
    """Rust's table IX."""
    data = group4()
    for discount in (0.9999, 0.0):
        two_step = buses(discount).fit(data)
        joint = buses(discount).fit(data, first_stage="joint")
        print(f"discount {discount}: published {PUBLISHED[discount]}")
        for name, result in (("Murphy-Topel", two_step), ("joint", joint)):
            logs = f"log L {result.log_likelihood:.3f}, joint {result.joint_log_likelihood:.4f}"
            print(f"  {name}: RC, theta = {result.values.round(4).tolist()}; {logs}")
            for cov_type in ("hessian", "opg", "sandwich", "cluster"):
                errors = result.with_covariance(cov_type).standard_errors
                print(f"    {cov_type:10} {errors.round(4).tolist()}")
        for estimator in ("ccp", "npl"):
            found = buses(discount).fit(data, estimator=estimator)
            print(
                f"  {estimator}: {found.values.round(5).tolist()}, {found.found.iterations} steps"
            )


def monte_carlo(arguments):
    """Su and Judd (2012), section 5: N = 175, 50 buses, 120 periods."""
    chances = np.array([0.0937, 0.4475, 0.4459, 0.0127, 0.0002])
    truth = {"RC": 11.7257, "theta": 2.4569}
    discounts = [arguments.discount] if arguments.discount else [0.975, 0.985, 0.995]
    for discount in discounts:
        known = sb.Increments(5, reset=["replace"], probabilities=chances / chances.sum())
        simulator = buses(discount, 175, known)
        model = buses(discount, 175, sb.Increments(5, reset=["replace"]))
        for seed in range(arguments.first, arguments.first + (arguments.samples or 250)):
            data = model.read(simulator.simulate(truth, units=50, periods=120, seed=seed))
            for start in range(5):
                line = {"discount": discount, "seed": seed, "start": start}
                first = {"RC": 4.0 + start, "theta": 1.0 + start}
                clock = time.perf_counter()
                try:
                    result = model.fit(data, start=first, first_stage="fixed")
                except (ConvergenceError, sb.InvalidInputError) as error:
                    line |= {"converged": False, "error": str(error)}
                else:
                    newton = result.found.newton
                    line |= {"converged": bool(newton.converged), "values": result.values.tolist()}
                    line |= {"log_likelihood": result.log_likelihood, "steps": newton.steps}
                    line |= {"newton_seconds": newton.run_seconds}
                line["seconds"] = time.perf_counter() - clock
                with arguments.out.open("a") as file:
                    print(json.dumps(line), file=file)
    summarize(arguments.out)


def summarize(path):
    """The Monte Carlo's table, from all lines so far."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for discount in sorted({line["discount"] for line in lines}):
        runs = [line for line in lines if line["discount"] == discount]
        good = [line for line in runs if line["converged"]]
        best = {}
        for line in good:
            known = best.get(line["seed"], line)
            best[line["seed"]] = max(known, line, key=lambda run: run["log_likelihood"])
        apart = sum(
            best[line["seed"]]["log_likelihood"] - line["log_likelihood"] > 1e-6 for line in good
        )
        values = np.array([line["values"] for line in best.values()])
        print(
            f"discount {discount}: {len(good)} of {len(runs)} runs of {len(best)} samples "
            f"converged, {apart} of them below the best; RC, theta "
            f"{values.mean(axis=0).round(3).tolist()} "
            f"({values.std(axis=0, ddof=1).round(3).tolist()}); medians "
            f"{np.median([line['seconds'] for line in good]):.3f} s a fit with its errors, "
            f"{np.median([line['newton_seconds'] for line in good]):.3f} s of Newton's method, "
            f"{np.median([line['steps'] for line in good]):.0f} steps"
        )


def coverage(arguments):
    """How often 95 % intervals hold the truth: by covariance, of four models."""
    chances = np.array([0.3, 0.5, 0.2])
    known = sb.Increments(3, reset=[1], probabilities=chances)
    plain = {
        "states": {"s": 20},
        "actions": 2,
        "features": {"rc": {1: -1.0}, "wear": {0: lambda s: -0.1 * s}},
        "discount": 0.95,
    }
    priced = {
        "states": {"s": 10, "price": [0.0, 1.0]},
        "actions": 2,
        "features": {
            "rc": {1: -1.0},
            "wear": {0: lambda s, p: -0.2 * s},
            "price": {1: lambda s, p: -p},
        },
        "discount": 0.95,
    }
    moves = np.array([[[0.8, 0.2]], [[0.4, 0.6]]])
    first = sb.Increments(3, reset=[1])
    finite = plain | {"horizon": 20, "discount": 1.0, "states": {"s": 12}}
    typed = plain | {
        "types": {"kind": [0.0, 1.0]},
        "features": plain["features"] | {"heavy": {0: lambda s, kind: -0.1 * s * kind}},
    }
    typed["features"]["wear"] = {0: lambda s, kind: -0.1 * s}
    of_types = sb.Increments(3, reset=[1], by_type=True)
    models = {
        "two types": (typed, known, of_types, {"rc": 4.0, "wear": 1.5, "heavy": 0.8}, 30),
        "wear": (plain, known, first, {"rc": 4.0, "wear": 1.5}, 30),
        "wear and price": (
            priced,
            {"s": known, "price": moves},
            {"s": first, "price": sb.Frequencies(by_action=False)},
            {"rc": 3.0, "wear": 1.0, "price": 1.0},
            30,
        ),
        "finite horizon": (finite, known, first, {"rc": 4.0, "wear": 1.5}, 20),
    }
    if arguments.argument:
        models = {arguments.argument: models[arguments.argument]}
    for name, (model, law, unknown, truth, periods) in models.items():
        inside = {kind: [] for kind in ("hessian", "opg", "sandwich", "cluster", "fixed")}
        values = np.array(list(truth.values()))
        for seed in range(arguments.first, arguments.first + (arguments.samples or 200)):
            simulator = sb.DiscreteChoice(**model, transitions=law)
            length = periods * arguments.length
            data = simulator.simulate(truth, units=100, periods=length, seed=seed)
            result = sb.DiscreteChoice(**model, transitions=unknown).fit(data)
            for kind in inside:
                own = (
                    result.with_covariance("hessian", "fixed")
                    if kind == "fixed"
                    else result.with_covariance(kind)
                )
                low, high = own.confidence_intervals().T
                inside[kind].append((low < values) & (values < high))
        shares = {kind: np.mean(found, axis=0).round(3).tolist() for kind, found in inside.items()}
        print(f"{name}: {shares}", flush=True)


WEAR = {"rc": 4.0, "wear": 1.5}


def wear(transitions):
    """A machine of 20 states that wears, and is replaced."""
    return sb.DiscreteChoice(
        states={"s": 20},
        actions=2,
        features={"rc": {1: -1.0}, "wear": {0: lambda s: -0.1 * s}},
        transitions=sb.Increments(3, reset=[1], probabilities=transitions),
        discount=0.95,
    )


def estimators(arguments):
    """Bias, spread and time of three estimators, and of their errors; lines are added to `--out`.

    Samples of 25, 100 and 400 units over 30 periods; the bootstrap of every fourth one of 100.
    """
    for units in (25, 100, 400):
        for seed in range(arguments.first, arguments.first + (arguments.samples or 200)):
            data = wear((0.3, 0.5, 0.2)).simulate(WEAR, units=units, periods=30, seed=seed)
            for name in ("mle", "ccp", "npl"):
                line = {"units": units, "seed": seed, "estimator": name}
                clock = time.process_time()
                try:
                    result = wear(None).fit(data, estimator=name)
                except (ConvergenceError, sb.InvalidInputError) as error:
                    line["error"] = str(error)
                else:
                    line |= {"values": result.values.tolist(), "errors": {}}
                    line["seconds"] = time.process_time() - clock
                    for kind in ("hessian", "opg", "sandwich", "cluster"):
                        own = result.with_covariance(kind).standard_errors
                        line["errors"][kind] = own.tolist()
                    fixed = result.with_covariance("hessian", "fixed").standard_errors
                    line["errors"]["fixed"] = fixed.tolist()
                    if name == "mle" and units == 100 and seed % 4 == 0:
                        drawn = result.bootstrap(100, seed)
                        line["errors"]["bootstrap"] = drawn.standard_errors.tolist()
                with arguments.out.open("a") as file:
                    print(json.dumps(line), file=file)
    lines = [json.loads(line) for line in arguments.out.read_text().splitlines()]
    truth = np.array(list(WEAR.values()))
    for units in (25, 100, 400):
        for name in ("mle", "ccp", "npl"):
            own = [x for x in lines if (x["units"], x["estimator"]) == (units, name)]
            good = [x for x in own if "values" in x]
            values = np.array([x["values"] for x in good])
            print(
                f"{units} units, {name}: {len(good)} of {len(own)}; bias "
                f"{(values.mean(axis=0) - truth).round(3).tolist()}, spread "
                f"{values.std(axis=0, ddof=1).round(3).tolist()}, median "
                f"{np.median([x['seconds'] for x in good]):.3f} s of CPU"
            )


def machines(size, transitions):
    """Three components of `size` states each; any one may be replaced in a period."""
    parts = ("a", "b", "c")
    others = lambda own: lambda *s: -0.01 * sum(s[i] for i in range(3) if i != own)  # noqa: E731
    wear = {"none": others(None)} | {part: others(i) for i, part in enumerate(parts)}
    return sb.DiscreteChoice(
        states=dict.fromkeys(parts, size),
        actions=("none", *parts),
        features={"rc": dict.fromkeys(parts, -1.0), "wear": wear},
        transitions={
            part: sb.Increments(3, reset=[part], probabilities=transitions) for part in parts
        },
        discount=0.95,
    )


def million(arguments):
    """A product of three chains, simulated and recovered; Newton's method starts at the estimate
    of the model that ends where nobody came.
    """
    size, truth = arguments.size, {"rc": 6.0, "wear": 4.0}
    clock = time.process_time()
    data = machines(size, (0.4, 0.5, 0.1)).simulate(truth, units=300, periods=120)
    print(f"{size**3:,} states: simulated in {time.process_time() - clock:.0f} s", flush=True)
    most = 5 + max(int(data[part].max()) for part in ("a", "b", "c"))
    start = {}
    if most < size:
        clock = time.process_time()
        start = machines(most, None).fit(data, first_stage="fixed").params
        seconds = time.process_time() - clock
        print(f"{most**3:,} states: {start} in {seconds:.0f} s", flush=True)
    clock = time.process_time()
    # The objective is a sum over 36,000 decisions: this is 1e-6 of a standard error.
    result = machines(size, None).fit(data, start=start, tolerance=1e-4)
    newton = result.found.newton
    print(result.summary())
    z = (result.values - list(truth.values())) / result.standard_errors
    print(
        f"truth {truth}, z-scores {z.round(2).tolist()}; fit {time.process_time() - clock:.0f} s "
        f"of CPU, of which Newton's method {newton.run_seconds:.0f} s of wall in {newton.steps} "
        "steps"
    )


_ECONIRL = """
import json, sys, time
import pandas as pd
frame = pd.read_csv(sys.argv[1])
frame = frame[frame.period > 0]
for _ in range(2):
    wall, cpu = time.perf_counter(), time.process_time()
    from econirl import NFXP
    from econirl.datasets import rust_bus_reward_spec
    found = NFXP(n_states=90, discount=0.9999, utility=rust_bus_reward_spec(90)).fit(
        frame, state="state", action="decision", id="Bus_ID"
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"params": {k: float(v) for k, v in found.params_.items()},
        "errors": {k: float(v) for k, v in found.se_.items()},
        "log_likelihood": float(found.log_likelihood_), "seconds": wall, "cpu": cpu}))
"""

_RUSPY = """
import json, sys, time
import numpy as np, pandas as pd
frame = pd.read_csv(sys.argv[1]).set_index(["Bus_ID", "period"])
says = {"discount_factor": 0.9999, "num_states": 90, "maint_cost_func": "linear"}
says["cost_scale"] = 1e-3
for _ in range(2):
    wall, cpu = time.perf_counter(), time.process_time()
    from estimagic import minimize
    from ruspy.estimation.criterion_function import get_criterion_function
    got, _ = get_criterion_function({"model_specifications": says, "method": "NFXP"}, frame)
    found = minimize(got["criterion_function"], np.array([2.0, 10.0]), "scipy_lbfgsb",
        derivative=got["criterion_derivative"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"params": np.asarray(found.params).tolist(), "success": bool(found.success),
        "log_likelihood": -float(found.criterion), "seconds": wall, "cpu": cpu}))
"""


def peer(arguments):
    """econirl and ruspy in environments of their own, then ours, on the same rows."""
    for name, program in (("econirl", _ECONIRL), ("ruspy", _RUSPY)):
        python = getattr(arguments, name)
        if python:
            command = [python, "-c", program, str(GROUP4)]
            out = subprocess.run(command, capture_output=True, text=True)
            lines = out.stderr[-2000:] if out.returncode else out.stdout
            print("\n".join(f"{name}: {line}" for line in lines.splitlines()), flush=True)
    data = group4()
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        result = buses(0.9999).fit(data, first_stage="fixed")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"sobirl: {result.params}, errors {result.standard_errors.round(4).tolist()}, sandwich "
            f"{result.with_covariance('sandwich').standard_errors.round(4).tolist()}, log L "
            f"{result.log_likelihood:.5f}, {wall:.2f} s, {cpu:.2f} s of CPU"
        )


def supermarket(arguments):
    """A supermarket's orders and promotions: 534 products, 26 months.

    Aguirregabiria, The dynamics of markups and inventories in retailing firms, Review of Economic
    Studies 66 (1999). econirl (MIT) has the panel with inventories in five bins; it is read there.
    """
    orders, promotions = ("order", "promotion, order"), ("promotion", "promotion, order")
    every = ("nothing", "order", "promotion", "promotion, order")
    features = {
        "order": dict.fromkeys(orders, -1.0),
        "promotion": dict.fromkeys(promotions, -1.0),
        "new promotion": dict.fromkeys(promotions, lambda stock, before: -1.0 * (before == 0)),
        "holding": dict.fromkeys(every, lambda stock, before: -stock / 4),
        "stockout": {
            a: lambda stock, before: -1.0 * (stock == 0) for a in every if a not in orders
        },
    }
    model = sb.DiscreteChoice(
        states={"inventory_bin": 5, "lagged_promotion": 2},
        actions=every,
        features=features,
        transitions=sb.Frequencies(smoothing=1.0),
        discount=0.95,
    )
    result = model.fit(arguments.argument, unit="product_id", cov_type="cluster", gaps="split")
    print(result.summary())
    cheaper = result.counterfactual(order=lambda p: 0.5 * p["order"])
    print("shares with half the parameter of an order:", cheaper.shares)
    print("at the estimate:", cheaper.baseline.shares)


PARTS = {
    "table": table,
    "monte-carlo": monte_carlo,
    "coverage": coverage,
    "estimators": estimators,
    "million": million,
    "peer": peer,
    "supermarket": supermarket,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS, nargs="?", default="table")
    parser.add_argument(
        "argument",
        nargs="?",
        help="of `supermarket` a file, of `coverage` a model's name",
    )
    parser.add_argument("--samples", type=int)
    parser.add_argument("--first", type=int, default=0, help="seed of the first sample")
    parser.add_argument(
        "--out", type=Path, default=Path("monte_carlo.jsonl"), help="lines are added"
    )
    parser.add_argument("--discount", type=float)
    parser.add_argument("--length", type=int, default=1, help="panels of `coverage`, times as long")
    parser.add_argument("--econirl", help="Python of an environment that has it, for `peer`")
    parser.add_argument("--ruspy", help="the same")
    parser.add_argument("--size", type=int, default=100)
    arguments = parser.parse_args()
    PARTS[arguments.part](arguments)
