"""What a leader offers a follower: a reward for what it does, beside the environment's own."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import to_environment
from sobirl.deep.envs.spec import EnvSpec
from sobirl.experience.replay import Transitions


class Offer(eqx.Module):
    """r(s,a) + c i_x(s,a) is what the follower learns on, r_u(s,a,s',x) what the leader gets.

    Args:
        x: the leader's parameters, any pytree of arrays.
        scale: c, at most 1, by which a budget shortens the incentives.
        incentive: `incentive(x, observation, action)` (B,), for a batch.
        leader: `leader(observation, action, next_observation, x)` (B,), for a batch; None takes
            what the environment says as `info["leader_reward"]`, or else its own reward.
        price: what the leader pays for a unit |c i_x(s,a)|.
        log_prob: log P(s'|s,a,x) of the environment, `log_prob(x, observation, action,
            next_observation)` (B,), where x acts through it too; None where it does not, or where
            nobody knows how.
    """

    x: PyTree
    scale: Float[Array, ""]
    incentive: Callable = eqx.field(static=True)
    leader: Callable | None = eqx.field(default=None, static=True)
    price: float = 0.0
    log_prob: Callable | None = eqx.field(default=None, static=True)

    def __call__(
        self, observation: Num[Array, "B *obs"], action: Num[Array, "B *d"]
    ) -> Float[Array, "B"]:
        """c i_x(s,a)."""
        return self.scale * self.incentive(self.x, observation, action)

    def worth(self, steps: Transitions) -> Float[Array, "B"]:
        """r_u of steps (B,), less what it pays."""
        if self.leader is None:
            found = steps.reward if steps.leader_reward is None else steps.leader_reward
        else:
            found = self.leader(steps.observation, steps.action, steps.next_observation, self.x)
        return found - self.price * jnp.abs(self(steps.observation, steps.action))


def of_single(
    function: Callable, spec: EnvSpec, x: PyTree, name: str, after: bool
) -> Callable[..., Float[Array, "B"]]:
    """A user's function of one step as one of a batch, once its result is a number.

    Actions are given to it as the environment takes them.

    Args:
        function: `function(observation, action, next_observation, x)`, or without the third, see
            `after`.
        spec: of the environment.
        x: the parameters it will be called with.
        name: what to call it in messages.
        after: whether it takes the next observation.

    Raises:
        InvalidInputError: it cannot be called so or compiled, or gives no single number.
    """
    observation = jax.ShapeDtypeStruct(spec.stacked_shape, spec.observation_dtype)
    action = jax.ShapeDtypeStruct(spec.actions.shape, spec.actions.dtype)
    seen = (observation, action, observation) if after else (observation, action)
    words = "(observation, action, next_observation, x)" if after else "(observation, action, x)"
    try:
        found: Any = jax.eval_shape(lambda *given: jnp.asarray(function(*given)), *seen, x)
    except jax.errors.JAXTypeError as error:
        raise InvalidInputError(
            f"{name}: must be written with jax.numpy, without `if` or `float` of what it is given "
            f"(jnp.where does the former): {type(error).__name__}"
        ) from error
    except Exception as error:
        raise InvalidInputError(
            f"{name}: called with {words} of one step it raised {type(error).__name__}: {error}"
        ) from error
    if found.shape != () or not jnp.issubdtype(found.dtype, jnp.number):
        raise InvalidInputError(
            f"{name}: must give one number for {words} of one step, got shape {found.shape} of "
            f"{found.dtype}"
        )

    def number(*given):
        return jnp.asarray(function(*given)).astype(jnp.result_type(float))

    def batched(observation, action, *rest):
        outside = to_environment(spec, jnp.asarray(action))
        return jax.vmap(number, in_axes=(*(0 for _ in seen), None))(observation, outside, *rest)

    if after:
        return batched
    return lambda x, observation, action: batched(observation, action, x)
