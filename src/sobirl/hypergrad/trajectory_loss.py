"""A loss of whole trajectories: the objective of preference learning and of SoBiRL."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.core.response import Response
from sobirl.mdp import SoftMDP
from sobirl.mdp.rollouts import Environments, draw_states, simulate

_MOST_TUPLES = 1_000_000


class Trajectories(eqx.Module):
    """I trajectories of H steps: states (I,H) and actions (I,H)."""

    state: Int[Array, "*B I H"]
    action: Int[Array, "*B I H"]


class TrajectoryLoss(eqx.Module):
    """f(x, π) = E[l(d_1, ..., d_I; x)] over independent trajectories of the follower's policy.

    Every d_i has H steps: s_1 ~ ρ, a_h ~ π(·|s_h), s_{h+1} ~ P(·|s_h,a_h). As an ordinary objective
    it is the exact expectation, a sum over all tuples of trajectories, which only tiny problems
    allow; `SoBiRL` samples it.

    A second loss m may be added whose trajectories are *held*: that they move with x does not
    count, as in plain learning from the data at hand. The hyper-gradient is then that of

        E_{d ~ π*(x)}[l(d; x)] + E_{d ~ π*(y)}[m(d; x)]   in x, at y = x,

    and no longer the derivative of f: a method that only compares values, such as `ZeroOrder`,
    descends something else.

    Args:
        follower: the problem's own `follower`.
        loss: `loss(x, trajectories)` gives l for one tuple of `Trajectories`; with contexts
            `loss(x, trajectories, context)`.
        horizon: H.
        num_trajectories: I, for example 2 for comparisons of two trajectories.
        held: `held(x, trajectories)` gives m, like `loss`; None for none.

    Raises:
        InvalidInputError: a number below 1; when called: there are too many tuples to sum over.

    Source: Yang, Gao, Yuan (2025), section 4.
    """

    follower: Callable
    loss: Callable
    horizon: int = eqx.field(static=True)
    num_trajectories: int = eqx.field(default=1, static=True)
    held: Callable | None = None

    def __check_init__(self):
        for name in ("horizon", "num_trajectories"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name}: must be at least 1, got {getattr(self, name)}")

    def __call__(self, x: PyTree, response: Response, *context: PyTree) -> Float[Array, ""]:
        """The exact expectation."""
        mdp = self.follower(x, *context)
        tuples, probability = self.enumerate(mdp, response.policy)
        objective = probability @ self.losses(x, tuples, *context)
        if self.held is None:
            return objective
        held = _of_each("held", self.held, x, tuples, context)
        return objective + jax.lax.stop_gradient(probability) @ held

    def losses(self, x: PyTree, tuples: Trajectories, *context: PyTree) -> Float[Array, "B"]:
        """l of every tuple (B,I,H)."""
        return _of_each("loss", self.loss, x, tuples, context)

    def all_losses(self, x: PyTree, tuples: Trajectories, *context: PyTree) -> Float[Array, "B"]:
        """l + m of every tuple (B,I,H)."""
        losses = self.losses(x, tuples, *context)
        if self.held is None:
            return losses
        return losses + _of_each("held", self.held, x, tuples, context)

    def sample(
        self, mdp: SoftMDP, policy: Float[Array, "S A"], key: Key[Array, ""], num_tuples: int
    ) -> tuple[Trajectories, Int[Array, "B I H"]]:
        """B independent tuples, and their next states."""
        start_key, key = jax.random.split(key)
        count = num_tuples * self.num_trajectories
        starts = draw_states(start_key, mdp.initial, (count,))
        environments = Environments.at(starts, policy.dtype)
        never = jnp.zeros(mdp.shape, bool)
        rollout, _ = simulate(mdp, policy, key, environments, self.horizon, never)
        shape = (num_tuples, self.num_trajectories, self.horizon)
        state, action, next_state = (
            leaf.reshape(shape) for leaf in (rollout.state, rollout.action, rollout.next_state)
        )
        return Trajectories(state, action), next_state

    def enumerate(
        self, mdp: SoftMDP, policy: Float[Array, "S A"]
    ) -> tuple[Trajectories, Float[Array, "B"]]:
        """All tuples and their probabilities under a policy.

        Raises:
            InvalidInputError: there are more than a million.
        """
        states, actions = mdp.shape
        paths = (states * actions) ** self.horizon
        if paths**self.num_trajectories > _MOST_TUPLES:
            raise InvalidInputError(
                f"horizon and num_trajectories: {states} states and {actions} actions give "
                f"{paths**self.num_trajectories:.1e} tuples of trajectories, too many for the "
                "exact expectation; use SoBiRL(), which samples them"
            )
        place = _digits(paths, states * actions, self.horizon)
        state, action = place // actions, place % actions
        moves = mdp.transition.probability(state[:, :-1], action[:, :-1], state[:, 1:])
        chance = mdp.initial[state[:, 0]] * jnp.prod(policy[state, action], axis=-1)
        chance = chance * jnp.prod(moves, axis=-1)
        path = _digits(paths**self.num_trajectories, paths, self.num_trajectories)
        return Trajectories(state[path], action[path]), jnp.prod(chance[path], axis=-1)


def _of_each(
    name: str, loss: Callable, x: PyTree, tuples: Trajectories, context: tuple
) -> Float[Array, "B"]:
    """A loss of every tuple."""
    losses = jax.vmap(lambda one: loss(x, one, *context))(tuples)
    if losses.ndim != 1:
        raise InvalidInputError(
            f"{name}: must return one number for a tuple, got shape {losses.shape[1:]}"
        )
    return losses


def _digits(count: int, base: int, places: int) -> Int[Array, "count places"]:
    """The numbers 0..count-1 written in a base."""
    return jnp.arange(count)[:, None] // base ** jnp.arange(places) % base
