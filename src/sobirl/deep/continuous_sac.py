"""Soft actor-critic for continuous actions: a Gaussian squashed by tanh."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

from sobirl.deep.follower import ActionFunction
from sobirl.deep.losses import sampled_actor_loss
from sobirl.deep.networks import Ensemble, Network, architecture_for
from sobirl.deep.sac import SACState, SoftActorCritic
from sobirl.experience.replay import Transitions

_LOG_STD = -5.0, 2.0


class ContinuousSAC(SoftActorCritic):
    """SAC with a tanh-Gaussian policy over d numbers from -1 to 1.

    Log-probabilities are of these numbers; the environment gets them stretched to its bounds. The
    target entropy is by default -d nats. Arguments are those of `SoftFollower`.

    Source: Haarnoja et al. (2018), appendix C for the squashed density.
    """

    action_size: int = eqx.field(kw_only=True, static=True)

    def networks(self, key: Key[Array, ""]) -> tuple[Network, Ensemble]:
        """An actor with a mean and a log standard deviation a number, and twin critics of (s,a)."""
        architecture, size = architecture_for(self.shape, self.widths), self.action_size

        def make_critic(key):
            return Network(self.shape, 1, key, architecture, extras=size)

        actor_key, critic_key = jax.random.split(key)
        actor = Network(self.shape, 2 * size, actor_key, architecture)
        return actor, Ensemble(2, make_critic, critic_key)

    def default_target_entropy(self) -> float:
        """-d."""
        return -float(self.action_size)

    def act(
        self, state: SACState, observation: Num[Array, "B *obs"], key: Key[Array, ""]
    ) -> tuple[Float[Array, "B d"], Float[Array, "B"]]:
        """Actions drawn from the policy, and their log-densities."""
        return _drawn(state.actor, observation, key)

    def random_action(
        self, count: int, key: Key[Array, ""]
    ) -> tuple[Float[Array, "B d"], Float[Array, "B"]]:
        """Uniformly random actions, and their log-densities."""
        action = jax.random.uniform(key, (count, self.action_size), minval=-1, maxval=1)
        return action, jnp.full(count, -self.action_size * jnp.log(2.0))

    def log_prob(
        self, state: SACState, observation: Num[Array, "B *obs"], action: Float[Array, "B d"]
    ) -> Float[Array, "B"]:
        """The log-density of actions within ±1."""
        mean, log_std = _gaussian(state.actor, observation)
        before = jnp.arctanh(jnp.clip(action, -1 + 1e-6, 1 - 1e-6))
        gaussian = jax.scipy.stats.norm.logpdf(before, mean, jnp.exp(log_std))
        return jnp.sum(gaussian - _log_slope_of_tanh(before), axis=-1)

    def mode(self, state: SACState, observation: Num[Array, "B *obs"]) -> Float[Array, "B d"]:
        """tanh of the Gaussian's mean."""
        return jnp.tanh(_gaussian(state.actor, observation)[0])

    def expectation(
        self,
        state: SACState,
        observation: Num[Array, "B *obs"],
        function: ActionFunction,
        key: Key[Array, ""],
        samples: int = 1,
    ) -> Float[Array, "B"]:
        """The mean of f over so many actions drawn from π(·|s)."""
        drawn = jax.vmap(lambda key: self.act(state, observation, key)[0])(
            jax.random.split(key, samples)
        )
        return jnp.mean(jax.vmap(function)(jax.lax.stop_gradient(drawn)), axis=0)

    def next_value(
        self,
        state: SACState,
        observation: Num[Array, "B *obs"],
        temperature: Float[Array, ""],
        key: Key[Array, ""],
    ) -> Float[Array, "B"]:
        """V(s') of the lower target critic, from one action."""
        action, log_prob = self.act(state, observation, key)
        q = jnp.min(self.taken(state.target, observation, action), axis=0)
        return q - temperature * log_prob

    def taken(
        self, critic: Ensemble, observation: Num[Array, "B *obs"], action: Float[Array, "B d"]
    ) -> Float[Array, "K B"]:
        """Q_k(s,a)."""
        return critic(observation, action)[..., 0]

    def policy_loss(
        self,
        actor: Network,
        critic: Ensemble,
        batch: Transitions,
        temperature: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Float[Array, "B"]]:
        """The actor's loss, and estimates of the policy's entropy (B,)."""
        action, log_prob = _drawn(actor, batch.observation, key)
        q = jnp.min(self.taken(critic, batch.observation, action), axis=0)
        return sampled_actor_loss(q, log_prob, temperature, batch.weight), -log_prob


def _drawn(
    actor: Network, observation: Num[Array, "B *obs"], key: Key[Array, ""]
) -> tuple[Float[Array, "B d"], Float[Array, "B"]]:
    """Actions, which the actor's parameters flow through, and their log-densities."""
    mean, log_std = _gaussian(actor, observation)
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    before = mean + jnp.exp(log_std) * noise
    gaussian = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    return jnp.tanh(before), jnp.sum(gaussian - _log_slope_of_tanh(before), axis=-1)


def _gaussian(
    actor: Network, observation: Num[Array, "B *obs"]
) -> tuple[Float[Array, "B d"], Float[Array, "B d"]]:
    """The mean and the log standard deviation before the tanh."""
    mean, spread = jnp.split(jax.vmap(actor)(observation), 2, axis=-1)
    low, high = _LOG_STD
    return mean, low + 0.5 * (high - low) * (jnp.tanh(spread) + 1)


def _log_slope_of_tanh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(1 - tanh² x), without loss of digits for large x."""
    return 2 * (jnp.log(2.0) - x - jax.nn.softplus(-2 * x))
