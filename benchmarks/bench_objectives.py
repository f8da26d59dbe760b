"""What the hyper-gradient of each objective of preference learning does, exactly.

    python benchmarks/bench_objectives.py [--instances 60] [--figure docs/figures/objectives.png]

On random instances of several kinds, all from the reward 0: plain learning from preferences (the
explicit term alone, the same for all objectives) beside descent along the exact hyper-gradient of
"loss", "kl" and "win-rate". Every sum over trajectories is taken over all of them. Prints what the
implicit term changes, with 95 % intervals over instances and how many of them it makes better and
worse; for the return once more beside the plain reward times the number that gives its follower the
same entropy, because a greedier follower alone has more return.
"""

import argparse
import dataclasses
import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from jaxtyping import Array  # noqa: E402
from scipy import stats  # noqa: E402

import figures_objectives as figures  # noqa: E402
import sobirl as sb  # noqa: E402
from machine import header  # noqa: E402
from sobirl.prefs import (  # noqa: E402
    preference_entropy,
    preference_loss,
    preference_probability,
    win_probability,
)
from sobirl.problems.preferences import LabelledPairs, Preferences  # noqa: E402

STEPS, STEP_SIZE = 500, 0.1
COUNTS = 1e-3  # a difference that counts as won or lost


@dataclasses.dataclass(frozen=True)
class Kind:
    """Instances of one kind."""

    states: int = 5
    actions: int = 2
    dimension: int = 3
    horizon: int = 2
    realizable: bool = False
    scale: float = 1.0
    temperature: float = 0.5
    given: int | None = None

    def instance(self, seed: int) -> tuple[Preferences, LabelledPairs | None]:
        """The instance of a seed, and the pairs that are given, if any."""
        instance = Preferences.generate(
            self.states,
            self.actions,
            self.dimension,
            self.horizon,
            seed=seed,
            scale=self.scale,
            realizable=self.realizable,
        )
        # An array, so that kinds which differ in numbers alone share a program.
        instance = eqx.tree_at(lambda i: i.temperature, instance, np.array(self.temperature))
        if self.given is None:
            return instance, None
        return instance, instance.labelled_pairs(self.given, jax.random.key(seed))


REALIZABLE = Kind(dimension=4, realizable=True)
KINDS = {
    "realizable": REALIZABLE,
    "realizable, 3 steps": dataclasses.replace(REALIZABLE, horizon=3),
    "realizable, 20 pairs given": dataclasses.replace(REALIZABLE, given=20),
    "2 features": Kind(dimension=2),
    "3 features": Kind(),
    "3 features, τ = 0.2": Kind(temperature=0.2),
    "3 features, τ = 1": Kind(temperature=1.0),
    "3 features, rewards × 3": Kind(scale=3.0),
    "3 features, rewards / 3": Kind(scale=1 / 3),
    "3 features, 3 steps": Kind(horizon=3),
    "3 features, 20 pairs given": Kind(given=20),
    "3 features, 500 pairs given": Kind(given=500),
    "6 features, 8 states, 3 actions": Kind(8, 3, 6),
}


class Objective(NamedTuple):
    """What the follower's response is judged by, beside the same explicit cross-entropy.

    Attributes:
        loss: the weight of the cross-entropy.
        entropy: the weight of the teacher's entropy, which is subtracted.
        defeats: λ, the weight of P(a reference is preferred).
        earlier: whether the reference is the plain reward's policy; otherwise it is uniform.
    """

    loss: float = 0.0
    entropy: float = 0.0
    defeats: float = 0.0
    earlier: bool = False

    @property
    def is_plain(self):
        """Whether nothing is left but the explicit cross-entropy."""
        return self.loss + self.defeats == 0


PLAIN = Objective()
OBJECTIVES = {
    "loss": Objective(loss=1.0),
    "kl": Objective(loss=1.0, entropy=1.0),
    "win-rate": Objective(defeats=1.0),
}
WIN_RATES = {
    **{f"λ = {weight:g}": Objective(defeats=weight) for weight in (0.25, 0.5, 1.0, 2.0, 4.0)},
    "λ = 1, against the plain policy": Objective(defeats=1.0, earlier=True),
}

TABLES = {
    "loss": "Cross-entropy φ on pairs of the follower's own",
    "kl": "The same without the teacher's entropy",
    "off": "How far predicted probabilities are off there, E|σ(z) - q|",
    "return": "True return: 0 is the uniform policy's, 1 the best",
    "entropy": "Entropy of the policy, 1 for the uniform one",
    "coverage": "Entropy of the states and actions visited, 1 if all alike",
}
Measures = dict[str, np.ndarray]
Rows = tuple[Measures, Measures]  # of the plain reward at each one's entropy, and of each one's


class Paths(eqx.Module):
    """All trajectories of an instance's length, those with the same visits in one.

    Attributes:
        counts: how often (s,a) is visited (N,S*A).
        place: which of the N a trajectory belongs to, in the order of `TrajectoryLoss.enumerate`.
    """

    counts: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, kind: Kind) -> "Paths":
        """Of a kind of instances."""
        pairs = kind.states * kind.actions
        every = np.indices((pairs,) * kind.horizon).reshape(kind.horizon, -1)[::-1]
        visits = np.stack([np.sum(every == pair, axis=0) for pair in range(pairs)], axis=-1)
        counts, place = np.unique(visits, axis=0, return_inverse=True)
        return cls(counts.astype(float), place)


class Study(eqx.Module):
    """An instance with all of its trajectories, and what the teacher thinks of them.

    Attributes:
        answers: q of all pairs (N,N).
        entropies: H(q) of all pairs (N,N).
    """

    instance: Preferences
    given: LabelledPairs | None
    paths: Paths
    answers: Array
    entropies: Array

    def __init__(self, instance: Preferences, given: LabelledPairs | None, paths: Paths):
        self.instance, self.given, self.paths = instance, given, paths
        self.answers = preference_probability(self.logits(instance.truth))
        self.entropies = preference_entropy(self.answers)

    @property
    def zero(self) -> Array:
        """x = 0."""
        return jnp.zeros(self.instance.features.shape[-1])

    def policy(self, x: Array) -> Array:
        """The follower's policy at x."""
        return sb.solve(self.instance.follower(x), throw=False).policy

    def chance(self, policy: Array) -> Array:
        """The probability of each of the N under a policy (N,)."""
        instance = self.instance
        loss = sb.TrajectoryLoss(instance.follower, instance.loss, instance.horizon)
        _, chance = loss.enumerate(instance.follower(self.zero), policy)
        return jax.ops.segment_sum(chance, self.paths.place, len(self.paths.counts))

    def returns(self, reward: Array) -> Array:
        """The sum of a reward (S,A) along each of the N (N,)."""
        return self.paths.counts @ reward.ravel()

    def logits(self, reward: Array) -> Array:
        """z of all pairs (N,N)."""
        returns = self.returns(reward)
        return returns[:, None] - returns

    def losses(self, x: Array) -> Array:
        """The cross-entropy of all pairs (N,N); `preference_loss` without noise, and quicker."""
        logits = self.logits(self.instance.features @ x)
        return jax.nn.softplus(logits) - self.answers * logits

    def defeats(self, policy: Array) -> Array:
        """P(a trajectory of a policy is preferred) to each of the N (N,)."""
        returns = self.returns(self.instance.truth)
        return 1 - win_probability(returns, returns, self.chance(policy))

    def explicit(self, x: Array, chance: Array) -> Array:
        """What plain learning minimizes: the cross-entropy on pairs that are held."""
        if self.given is None:
            held = jax.lax.stop_gradient(chance)
            return held @ self.losses(x) @ held
        logits = jax.vmap(lambda pair: self.instance.logit(x, pair))(self.given.pairs)
        return jnp.mean(preference_loss(logits, self.given.answers))

    def gradient(self, objective: Objective, x: Array, reference: Array) -> Array:
        """The exact hyper-gradient."""
        losses = objective.loss * self.losses(x) - objective.entropy * self.entropies
        defeats = objective.defeats * self.defeats(reference)

        def value(x):
            chance = self.chance(self.policy(x))
            return self.explicit(x, chance) + chance @ losses @ chance + chance @ defeats

        return jax.grad(value)(x)

    def descend(self, objective: Objective, reference: Array) -> tuple[Array, Array]:
        """Adam from 0, with steps that shrink to nothing; and how long the last gradient is."""
        adam = optax.adam(optax.cosine_decay_schedule(STEP_SIZE, STEPS))

        def step(carry, _):
            x, state = carry
            gradient = self.gradient(objective, x, reference)
            updates, state = adam.update(gradient, state)
            return (x + updates, state), jnp.linalg.norm(gradient)

        (x, _), slopes = jax.lax.scan(step, (self.zero, adam.init(self.zero)), None, length=STEPS)
        return x, slopes[-1]

    def compare(self, objectives: Objective) -> tuple[Rows, Array]:
        """Of the objectives (K,), plain learning first: see `Rows`; and the last gradients' norms.

        The plain reward's policy is there when the others need it as a reference.
        """
        uniform = jnp.full(self.instance.truth.shape, 1 / self.instance.truth.shape[1])

        def one(plain, objective):
            x, slope = self.descend(objective, jnp.where(objective.earlier, plain, uniform))
            return jnp.where(objective.is_plain, self.policy(x), plain), (x, slope)

        _, (x, slopes) = jax.lax.scan(one, uniform, objectives)
        after = jax.vmap(self.measures)(x)
        as_random = jax.vmap(lambda entropy: self.as_random(x[0], entropy))(after["entropy"])
        return (jax.vmap(self.measures)(as_random), after), slopes

    def measures(self, x: Array) -> dict[str, Array]:
        """What there is to say of the reward at x and of its follower."""
        mdp, policy = self.instance.follower(x), self.policy(x)
        chance = self.chance(policy)
        loss = chance @ self.losses(x) @ chance
        off = jnp.abs(preference_probability(self.logits(mdp.reward)) - self.answers)
        uniform, best = self.range_of_returns()
        reached = sb.policy_return(mdp, policy, self.instance.truth)
        visits = sb.occupancy(mdp, policy) * (1 - mdp.discount)
        return {
            "loss": loss,
            "kl": loss - chance @ self.entropies @ chance,
            "off": chance @ off @ chance,
            "return": (reached - uniform) / (best - uniform),
            "entropy": self.entropy(x),
            "coverage": jnp.sum(jax.scipy.special.entr(visits)) / jnp.log(visits.size),
        }

    def entropy(self, x: Array) -> Array:
        """Of the follower's policy, the mean over where it goes, in units of log A."""
        mdp, policy = self.instance.follower(x), self.policy(x)
        visits = jnp.sum(sb.occupancy(mdp, policy), axis=-1) * (1 - mdp.discount)
        entropy = jnp.sum(jax.scipy.special.entr(policy), axis=-1)
        return visits @ entropy / jnp.log(policy.shape[1])

    def range_of_returns(self) -> tuple[Array, Array]:
        """The uniform and the best policy's return in the teacher's reward."""
        truth, mdp = self.instance.truth, self.instance.follower(self.zero)

        def sweep(value, _):
            return jnp.max(truth + mdp.discount * mdp.transition.expect(value), axis=-1), None

        best, _ = jax.lax.scan(sweep, jnp.zeros(len(truth)), None, length=200)
        uniform = jnp.full(truth.shape, 1 / truth.shape[1])
        return sb.policy_return(mdp, uniform, truth), mdp.initial @ best

    def as_random(self, x: Array, entropy: Array) -> Array:
        """c x, with the c > 0 by which its follower has this entropy."""

        def halve(bounds, _):
            low, high = bounds
            middle = (low + high) / 2
            more = self.entropy(jnp.exp(middle) * x) > entropy
            return (jnp.where(more, middle, low), jnp.where(more, high, middle)), None

        bounds, _ = jax.lax.scan(halve, (jnp.array(-8.0), jnp.array(8.0)), None, length=40)
        return jnp.exp(sum(bounds) / 2) * x


@eqx.filter_jit
def compare(instance, given, paths: Paths, objectives: Objective) -> tuple[Rows, Array]:
    """`Study.compare` of a stack of instances."""

    def one(instance, given):
        return Study(instance, given, paths).compare(objectives)

    return eqx.filter_vmap(one)(instance, given)


class Change(NamedTuple):
    """What an objective's implicit term does to a quantity, instance by instance."""

    differences: np.ndarray
    better: int  # the sign of what is better; 0 for neither

    @property
    def mean(self) -> float:
        """The mean over instances."""
        return float(np.mean(self.differences))

    @property
    def half_width(self) -> float:
        """Of the 95 % interval around the mean."""
        error = np.std(self.differences, ddof=1) / np.sqrt(len(self.differences))
        return float(error * stats.t.ppf(0.975, len(self.differences) - 1))

    def __str__(self) -> str:
        up, down = (int(np.sum(sign * self.differences > COUNTS)) for sign in (1, -1))
        won, lost = (down, up) if self.better < 0 else (up, down)
        return f"{self.mean:+.3f} ± {self.half_width:.3f} ({won}/{lost})"


class Compared(NamedTuple):
    """The measures of instances of one kind (instances,), by objective.

    Attributes:
        plain: of plain learning.
        as_random: of its reward, scaled to the entropy of each objective's policy.
        found: of what each objective finds.
    """

    plain: Measures
    as_random: dict[str, Measures]
    found: dict[str, Measures]

    def change(self, quantity: str, objective: str, controlled: bool = False) -> Change:
        """What the implicit term does; `controlled` beside the plain reward that is as greedy."""
        before = self.as_random[objective] if controlled else self.plain
        better = {"return": 1, "loss": -1, "kl": -1, "off": -1}.get(quantity, 0)
        return Change(self.found[objective][quantity] - before[quantity], better)


def measure(kind: Kind, objectives: dict[str, Objective], instances: int) -> Compared:
    """Of so many instances of a kind."""
    drawn = [kind.instance(seed) for seed in range(instances)]
    arrays, others = eqx.partition(drawn, lambda leaf: isinstance(leaf, (np.ndarray, jax.Array)))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)
    instance, given = eqx.combine(stacked, others[0])
    those = jax.tree.map(lambda *leaves: jnp.array(leaves), PLAIN, *objectives.values())
    (as_random, found), slopes = compare(instance, given, Paths.of(kind), those)
    print(
        f"of {slopes.size} descents {np.sum(slopes > 1e-3)} end with a gradient above 0.001, "
        f"{np.sum(slopes > 0.02)} above 0.02",
        file=sys.stderr,
    )

    def of(measures, place):
        return {name: np.asarray(each[:, place]) for name, each in measures.items()}

    names = dict(zip(objectives, range(1, len(objectives) + 1), strict=True))
    return Compared(
        of(found, 0),
        {name: of(as_random, place) for name, place in names.items()},
        {name: of(found, place) for name, place in names.items()},
    )


def pooled(results: list[Compared]) -> Compared:
    """The instances of several kinds as of one."""
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def check() -> None:
    """See that the tables here have the hyper-gradients of `Preferences.problem`.

    Raises:
        AssertionError: they have not.
    """
    x = jnp.array([0.4, -0.3, 0.2])
    for size, (name, objective) in itertools.product((None, 20), OBJECTIVES.items()):
        kind = Kind(states=3, given=size)
        instance, given = kind.instance(0)
        reference = sb.solve(instance.follower(-x)).policy
        ours = Study(instance, given, Paths.of(kind)).gradient(objective, x, reference)
        options = {"reference": reference} if name == "win-rate" else {}
        problem = instance.problem(name, given=given, **options)
        np.testing.assert_allclose(ours, jax.grad(problem.value)(x), rtol=1e-7)


def print_table(
    results: dict[str, Compared], quantity: str, title: str, controlled: bool = False
) -> None:
    """A row a kind: what plain learning comes to, and the change by objective."""
    objectives = list(next(iter(results.values())).found)
    head = ["kind", *([] if controlled else ["plain"]), *objectives]
    print(f"\n{title}\n\n| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for kind, compared in results.items():
        cells = [] if controlled else [f"{compared.plain[quantity].mean():.3f}"]
        cells += [str(compared.change(quantity, each, controlled)) for each in objectives]
        print(f"| {' | '.join([kind, *cells])} |")


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=60, help="of every kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    check()
    results = {}
    for name in options.kinds:
        print(name, end=": ", file=sys.stderr, flush=True)
        results[name] = measure(KINDS[name], OBJECTIVES, options.instances)
    print(f"{header()}\n{options.instances} instances of every kind")
    rows, groups = dict(results), {}
    for name, heading, realizable in (
        ("**all realizable**", "The reward can be right", True),
        ("**all misspecified**", "It cannot be right everywhere", False),
    ):
        kinds = {k: each for k, each in results.items() if KINDS[k].realizable == realizable}
        if not kinds:
            continue
        together = pooled(list(kinds.values()))
        groups[heading] = together, kinds
        if len(kinds) > 1:
            rows[name] = together
    for quantity, title in TABLES.items():
        print_table(rows, quantity, title)
    print_table(rows, "return", "True return at equal entropy of the policy", controlled=True)
    if options.figure is not None:
        figures.changes(groups).savefig(options.figure, dpi=150)
    weights = {
        name: measure(KINDS[name], WIN_RATES, options.instances)
        for name in ("realizable", "3 features")
    }
    print_table(weights, "return", "True return by the weight and the reference of win-rate")
    print_table(weights, "return", "The same at equal entropy of the policy", controlled=True)


if __name__ == "__main__":
    main()
