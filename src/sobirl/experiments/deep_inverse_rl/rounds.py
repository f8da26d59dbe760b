"""The rounds of `sobirl run deep-inverse-rl`, and the expert before them."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import CompiledEnvironments, default_backend, make
from sobirl.deep.followers import make_follower
from sobirl.deep.host_loop import HostLoop
from sobirl.deep.leaders.demonstration_likelihood import DemonstrationLikelihood
from sobirl.deep.networks import architecture_for
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.reward_recovery import RecoveryState, RewardRecovery
from sobirl.deep.trajectories import Trajectories
from sobirl.experience.replay import Replay
from sobirl.experiments.deep_inverse_rl.demonstrations import read_demonstrations
from sobirl.experiments.deep_inverse_rl.options import DeepInverseRLRun

_CHUNK = 50  # calls of the environments in one program, while the expert learns


class Rounds:
    """All rounds of a run.

    Args:
        options: what is run.
        loop: the environments.
    """

    def __init__(self, options: DeepInverseRLRun, loop: CompiledLoop | HostLoop):
        self.options, spec = options, loop.spec
        self.expert_key, model_key, self._begin_key = jax.random.split(
            jax.random.key(options.seed), 3
        )
        if options.demonstrations is None:
            shown = self._expert(loop)
        else:
            shown = read_demonstrations(options.demonstrations, spec, options.episode_steps)
        calls = max(options.round_steps // loop.environments.num_envs, 1)
        self.total = math.ceil(options.steps / (calls * loop.environments.num_envs))
        self.recovery = RewardRecovery(
            loop=loop,
            learner=self.learner(loop),
            leader=DemonstrationLikelihood(options.discount, options.penalty),
            reward=RewardModel(
                spec.stacked_shape, model_key, bound=options.bound,
                architecture=architecture_for(spec.stacked_shape, options.widths),
                **spec.actions.size,
            ),
            demonstrations=shown,
            optimizer=optax.adam(optax.cosine_decay_schedule(options.reward_rate, self.total, 0.1)),
            calls=calls,
        )  # fmt: skip

    def learner(self, loop: CompiledLoop | HostLoop) -> ActorLearner:
        """One that learns, the expert or the follower."""
        options, spec = self.options, loop.spec
        follower = make_follower(
            "sac", spec, discount=options.discount, temperature=options.temperature,
            learning_rate=options.learning_rate, target_rate=options.target_rate,
            widths=options.widths,
        )  # fmt: skip
        count = loop.environments.num_envs
        replay = Replay(count, options.replay, options.batch, spec.frame_stack)
        return ActorLearner(follower, replay, options.random_steps, options.updates_per_step)

    def _expert(self, loop: CompiledLoop | HostLoop) -> Trajectories:
        """Episodes of one who has learned on the environment's own reward."""
        options, learner = self.options, self.learner(loop)
        begin_key, *keys = jax.random.split(self.expert_key, 1 + options.num_demonstrations)
        state = loop.begin(learner, begin_key)
        while int(state[0].steps) < options.expert_steps:
            state, _ = loop.advance(learner, None, state, _CHUNK)
        made: list[Trajectories] = []
        while sum(len(part.mask) for part in made) < options.num_demonstrations:
            key = keys[len(made)]
            part = loop.trajectories(
                learner.follower, state[0].follower, key, options.episode_steps
            )
            made.append(jax.tree.map(np.asarray, part))
        whole = jax.tree.map(lambda *parts: np.concatenate(parts), *made)
        return jax.tree.map(lambda leaf: leaf[: options.num_demonstrations], whole)

    def begin(self) -> RecoveryState:
        """Before the first round."""
        return self.recovery.init(self._begin_key)

    def restore(self, state: RecoveryState) -> RecoveryState:
        """Go on from a saved state, whose arrays are NumPy's."""
        learner, environments = state.loop
        state = eqx.tree_at(lambda s: s.loop, state, (learner, ()))
        state = jax.tree.map(jnp.array, state)
        # What environments on the host keep stays as it is: it has integers of 64 bits.
        loop = self.recovery.loop.restore((state.loop[0], environments))
        return eqx.tree_at(lambda s: s.loop, state, loop)

    def round(self, state: RecoveryState) -> tuple[RecoveryState, dict[str, float]]:
        """One round, and its row."""
        state, row = self.recovery.round(state)
        nothing = float("nan")  # before the reward's first step
        told = {
            name: row.pop(name, nothing)
            for name in ("gap", "demonstrated", "explicit_norm", "implicit_norm")
        }
        first = {"objective": -told["demonstrated"], "hypergradient_norm": told["implicit_norm"]}
        return state, first | told | row

    def returns(self, state: RecoveryState) -> dict[str, float]:
        """True returns of fresh episodes: of the policy's, the expert's, and random actions'."""
        options, recovery = self.options, self.recovery
        follower, learned = recovery.learner.follower, state.loop[0].follower
        keys = jax.random.split(jax.random.fold_in(self._begin_key, 1), 2)
        own, untrained = (
            recovery.loop.trajectories(follower, some, key, options.episode_steps)
            for some, key in zip((learned, follower.init(keys[1])), keys, strict=True)
        )
        found = {"true_return": own, "untrained_return": untrained}
        shown = recovery.demonstrations
        if np.any(np.asarray(shown.reward)):
            found["expert_return"] = shown
        return {name: float(np.mean(np.sum(made.reward * made.mask, axis=1)))
                for name, made in found.items()}  # fmt: skip


@contextlib.contextmanager
def loop_of(options: DeepInverseRLRun) -> Iterator[CompiledLoop | HostLoop]:
    """The environments, closed at the end."""
    backend = options.backend or default_backend(options.env)
    count = options.num_envs or (4 if backend == "gymnasium" else 16)
    with contextlib.ExitStack() as held:
        environments: Any
        environments, evaluation = (
            make(options.env, number, backend) for number in (count, options.episodes)
        )
        if isinstance(environments, CompiledEnvironments):
            yield CompiledLoop(environments, evaluation)
            return
        for some in (environments, evaluation):
            held.enter_context(some)
        yield HostLoop(environments, evaluation)
