"""A follower that has the functions of `Follower` and nothing else: it tosses a coin.

What works with it uses no more of a follower than is declared.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp


class Coin(eqx.Module):
    """Learns nothing but how often it was asked to; every action is as likely as any other."""

    shape: tuple[int, ...] = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    discount: float
    keeps_entropy = False

    def __init__(self, shape, num_actions, discount, **settings):
        self.shape, self.num_actions, self.discount = shape, num_actions, discount

    def init(self, key):
        return jnp.zeros((), jnp.int32)

    def update(self, state, batch, reward, key):
        rewards = batch.reward if reward is None else reward(batch.observation, batch.action)
        return state + 1, {"mean_reward": jnp.mean(rewards)}

    def act(self, state, observation, key):
        return self.random_action(len(observation), key)

    def mode(self, state, observation):
        return jnp.zeros(len(observation), jnp.int32)

    def random_action(self, count, key):
        action = jax.random.randint(key, (count,), 0, self.num_actions, jnp.int32)
        return action, jnp.full(count, -math.log(self.num_actions))

    def log_prob(self, state, observation, action):
        return jnp.full(len(observation), -math.log(self.num_actions))

    def expectation(self, state, observation, function, key, samples=1):
        each = [jnp.full(len(observation), a, jnp.int32) for a in range(self.num_actions)]
        return sum(function(action) for action in each) / self.num_actions

    def seen(self, reward):
        return reward

    def temperature_of(self, state):
        return jnp.ones(())

    def forget_values(self, state, key):
        return state
