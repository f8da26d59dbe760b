"""The bootstrap: units drawn again with replacement, and both stages estimated again."""

import dataclasses
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from sobirl.core.batching import sequential_on_cpu
from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.estimation.estimators import MaximumLikelihood, agent_of, with_law
from sobirl.estimation.law import Law

if TYPE_CHECKING:
    from sobirl.estimation.result import ChoiceResult

_MAX_STEPS = 40
# Replications of one call: a bound on memory.
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """Estimates of drawn samples.

    Attributes:
        names: the parameters.
        estimates: θ̂ of every replication (B,n); NaN where Newton's method failed, as it does
            where a sample has no maximum.
        converged: which did not (B,).
    """

    names: tuple[str, ...]
    estimates: Float[np.ndarray, "B n"]
    converged: Bool[np.ndarray, "B"]

    @property
    def standard_errors(self) -> Float[np.ndarray, "n"]:
        """Standard deviations over the replications that converged."""
        return self.estimates[self.converged].std(axis=0, ddof=1)

    def confidence_intervals(self, level: float = 0.95) -> Float[np.ndarray, "n 2"]:
        """Between the quantiles of the replications."""
        if not 0 < level < 1:
            raise InvalidInputError(f"level: must lie between 0 and 1, got {level}")
        ends = [(1 - level) / 2, (1 + level) / 2]
        return np.quantile(self.estimates[self.converged], ends, axis=0).T


def bootstrap(result: "ChoiceResult", replications: int = 200, seed: int = 0) -> Bootstrap:
    """Draw as many units as there are, with replacement, and estimate again; transitions too.

    Every replication starts at θ̂. Those of maximum likelihood are one compiled program, those of
    other estimators run one after the other.

    Args:
        result: the estimate.
        replications: B.
        seed: the same seed draws the same units.

    Raises:
        InvalidInputError: fewer than two replications or units.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993).
    """
    panel = result.data.panel
    if replications < 2:
        raise InvalidInputError(f"replications: must be at least 2, got {replications}")
    if panel.num_units < 2:
        raise InvalidInputError("data: one unit only; the bootstrap draws units")
    problem = result.found.problem
    shape = np.shape(result.task.choices.counts)
    cell = np.ravel_multi_index((panel.kind, result.index, panel.action), shape)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(
        panel.num_units, np.full(panel.num_units, 1 / panel.num_units), size=replications
    )
    law = agent_of(problem.follower).law
    estimates, converged = [], []
    for begin in range(0, replications, _BATCH):
        weights = drawn[begin : begin + _BATCH][:, panel.unit].astype(np.float64)
        batched = replications > _BATCH and isinstance(result.estimator, MaximumLikelihood)
        short = _BATCH - len(weights) if batched else 0
        weights = np.concatenate([weights, np.ones((short, weights.shape[1]))])
        counts = np.stack(
            [np.bincount(cell, own, minlength=np.prod(shape)).reshape(shape) for own in weights]
        )
        psi = tuple(
            None if seen is None else jnp.asarray(np.stack([seen.frequencies(w) for w in weights]))
            for seen in result.data.seen
        )
        if isinstance(result.estimator, MaximumLikelihood):
            found, good = _replicate(
                problem,
                law,
                result.layout.order,
                jnp.asarray(result.moving[np.argsort(result.layout.order)]),
                result.x,
                jnp.asarray(counts),
                psi,
            )
        else:
            found, good = _one_by_one(result, law, counts, psi)
        keep = len(weights) - short
        estimates.append(np.asarray(found)[:keep])
        converged.append(np.asarray(good)[:keep])
    good = np.concatenate(converged)
    found = np.where(good[:, None], np.concatenate(estimates), np.nan)
    return Bootstrap(result.names, found, good)


def _one_by_one(
    result: "ChoiceResult", law: Law, counts: Float[np.ndarray, "B C p A"], psi: tuple
) -> tuple[Float[np.ndarray, "B n"], Bool[np.ndarray, "B"]]:
    """θ̂ of every replication by an estimator of any kind, and whether it came to an end."""
    estimates, converged = [], []
    for b, own in enumerate(counts):
        here = law.with_psi(tuple(None if table is None else table[b] for table in psi))
        task = dataclasses.replace(
            result.task,
            agent=eqx.tree_at(lambda agent: agent.law, result.task.agent, here),
            choices=eqx.tree_at(lambda c: c.counts, result.task.choices, jnp.asarray(own)),
            x0=result.x,
        )
        try:
            newton = result.estimator.run(task).newton
        except ConvergenceError:
            estimates.append(np.full(len(result.names), np.nan))
            converged.append(False)
            continue
        estimates.append(result.layout.vector(newton.x))
        converged.append(newton.converged)
    return np.array(estimates), np.array(converged)


@eqx.filter_jit
def _replicate(problem, law, order, moving, x, counts, psi):
    """θ̂ (B,n) in the model's order of every replication, and whether Newton's method ended."""
    flat, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, x))
    solve_small = sequential_on_cpu(jnp.linalg.solve)
    fixed = jnp.diag(jnp.where(moving, 0.0, 1.0))

    def one(counts, psi):
        at = eqx.tree_at(lambda p: p.objective.counts, problem, counts)
        at = with_law(at, law.with_psi(psi))

        def derivatives(flat):
            def gradient(flat):
                value, slope = jax.value_and_grad(lambda v: at.value(unravel(v), throw=False))(flat)
                return slope, (value, slope)

            hessian, (value, slope) = jax.jacfwd(gradient, has_aux=True)(flat)
            free = jnp.outer(moving, moving)
            return value, jnp.where(moving, slope, 0.0), jnp.where(free, hessian, 0.0) + fixed

        def direction(slope, hessian):
            return -solve_small(hessian, slope)

        def cond(state):
            _, (_, slope, _), _, _, steps = state
            return (jnp.linalg.norm(slope) > 1e-6) & (steps < _MAX_STEPS)

        def body(state):
            flat, now, step, size, steps = state
            after = derivatives(flat + size * step)
            better = after[0] <= now[0] + 1e-12 * jnp.abs(now[0])
            flat = jnp.where(better, flat + size * step, flat)
            now = jax.tree.map(lambda new, old: jnp.where(better, new, old), after, now)
            size = jnp.where(better, 1.0, size / 4)
            return flat, now, direction(now[1], now[2]), size, steps + 1

        now = derivatives(flat)
        state = flat, now, direction(now[1], now[2]), jnp.ones(()), 0
        flat_end, (_, slope, _), _, _, _ = jax.lax.while_loop(cond, body, state)
        return flat_end[order], jnp.linalg.norm(slope) <= 1e-5

    return jax.vmap(one)(counts, psi)
