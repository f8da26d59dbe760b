"""Acting, learning and evaluating in environments on the host, one compiled call a step."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num, PyTree

from sobirl.deep.actor_learner import ActorLearner, LearnerState, to_environment
from sobirl.deep.envs.host import HostEnvironments
from sobirl.deep.envs.spec import EnvSpec, Step
from sobirl.deep.networks import Network
from sobirl.deep.sac import RewardFunction, SoftActorCritic
from sobirl.prefs import stack_frames


@dataclasses.dataclass(frozen=True)
class HostLoop:
    """Environments to learn in and environments to evaluate in, on the host.

    Attributes:
        environments: N environments to learn in. They are the run's alone: what they went through
            is kept by themselves.
        evaluation: as many as there are episodes in an evaluation.
    """

    environments: HostEnvironments
    evaluation: HostEnvironments

    @property
    def spec(self) -> EnvSpec:
        """What a learner has to know."""
        return self.environments.spec

    @property
    def can_restore(self) -> bool:
        """Whether a run goes on bit for bit from a saved state."""
        return self.environments.can_restore

    def begin(self, learner: ActorLearner, key: Key[Array, ""]) -> tuple[LearnerState, PyTree]:
        """Learner and environments before the first step."""
        learner_key, environment_key = jax.random.split(key)
        observation = self.environments.reset(seed_of(environment_key))
        return learner.init(jnp.asarray(observation), learner_key), self._kept()

    def advance(
        self,
        learner: ActorLearner,
        reward: RewardFunction | None,
        state: tuple[LearnerState, PyTree],
        num_calls: int,
    ) -> tuple[tuple[LearnerState, PyTree], dict[str, Array]]:
        """Some steps of all environments, with what is learned from them.

        See `CompiledLoop.advance`.
        """
        fixed, state = (learner, self.spec, reward), state[0]
        state, action, log_prob, outside = _first_action(fixed, state)
        # Flattening what is carried from call to call would take longer than most calls.
        carried, structure = jax.tree.flatten((state, action, log_prob))
        arrays, others = eqx.partition(fixed, eqx.is_array)
        arrays, fixed_structure = jax.tree.flatten(arrays)
        others, other_structure = jax.tree.flatten(others)
        call = _on_leaves(structure, fixed_structure, tuple(others), other_structure)
        told = []
        for _ in range(num_calls):
            step = self.environments.step(np.asarray(outside))
            carried, outside, metrics = call(carried, arrays, *step)
            told.append(metrics)
        state, _, _ = jax.tree.unflatten(structure, carried)
        sums = {name: jnp.asarray(sum(float(m[name]) for m in told)) for name in told[0]}
        return (state, self._kept()), sums

    def evaluate(
        self,
        follower: SoftActorCritic,
        actor: Network,
        key: Key[Array, ""],
        most_steps: int,
        greedy: bool = False,
    ) -> Float[np.ndarray, "E"]:
        """The true return of one episode in every environment that is there for it.

        See `CompiledLoop.evaluate`.
        """
        k, environments = self.spec.frame_stack, self.evaluation
        key, reset_key = jax.random.split(key)
        observation = environments.reset(seed_of(reset_key))
        frames = np.repeat(observation[:, None], k, axis=1)
        running = np.ones(environments.num_envs, bool)
        returns = np.zeros(environments.num_envs, np.float32)
        for _ in range(most_steps):
            key, act_key = jax.random.split(key)
            action = act_on_host(follower, self.spec, actor, frames, act_key, greedy)
            step = environments.step(np.asarray(action))
            frames = np.concatenate([frames[:, 1:], step.observation[:, None]], axis=1)
            returns += np.where(running, step.reward, 0)
            running &= ~(step.terminated | step.truncated)
            if not running.any():
                break
        return returns

    def restore(self, state: tuple[LearnerState, PyTree]) -> tuple[LearnerState, PyTree]:
        """Go on from a saved state: exactly where the environments can, else with new episodes."""
        learner, kept = state
        if self.can_restore:
            self.environments.set_state(jax.tree.map(np.asarray, kept))
            return state
        observation = self.environments.reset(seed_of(learner.key))
        frames = jnp.repeat(jnp.asarray(observation)[:, None], self.spec.frame_stack, axis=1)
        nothing = jnp.zeros_like(learner.returns), jnp.zeros_like(learner.lengths)
        new = eqx.tree_at(
            lambda s: (s.frames, s.live, s.returns, s.lengths),
            learner,
            (frames, jnp.ones_like(learner.live), *nothing),
        )
        return new, kept

    def _kept(self) -> PyTree:
        """What the environments need to be restored; nothing where they cannot be."""
        return self.environments.get_state() if self.can_restore else ()


@eqx.filter_jit
def _first_action(fixed, state):
    learner, spec, _ = fixed
    key, act_key = jax.random.split(state.key)
    action, log_prob = learner.act(state, act_key)
    return eqx.tree_at(lambda s: s.key, state, key), action, log_prob, to_environment(spec, action)


@functools.cache
def _on_leaves(structure, fixed_structure, others, other_structure):
    """What a step brought, and the next action: one program, on flat lists of arrays."""

    @functools.partial(jax.jit, donate_argnums=0)
    def call(carried, arrays, *step):
        state, action, log_prob = jax.tree.unflatten(structure, carried)
        arrays = jax.tree.unflatten(fixed_structure, arrays)
        fixed = eqx.combine(arrays, jax.tree.unflatten(other_structure, others))
        learner, spec, reward = fixed
        key, learn_key, act_key = jax.random.split(state.key, 3)
        state, metrics = learner.absorb(state, action, log_prob, Step(*step), reward, learn_key)
        state = eqx.tree_at(lambda s: s.key, state, key)
        action, log_prob = learner.act(state, act_key)
        outside = to_environment(spec, action)
        return jax.tree.leaves((state, action, log_prob)), outside, metrics

    return call


@eqx.filter_jit
def act_on_host(
    follower: SoftActorCritic,
    spec: EnvSpec,
    actor: Network,
    frames: Num[Array | np.ndarray, "N k *obs"],
    key: Key[Array, ""],
    greedy: bool,
) -> Num[Array, "N *d"]:
    """Actions, as the environments take them, on the latest k frames of each."""
    observation = stack_frames(frames, spec.frame_stack)[:, 0]
    if greedy:
        return to_environment(spec, follower.mode(actor, observation))
    return to_environment(spec, follower.act(actor, observation, key)[0])


def seed_of(key: Key[Array, ""]) -> int:
    """A seed for environments that know nothing of keys."""
    return int(jax.random.randint(key, (), 0, 2**31 - 1))
