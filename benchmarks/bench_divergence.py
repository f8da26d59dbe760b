"""Where the paper's single loop diverges, and what of it the other variants mend.

    python benchmarks/bench_divergence.py [--quick] [--figures docs/figures]

The adjoint alone, at the converged policy: the paper's step on the normal equations,
w ← w - ζ(BᵀBw - Bᵀb), is stable only while ζ < 2/‖B‖₂²; the occupancy step, w ← b + γP_πᵀw,
contracts by γ. Then the whole method, from V = 0 with N = 10 sweeps, also with the policy
normalized, beside two controls: the exact gradient, and M-SoBiRL with V solved before every step.

`TargetPolicy` also runs with every transition to one state ("hub"), for which ‖B‖₂ grows like √S.
"""

# Before numpy: it limits the threads of LAPACK.
from single_loop import (
    FAMILIES,
    PAPER_ZETA,
    SWEEPS,
    Instance,
    arrays_of,
    descend,
    make_instance,
    make_methods,
    parse_options,
    print_head,
    print_row,
    progress,
)

# isort: split
import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import figures_convergence as figures
import sobirl as sb
from machine import header

DISCOUNTS = (0.5, 0.9, 0.99)
# The choice of bench_convergence.py for up to 100 states of TargetPolicy. More need a smaller one,
# for the exact gradient too. The paper's problem has its own.
STEP_SIZE, STEP_SIZE_STATES = 1 / 32, 100


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    states: tuple[int, ...] = (10, 50, 100, 200)
    seeds: int = 5
    steps: int = 500


QUICK = Sizes(states=(10, 50), seeds=2)
Case = tuple[str, float, int]  # family, discount, states


# The adjoint alone


@dataclasses.dataclass(frozen=True)
class AdjointStability:
    """Of one case, over seeds."""

    squared_norm: float  # the largest ‖B‖₂²
    smallest: float  # the median of the smallest eigenvalue of BᵀB
    predicted: int  # systems that did what theory says of both steps
    systems: int

    @property
    def critical(self) -> float:
        """The ζ from which the step on the normal equations diverges for some seed."""
        return 2 / self.squared_norm

    def steps_a_digit(self, zeta: float) -> float:
        """Steps on the normal equations that gain a factor of 10; infinite where they diverge."""
        rate = max(abs(1 - zeta * self.smallest), abs(1 - zeta * self.squared_norm))
        return np.log(10) / -np.log(rate) if rate < 1 else np.inf


def behaves(system: np.ndarray, discount: float, squared_norm: float) -> bool:
    """Whether both iterations, run, do what theory says.

    The normal step: the residual shrinks at 0.9 of the critical ζ and grows at 1.1 of it. The
    occupancy step: the residual's 1-norm falls at least by γ.
    """
    b = np.random.default_rng(0).standard_normal(len(system))

    def normal(zeta, w):
        return w - zeta * system.T @ (system @ w - b)

    def residual_after(step, steps, order):
        w = np.zeros_like(b)
        for _ in range(steps):
            w = step(w)
        return np.linalg.norm(system @ w - b, order)

    start = np.linalg.norm(b)
    below = residual_after(functools.partial(normal, 0.9 * 2 / squared_norm), 200, 2)
    above = residual_after(functools.partial(normal, 1.1 * 2 / squared_norm), 200, 2)
    occupancy = residual_after(lambda w: b + w - system @ w, 10, 1)
    contracted = occupancy <= discount**10 * np.abs(b).sum() * (1 + 1e-9)
    return bool(below < start < above and contracted)


def adjoint_stability(case: Case, seeds: int) -> AdjointStability:
    """‖B‖₂² at the converged policy of x0, and the two iterations run."""
    family, discount, states = case
    largest, smallest, predicted = [], [], 0
    for seed in range(seeds):
        instance = make_instance(family, states, seed, discount)
        mdp = instance.follower(jnp.asarray(instance.x0))
        system = np.asarray(mdp.policy_system(sb.solve(mdp).policy).as_matrix()).T
        singular = np.linalg.svd(system, compute_uv=False) ** 2
        largest.append(singular[0])
        smallest.append(singular[-1])
        predicted += behaves(system, discount, singular[0])
    return AdjointStability(max(largest), float(np.median(smallest)), predicted, seeds)


def print_stability(stability: dict[Case, AdjointStability], seeds: int) -> None:
    """‖B‖₂² and the critical ζ by γ, for the fewest and the most states."""
    print(
        f"At the converged policy of x0: the largest ‖B‖₂² over {seeds} seeds and the critical "
        f"ζ = 2/‖B‖₂²\n(bold: below the paper's {PAPER_ZETA}), and how many steps gain a decimal "
        "digit in the worst direction.\n"
    )
    norms = [f"{label}: {what}" for label in FAMILIES.values() for what in ("‖B‖₂²", "critical ζ")]
    digits = [f"{FAMILIES[f]}: steps a digit, ζ = {PAPER_ZETA}" for f in ("target", "paper")]
    print_head(["γ", "S", *norms, *digits, "occupancy: the same"])
    sizes = [states for _, _, states in stability]
    for discount, states in itertools.product(DISCOUNTS, (min(sizes), max(sizes))):
        row = [discount, states]
        for family in FAMILIES:
            found = stability[family, discount, states]
            mark = "**" if found.critical < PAPER_ZETA else ""
            row += [f"{found.squared_norm:.2f}", f"{mark}{found.critical:.3g}{mark}"]
        for family in ("target", "paper"):
            steps = stability[family, discount, states].steps_a_digit(PAPER_ZETA)
            row.append(f"{steps:.0f}" if np.isfinite(steps) else "grows")
        print_row([*row, f"{np.log(10) / -np.log(discount):.0f}"])
    systems = sum(found.systems for found in stability.values())
    predicted = sum(found.predicted for found in stability.values())
    print(
        f"\nRun on a random b, {predicted} of {systems} systems did what theory says: the normal "
        "step grew the residual at\n1.1 of the critical ζ and shrank it at 0.9, and the occupancy "
        "step shrank its 1-norm at least by γ a step.\n"
    )


# The whole method


class Failures(NamedTuple):
    """How many runs did not bring the exact ‖∇φ‖ below a tenth of its first value, and how."""

    not_finite: int = 0
    larger: int = 0  # than at the start
    stalled: int = 0  # between a tenth of the start and the start

    def __str__(self) -> str:
        return "/".join(map(str, self)) if any(self) else "·"

    def and_one(self, ratio: float) -> "Failures":
        """With one more run, whose ‖∇φ‖ ended at `ratio` of its first value."""
        finite = np.isfinite(ratio)
        kinds = not finite, finite and ratio > 1, finite and 0.1 <= ratio <= 1
        return Failures(*(count + int(kind) for count, kind in zip(self, kinds, strict=True)))


def first_mass(instance: Instance, learning_rate: float) -> float:
    """γ max_s Σ_a π_1(a|s) at k = 1, the 1-norm of γP_πᵀ there: above 1 it expands."""
    method = make_methods(instance)["occupancy"]
    arrays = arrays_of(instance)
    x, _ = descend(type(instance), arrays, arrays["x0"], method, learning_rate, 1)
    mdp = instance.follower(x)
    value = jnp.zeros(len(instance.transition))
    for _ in range(SWEEPS):
        value = mdp.soft_value(mdp.action_value(value))
    excess = mdp.soft_value(mdp.action_value(value)) - value
    return instance.discount * float(jnp.exp(jnp.max(excess) / mdp.temperature))


def run_all(case: Case, sizes: Sizes) -> tuple[list[float], dict[str, Failures]]:
    """`first_mass` by seed, and how the runs of every method fail."""
    family, discount, states = case
    masses, failures = [], {}
    for seed in range(sizes.seeds):
        instance = make_instance(family, states, seed, discount)
        learning_rate = STEP_SIZE * min(1, STEP_SIZE_STATES / states)
        learning_rate = getattr(instance, "beta", learning_rate)
        masses.append(first_mass(instance, learning_rate))
        for name, method in make_methods(instance).items():
            ratio = progress(instance, method, learning_rate, sizes.steps)
            failures[name] = failures.get(name, Failures()).and_one(ratio)
    return masses, failures


def measure_failures(sizes: Sizes) -> dict[Case, dict[str, Failures]]:
    """Print how many of the seeds fail, by family, discount and number of states."""
    kinds = [*itertools.product(("target", "paper"), DISCOUNTS), ("hub", 0.5)]
    print(
        f"Of {sizes.seeds} seeds, after {sizes.steps} steps: runs not finite / with a larger exact "
        "‖∇φ‖ than at the start /\nneither, but not below a tenth of it (· where all are). `mass` "
        "is γ max_s Σ_a π_1(a|s), π_1 not\nnormalized, over the seeds. States with the same "
        "outcome share a row.\n"
    )
    measured = {}
    for family, discount in kinds:
        runs = {states: run_all((family, discount, states), sizes) for states in sizes.states}
        if not measured:
            print_head(["problem", "γ", "S", "mass", *runs[sizes.states[0]][1]])
        print_failures([FAMILIES[family], discount], runs)
        measured |= {(family, discount, states): runs[states][1] for states in runs}
    return measured


def print_failures(first: list, runs: dict[int, tuple[list[float], dict[str, Failures]]]) -> None:
    """Rows of the table, by number of states; those with the same outcome, next in size, share."""
    for failures, group in itertools.groupby(runs, lambda states: runs[states][1]):
        group = list(group)
        masses = [mass for states in group for mass in runs[states][0]]
        mass = f"{min(masses):.2g} to {max(masses):.2g}"
        print_row([*first, ", ".join(map(str, group)), mass, *failures.values()])


def main() -> None:
    """Print both tables and draw the figure."""
    options = parse_options(__doc__.splitlines()[0])
    sizes = QUICK if options.quick else Sizes()
    print(header(), end="\n\n")
    cases = itertools.product(FAMILIES, DISCOUNTS, sizes.states)
    stability = {case: adjoint_stability(case, sizes.seeds) for case in cases}
    print_stability(stability, sizes.seeds)
    failures = measure_failures(sizes)
    if options.figures:
        failed = {
            case: {name: sum(kinds) for name, kinds in by_method.items()}
            for case, by_method in failures.items()
        }
        critical = {case: found.critical for case, found in stability.items()}
        figure = figures.divergence(
            failed, critical, FAMILIES, PAPER_ZETA, sizes.seeds, sizes.steps
        )
        figure.savefig(options.figures / "divergence.png", dpi=110)


if __name__ == "__main__":
    main()
