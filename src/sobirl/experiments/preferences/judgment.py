"""How an x is judged: by pairs that its follower makes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.bilevel import BilevelProblem
from sobirl.problems.preferences import Preferences
from sobirl.solvers import policy_return, solve

_FRESH = 20_000


@eqx.filter_jit
def judge(
    instance: Preferences, problem: BilevelProblem, x: Float[Array, "n"]
) -> dict[str, Float[Array, ""]]:
    """The means over 20,000 fresh pairs, always with the same key, and the true return."""
    mdp = instance.follower(x)
    policy = solve(mdp, throw=False).policy
    loss: Any = problem.objective  # a `TrajectoryLoss`
    wins: Any = instance.problem("win-rate").objective
    pairs, _ = loss.sample(mdp, policy, jax.random.key(0), _FRESH)
    losses = {
        "objective": loss.all_losses(x, pairs),
        "cross_entropy": jax.vmap(lambda pair: instance.loss(x, pair))(pairs),
        "divergence": jax.vmap(lambda pair: instance.divergence(x, pair))(pairs),
        "win_rate": 1 - wins.losses(x, pairs),
    }
    means = {name: jnp.mean(each) for name, each in losses.items()}
    return {**means, "true_return": policy_return(mdp, policy, instance.truth)}
