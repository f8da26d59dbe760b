"""The rounds of `sobirl run rlhf`: seed after seed, a row of metrics each."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from sobirl.deep.actor_learner import from_environment
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import CompiledEnvironments, default_backend, make
from sobirl.deep.film import Film
from sobirl.deep.host_loop import HostLoop
from sobirl.deep.preference_learning import LearningState, PreferenceLearning
from sobirl.experiments.rlhf.clips import clips
from sobirl.experiments.rlhf.labels import answered, given, labels_in
from sobirl.experiments.rlhf.learned import Learned
from sobirl.experiments.rlhf.learning import learning_of
from sobirl.experiments.rlhf.people import People, say
from sobirl.experiments.rlhf.reward_map import RewardMap, reward_map
from sobirl.experiments.rlhf.settings import Settings
from sobirl.prefs import Dialogue, LabelledPair, OracleTeacher, PreferenceStore, Questions

_SLOWEST_EPISODE = 10_000  # steps of an evaluation, where episodes have no limit
_DOTS = 2000  # steps of the replay that a map shows


class RoundState(eqx.Module):
    """Everything that the next round depends on.

    Attributes:
        step: rounds done so far, of all seeds.
        learning: of the seed that is under way.
    """

    step: Int[Array, ""]
    learning: LearningState


class Rounds:
    """All rounds of a run.

    Args:
        settings: what is run; an attribute has it with the presets filled in.
        seed: of the first seed.
        loop: the environments.
        store: where people label, if they are the teachers.
    """

    def __init__(self, settings: Settings, seed: int, loop, store: PreferenceStore | None = None):
        self.settings, self.seed = settings.resolved(loop.spec), seed
        self._labelled = answered(settings.labels) if settings.labels is not None else []
        self.learning: PreferenceLearning = learning_of(self.settings, loop, len(self._labelled))
        self.rounds_per_seed = len(self.learning.pairs)
        self.total = settings.seeds * self.rounds_per_seed
        self._people: People | None = None
        if store is not None:
            told = (lambda line: None) if getattr(settings, "quiet", False) else say
            self._people = People(store, loop.spec, settings.wait_for, settings.reliability, told)

    @classmethod
    @contextlib.contextmanager
    def open(cls, settings: Settings, seed: int, store: Path | None = None) -> Iterator["Rounds"]:
        """The rounds, with environments and a store of labels that are closed at the end.

        Raises:
            InvalidInputError: the options do not go together, or there is no such environment.
        """
        with contextlib.ExitStack() as held:
            opened = None
            if store is not None:
                opened = held.enter_context(PreferenceStore(store))
                opened.set(environment=settings.env, instruction=settings.instruction)
            yield cls(settings, seed, _loop(settings, held), opened)

    def begin(self) -> RoundState:
        """Before the first round."""
        return RoundState(jnp.zeros((), jnp.int32), self._fresh(0))

    def restore(self, state: RoundState) -> RoundState:
        """Go on from a saved state, whose arrays are NumPy's."""
        learner, environments = state.learning.loop
        state = eqx.tree_at(lambda s: s.learning.loop, state, (learner, ()))
        state = jax.tree.map(jnp.array, state)
        # What environments on the host keep stays as it is: it has integers of 64 bits.
        loop = self.learning.loop.restore((state.learning.loop[0], environments))
        return eqx.tree_at(lambda s: s.learning.loop, state, loop)

    def round(self, state: RoundState) -> tuple[RoundState, dict[str, int | float]]:
        """One round, and its row."""
        number, at = divmod(int(state.step), self.rounds_per_seed)
        learning = state.learning if at or not number else self._fresh(number)
        key = jax.random.fold_in(self._key(number), at)
        teacher_key, evaluation_key = jax.random.split(key)
        if self._people is None:
            # A teacher for every round: what it says depends on seed and round alone.
            questions: Dialogue = Questions(OracleTeacher(self.settings.oracle, teacher_key))
        else:
            questions = self._people.questions(int(state.step), learning.reward.model)
        learning, metrics = self.learning.round(learning, questions)
        if self._people is not None:
            metrics["waiting"] = len(self._people.store.unlabelled())
        is_last = at == self.rounds_per_seed - 1
        value = error = math.nan
        if is_last or at % self.settings.eval_every == self.settings.eval_every - 1:
            returns = self._evaluate(learning, evaluation_key)
            value, error = float(np.mean(returns)), standard_error(returns)
        row = {
            "objective": metrics.pop("preference_loss", math.nan),
            "hypergradient_norm": metrics.pop("hypergradient_norm", math.nan),
            "seed": float(self.seed + number),
            "eval_return": value,
            "eval_error": error,
            **metrics,
        }
        return RoundState(state.step + 1, learning), row

    def learned(self, state: RoundState) -> Learned:
        """The policy and the reward of the seed that is under way."""
        learning, learner = state.learning, self.learning.learner
        found = jax.tree.map(jnp.asarray, (learning.loop[0].follower, learning.reward.model))
        return Learned(self.learning.loop.spec, learner.follower, *found)

    def reward_map(self, state: RoundState) -> RewardMap | None:
        """The learned reward over a plane of states, if observations are few numbers."""
        replay = dataclasses.replace(self.learning.learner.replay, batch_size=_DOTS)
        steps = replay.sample(state.learning.loop[0].replay, self._last_key)
        return reward_map(self.learned(state), steps)

    def rewards_of(self, state: RoundState, film: Film) -> Float[np.ndarray, "T"]:
        """The learned reward of every step of a film."""
        action = from_environment(self.learning.loop.spec, film.action)
        return np.asarray(self.learned(state).model(jnp.asarray(film.observation), action))

    def clips(self, state: RoundState) -> tuple[dict[str, bytes], Film]:
        """Clips of the policy of the seed that is under way, and the first one's film.

        Raises:
            InvalidInputError: the environment cannot be drawn here.
        """
        return clips(self.settings, self.learning, state.learning, self._last_key)

    @property
    def _last_key(self):
        """For what is drawn at the end."""
        return jax.random.fold_in(self._key(self.settings.seeds - 1), self.rounds_per_seed)

    def _evaluate(self, learning: LearningState, key) -> Float[Array | np.ndarray, "E"]:
        loop, spec = self.learning.loop, self.learning.loop.spec
        follower = self.learning.learner.follower
        most = self.settings.eval_steps or spec.max_episode_steps or _SLOWEST_EPISODE
        greedy = self.settings.eval_greedy
        return loop.evaluate(follower, learning.loop[0].follower, key, most, greedy)

    def _fresh(self, number: int) -> LearningState:
        state = self.learning.init(self._key(number))
        if not self._labelled:
            return state
        return self.learning.given(
            state, *given(self._labelled, self.settings, self.learning.loop.spec)
        )

    def labels(self, state: RoundState) -> list[LabelledPair]:
        """The labelled pairs of the seed that is under way."""
        return labels_in(state.learning.answers, self.settings.env, self._labelled)

    def _key(self, number: int):
        return jax.random.key(self.seed + number)


def standard_error(values: Num[Array | np.ndarray, "n"]) -> float:
    """Of the mean; 0 for a single value, of which nothing is known."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _loop(settings: Settings, held: contextlib.ExitStack):
    backend = settings.backend or default_backend(settings.env)

    def made(count, **options) -> Any:  # compiled or on the host, as the backend has it
        environments = make(settings.env, count, backend, **options)
        compiled = isinstance(environments, CompiledEnvironments)
        return environments if compiled else held.enter_context(environments)

    chosen = settings.resolved(made(1).spec)
    shown, learning = {}, {}
    if backend == "atari":
        shown, learning = {"screen": chosen.screen}, {"episodic_life": chosen.episodic_life}
    environments = made(chosen.num_envs, **shown, **learning)
    evaluation = made(chosen.eval_episodes, **shown)
    if isinstance(environments, CompiledEnvironments):
        return CompiledLoop(environments, evaluation)
    return HostLoop(environments, evaluation)
