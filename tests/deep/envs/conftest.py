"""One way to drive environments of every back end."""

import equinox as eqx
import jax
import numpy as np
import pytest

from sobirl.deep import envs

with jax.enable_x64(False):
    import gymnax  # noqa: F401  (within the import hook of the test run it would be compiled anew)


class Driver:
    """Two environments that give NumPy arrays, whatever their back end."""

    def __init__(self, name, backend=None, **options):
        self.made = envs.make(name, 2, backend=backend, **options)
        self.spec = self.made.spec
        self.compiled = isinstance(self.made, envs.CompiledEnvironments)
        if self.compiled:
            self.init, self.jitted = eqx.filter_jit(self.made.init), eqx.filter_jit(self.made.step)

    def reset(self, seed):
        if not self.compiled:
            return self.made.reset(seed)
        self.key = jax.random.key(seed)
        self.state, observation = self.init(self.key)
        return np.asarray(observation)

    def step(self, action):
        if not self.compiled:
            return self.made.step(action)
        self.key, key = jax.random.split(self.key)
        self.state, step = self.jitted(self.state, action, key)
        return jax.tree.map(np.asarray, step)

    def stream(self, seed, actions):
        """The first observation and, stacked over time, all steps that follow."""
        first = self.reset(seed)
        steps = [self.step(action) for action in actions]
        return first, envs.Step(*(np.stack(leaf) for leaf in zip(*steps, strict=True)))

    def actions(self, num_steps, seed=0):
        """Random actions (T,N,...)."""
        keys = jax.random.split(jax.random.key(seed), num_steps)
        return np.stack([self.spec.actions.sample(key, 2) for key in keys])


@pytest.fixture(scope="session")
def drive():
    """Makes a driver, or gives again the one that was made in the same way."""
    made = {}

    def make(*arguments, **options):
        asked = arguments, tuple(options.items())
        if asked not in made:
            made[asked] = Driver(*arguments, **options)
        return made[asked]

    yield make
    for driver in made.values():
        if not driver.compiled:
            driver.made.close()
