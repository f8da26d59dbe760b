"""Simulated trajectories of a tabular MDP, as one compiled scan."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from sobirl.core.checks import check, check_shape
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.soft_mdp import SoftMDP
from sobirl.mdp.transitions import invert


class Rollout(eqx.Module):
    """T steps of each of N environments.

    Attributes:
        state: s_t (N,T).
        action: a_t (N,T).
        reward: r(s_t, a_t) of the MDP (N,T).
        next_state: s_{t+1} (N,T), also where an episode ends or an environment is reset.
        weight: the product of the MDP's discounts since the episode's first step (N,T), so that
            Σ_t weight_t reward_t is the discounted return; 0 once an episode has ended.
        first: whether an episode begins with this step (N,T).
        live: whether the step was taken (N,T): false after an episode's end, without `autoreset`.
    """

    state: Int[Array, "N T"]
    action: Int[Array, "N T"]
    reward: Float[Array, "N T"]
    next_state: Int[Array, "N T"]
    weight: Float[Array, "N T"]
    first: Bool[Array, "N T"]
    live: Bool[Array, "N T"]


def rollout(
    mdp: SoftMDP,
    log_policy: Float[Array | np.ndarray, "..."],
    key: Key[Array, ""],
    rollout_steps: int | np.integer,
    num_envs: int | np.integer = 1,
    autoreset: bool = False,
) -> Rollout:
    """Trajectories of `log_policy` (log π, for example `solve(mdp).log_policy`) from ρ.

    Args:
        mdp: the process; its reward and discount are recorded along the way.
        log_policy: log action probabilities (S,A).
        key: a typed JAX key; the same key gives the same trajectories.
        rollout_steps: T, the steps of every environment.
        num_envs: N, the number of environments.
        autoreset: begin a new episode from ρ where one ends (discount 0); otherwise every
            environment has one episode.

    Raises:
        InvalidInputError: `log_policy` has another shape or is no log of probabilities, or a
            number is below 1.
    """
    check_shape("log_policy", log_policy, mdp.shape)
    if not isinstance(log_policy, jax.core.Tracer):
        sums = np.exp(np.asarray(log_policy, np.float64)).sum(axis=-1)
        close = np.abs(sums - 1) <= 1e-4
        check("log_policy", sums, close, "exp(log_policy) must sum to 1 in every state")
    for name, count in (("rollout_steps", rollout_steps), ("num_envs", num_envs)):
        if count < 1:
            raise InvalidInputError(f"{name}: must be at least 1, got {count}")
    policy = jnp.exp(jnp.asarray(log_policy))
    return _rollout(mdp, policy, key, int(rollout_steps), int(num_envs), autoreset)


@eqx.filter_jit
def _rollout(mdp, policy, key, rollout_steps, num_envs, autoreset):
    start_key, key = jax.random.split(key)
    starts = draw_states(start_key, mdp.initial, (rollout_steps if autoreset else 1, num_envs))
    ends = jnp.broadcast_to(mdp.discount == 0, mdp.shape)
    restarts = starts if autoreset else None
    return simulate(
        mdp, policy, key, Environments.at(starts[0], policy.dtype), rollout_steps, ends, restarts
    )[0]


def draw_states(
    key: Key[Array, ""], distribution: Float[Array, "S"], shape: tuple[int, ...]
) -> Int[Array, "..."]:
    """Independent states from a distribution over them."""
    cumulative = jnp.cumsum(distribution)
    draw = jax.random.uniform(key, shape, distribution.dtype) * cumulative[-1]
    drawn = jnp.searchsorted(cumulative, draw, side="right", method="scan_unrolled")
    return jnp.minimum(drawn, len(distribution) - 1).astype(jnp.int32)


class Environments(eqx.Module):
    """Where N environments stand between two steps.

    Attributes:
        state: the state that the next step is taken in (N,).
        weight: the product of the discounts since the episode's first step (N,).
        first: whether the next step is an episode's first (N,).
        live: whether there is a next step (N,).
    """

    state: Int[Array, "*C N"]
    weight: Float[Array, "*C N"]
    first: Bool[Array, "*C N"]
    live: Bool[Array, "*C N"]

    @classmethod
    def at(cls, state: Int[Array, "N"], dtype) -> "Environments":
        """At the beginning of an episode."""
        yes = jnp.ones(state.shape, bool)
        return cls(state, jnp.ones(state.shape, dtype), yes, yes)


def simulate(
    mdp: SoftMDP,
    policy: Float[Array, "S A"],
    key: Key[Array, ""],
    environments: Environments,
    rollout_steps: int,
    ends: Bool[Array, "S A"],
    restarts: Int[Array, "T N"] | None = None,
    give_up: float = 0.0,
    first_action: Int[Array, "N"] | None = None,
) -> tuple[Rollout, Environments]:
    """`rollout_steps` steps in every environment, and where they stand after them.

    Args:
        mdp: the process.
        policy: action probabilities (S,A).
        key: a typed JAX key.
        environments: where they stand.
        rollout_steps: T.
        ends: whether an episode ends with this state and action (S,A).
        restarts: the state that a new episode starts in, should one end before step t (T,N);
            without, an environment stops where its episode ends.
        give_up: an episode also ends once its weight is below this.
        first_action: the first action of every environment (N,); drawn by default.
    """
    cumulative = jnp.cumsum(policy, axis=-1)
    discount = jnp.broadcast_to(mdp.discount, mdp.shape)
    # All random numbers at once: what remains in the loop is a few gathers a step.
    uniforms = jax.random.uniform(key, (rollout_steps, 2, *environments.state.shape), policy.dtype)

    def step(now, inputs):
        (for_action, for_state), restart, forced = inputs
        state = now.state if restart is None else jnp.where(now.first, restart, now.state)
        action = invert(cumulative[state], for_action)
        action = action if forced is None else jnp.where(forced < 0, action, forced)
        next_state = mdp.transition.next_state(for_state, state, action)
        weight = now.weight * discount[state, action]
        ended = ends[state, action] | (weight < give_up)
        if restart is None:
            after = Environments(next_state, weight, jnp.zeros_like(ended), now.live & ~ended)
        else:
            after = Environments(next_state, jnp.where(ended, 1.0, weight), ended, now.live)
        return after, (state, action, next_state, now.weight, now.first, now.live)

    forced = None
    if first_action is not None:
        others = jnp.full((rollout_steps - 1, len(first_action)), -1, jnp.int32)
        forced = jnp.concatenate([first_action[None].astype(jnp.int32), others])
    inputs = uniforms, restarts, forced
    environments, records = jax.lax.scan(step, environments, inputs, length=rollout_steps)
    state, action, next_state, weight, first, live = (record.T for record in records)
    reward = mdp.reward[state, action]
    return Rollout(state, action, reward, next_state, weight, first, live), environments
