"""Learning a reward from preferences and a policy from the reward, in turns.

A round lets the follower act and learn on the reward so far, asks a teacher about pairs of
fragments of what it did, and improves the reward with all that the teacher has said.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.follower import FollowerView
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.leaders.leading import Leading, LeadingState
from sobirl.deep.novelty import POOL, Novelty
from sobirl.deep.policy_score import PolicyScore
from sobirl.deep.reward_learning import RewardLearner, RewardState
from sobirl.experience import Fragment, sample_fragments, seen
from sobirl.prefs import Answers, Dialogue, select_pairs
from sobirl.prefs.answers import check_share, power_of_two

Metrics = dict[str, int | float]

_STEPS = 2048  # from which zero and deviation of the reward are estimated


class LearningState(eqx.Module):
    """Everything that the next round depends on, but a teacher of flesh and blood.

    Attributes:
        loop: of the follower, its replay and the environments.
        reward: the learned reward.
        answers: the labelled pairs.
        leading: what a leader remembers; None without one.
        round: how many rounds were done.
        key: for all that is random in asking and fitting.
    """

    loop: PyTree
    reward: RewardState
    answers: Answers
    leading: LeadingState | None
    round: Int[Array, ""]
    key: Key[Array, ""]


@dataclasses.dataclass(frozen=True, eq=False)
class PreferenceLearning:
    """How a reward is learned from preferences, and a policy from it.

    Attributes:
        loop: the environments, a `CompiledLoop` or a `HostLoop`.
        learner: the follower, and how it acts and learns.
        rewards: how the reward is fitted. None lets the follower have the true reward, which is the
            ceiling.
        model: makes a fresh reward from a key; a `Partial` since these compare equal, so that what
            is compiled for one serves another.
        pairs: how many pairs each round asks about.
        calls: steps of all environments in a round.
        fragment_length: steps in a fragment.
        whole_fragments: whether those that an episode's end has cut short are left out.
        recent: fragments are taken from so many of the newest records of every environment.
        selection: which of the candidates are asked about, a name in `SELECTIONS`.
        candidates: for each pair that is asked about.
        epochs: the most passes over the queue in every round ...
        first_epochs: ... and in the first one.
        capacity: labelled pairs that are kept.
        held_out: the share of them from which nothing is ever learned, see `RewardLearner.fit`.
        exploring_rounds: in the first so many rounds the follower's reward is `Novelty`; then its
            critics begin anew (PEBBLE).
        neighbors: of `Novelty`.
        leading: an objective whose implicit term the reward follows too, which makes the
            method SoBiRL; without one, and without such a term in `rewards`, it is DRLHF.

    Raises:
        InvalidInputError: an implicit term with a horizon above 0 cannot make its rollouts; a share
            out of its range; too few random steps to compare with.
    """

    loop: Any
    learner: ActorLearner
    rewards: RewardLearner | None
    model: Partial
    pairs: tuple[int, ...]
    calls: int
    fragment_length: int = 25
    whole_fragments: bool = False
    recent: int = 2000
    selection: str = "uniform"
    candidates: int = 4
    epochs: int = 4
    first_epochs: int = 32
    capacity: int = 3000
    held_out: float = 0.0
    exploring_rounds: int = 0
    neighbors: int = 5
    leading: Leading | None = None

    def __post_init__(self):
        check_share(self.held_out)
        has_states = isinstance(self.loop, CompiledLoop) and self.learner.keep_states
        term = self._rolled_out
        if term is not None and not has_states:
            raise InvalidInputError(
                f"horizon: {term.horizon} of the implicit term needs environments "
                "in JAX and a learner with keep_states=True; without, only 0 will do"
            )
        if self._reference == "uniform" and self._random_calls <= self.fragment_length:
            raise InvalidInputError(
                "reference: uniform needs more random steps at the beginning than a fragment has, "
                f"{self.fragment_length} in each environment, got {self._random_calls}"
            )

    def init(self, key: Key[Array, ""]) -> LearningState:
        """Before the first round; the random steps of the beginning are part of that."""
        key, loop_key, model_key = jax.random.split(key, 3)
        loop = self.loop.begin(self.learner, loop_key)
        rewards = self.rewards or RewardLearner()
        like = jax.eval_shape(lambda: self._fragments(loop[0])(key, 1))
        pair = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), like)
        answers = Answers.init(pair, self.capacity, self.held_out)
        reward = _begin(rewards, self.model, model_key)
        leading = None
        if self.leading is not None:
            like = jax.eval_shape(lambda: self._made(loop, key))
            leading = _begin_leading(self.leading, reward, like, model_key)
        return LearningState(loop, reward, answers, leading, jnp.zeros((), jnp.int32), key)

    def given(
        self, state: LearningState, pairs: Fragment, labels: Float[np.ndarray, "M"]
    ) -> LearningState:
        """The state with pairs (M,2) that someone has labelled before, as of `read_labels`.

        Raises:
            InvalidInputError: the pairs are not like those that are asked about.
        """
        return eqx.tree_at(lambda s: s.answers, state, state.answers.add(pairs, labels))

    def round(
        self, state: LearningState, questions: Dialogue | None = None
    ) -> tuple[LearningState, Metrics]:
        """One round.

        Args:
            state: before it.
            questions: to the teacher, such as `Questions`; not needed for the true reward.

        Returns:
            the next state, and metrics of both levels.
        """
        key, novelty_key, values_key, ask_key, fit_key, steps_key, leader_key = jax.random.split(
            state.key, 7
        )
        at = int(state.round)
        reward = self._reward_of_follower(state, novelty_key)
        loop, sums = self.loop.advance(self.learner, reward, state.loop, self.calls)
        if at == self.exploring_rounds - 1:
            forgetful = _forget_values(self.learner.follower, loop[0].follower, values_key)
            loop = (eqx.tree_at(lambda s: s.follower, loop[0], forgetful), *loop[1:])
        learner_state = loop[0]
        metrics = {"environment_steps": int(learner_state.steps), **_means(sums)}
        reward, answers, leading = state.reward, state.answers, state.leading
        if self.rewards is not None:
            answers, asked = self._ask(state, learner_state, questions, ask_key)
            queue = answers.queue
            first = at == 0 or int(state.answers.queue.added) == 0
            passes = self.first_epochs if first else self.epochs
            view = FollowerView(
                self.learner.follower,
                learner_state.follower,
                steps=learner_state.steps,
                records=learner_state.vector_steps,
                environments=self.loop.environments if self._rolled_out else None,
            )
            leading, mean, told = self._lead(state, loop, queue, view, leader_key)
            fit = queue, jnp.int32(passes), view, fit_key, answers.held_out
            reward, fitted = _fit(self.rewards, reward, *fit, mean)
            if self.leading is not None and leading is not None and leading.judges is not None:
                judges, _ = _fit(self.leading.fit, leading.judges, *fit)
                leading = eqx.tree_at(lambda s: s.judges, leading, judges)
            if self.rewards.normalization is not None:
                replay = self.learner.replay
                reward = _normalize(self.rewards, reward, replay, learner_state.replay, steps_key)
            metrics |= {"pairs": answers.added, "asked": asked}
            metrics |= {name: float(value) for name, value in {**fitted, **told}.items()}
        after = LearningState(loop, reward, answers, leading, state.round + 1, key)
        return after, metrics

    def _lead(self, state, loop, queue, view, key):
        """The leader's state, the mean of its implicit term, 0 if there is none yet, and metrics.

        Nothing has been fitted yet to what was answered in this round.
        """
        leader, leading = self.leading, state.leading
        if leader is None:
            return None, None, {}
        made_key, estimate_key = jax.random.split(key)
        if self._reference == "uniform" and int(state.round) == 0:
            number = len(leading.reference.mask)
            random = _of_random_steps(
                loop[0],
                self.learner.replay,
                self.fragment_length,
                self._random_calls,
                number,
                made_key,
            )
            leading = eqx.tree_at(lambda s: s.reference, leading, random)
        if int(view.steps) < leader.start or not int(queue.added):
            return leading, leading.mean.mean, {"implicit_agreement": 0.0}
        new = queue.added - state.answers.queue.added
        most = min(power_of_two(self._usual), queue.capacity)
        fragments = self._made(loop, made_key)
        known = leading, state.reward, queue, new, most
        return _estimate(leader, *known, view, fragments, estimate_key)

    def _made(self, loop, key) -> Fragment:
        """Fragments of the present policy (N,M)."""
        number = 0 if self.leading is None else self.leading.fragments
        return self.loop.fragments(self.learner, loop, self.fragment_length, number, key)

    @property
    def _reference(self) -> str | None:
        """Where reference fragments come from, if a leader wants some."""
        return None if self.leading is None else self.leading.reference

    @property
    def _random_calls(self) -> int:
        """Calls of the environments in the first round that have random actions."""
        return min(self.calls, self.learner.random_steps // self.learner.replay.num_envs)

    @property
    def _usual(self) -> int:
        """The pairs of the round that asks most, but for the first; at least one."""
        return max(sorted(self.pairs)[-2:][0], 1)

    def _reward_of_follower(self, state: LearningState, key: Key[Array, ""]):
        """What the follower learns on in a round; None is the environment's own reward."""
        at = int(state.round)
        if at >= self.exploring_rounds:
            return None if self.rewards is None else state.reward.normalized
        learner = state.loop[0]
        if at > 0:
            return _novelty(self.learner.replay, learner.replay, key, self.neighbors)
        first = seen(learner.frames)
        return Novelty(jnp.resize(first, (POOL, *first.shape[1:])), self.neighbors)

    def _ask(self, state, learner_state, questions, key):
        """All answers with what the teacher has said now, and how many pairs were asked about."""
        at = int(state.round)
        count = self.pairs[at] if at < len(self.pairs) else 0
        if count:
            # Few numbers, so that few programs serve all rounds.
            drawn = power_of_two(max(count, self._usual))
            candidates = 1 if self.selection == "uniform" else self.candidates
            found = _candidates(
                self.rewards,
                state.reward.model,
                self._fragments(learner_state),
                self.selection,
                drawn,
                candidates,
                key,
            )
            questions.ask(jax.tree.map(lambda leaf: _on_host(leaf)[:count], found))
        said = questions.answers()
        return state.answers if said is None else state.answers.add(*said), count

    @property
    def _rolled_out(self) -> ImplicitTerm | PolicyScore | None:
        """What needs rollouts, if something does."""
        score = None if self.leading is None else self.leading.leader.score
        implicit = None if self.rewards is None else self.rewards.implicit
        return next((one for one in (score, implicit) if one and one.needs_rollouts), None)

    def _fragments(self, learner_state) -> Partial:
        """Draws pairs of what was experienced lately, with a key and their number."""
        return Partial(
            _drawn,
            learner_state,
            self.learner.replay,
            self.fragment_length,
            self.recent,
            self.whole_fragments,
        )


def _drawn(learner_state, replay, length, recent, whole, key, num) -> Fragment:
    """Pairs of fragments (num,2)."""
    first, count = replay.ring(learner_state.replay)
    return sample_fragments(
        learner_state.replay.experience,
        key,
        (num, 2),
        length,
        first=first,
        count=count,
        now=learner_state.vector_steps,
        frame_stack=replay.frame_stack,
        recent=recent,
        whole=whole,
    )


@eqx.filter_jit
def _of_random_steps(learner_state, replay, length, calls, number, key) -> Fragment:
    """Fragments of the first so many steps of all environments (number,)."""
    first, _ = replay.ring(learner_state.replay)
    return sample_fragments(
        learner_state.replay.experience,
        key,
        number,
        length,
        first=first,
        count=calls,
        frame_stack=replay.frame_stack,
    )


@eqx.filter_jit
def _forget_values(follower, state, key):
    return follower.forget_values(state, key)


@eqx.filter_jit
def _begin(rewards, model, key):
    return rewards.init(model(key=key))


@eqx.filter_jit
def _candidates(rewards, model, fragments, selection, count, candidates, key):
    """The pairs that tell most among so many candidates for each."""
    fragment_key, select_key = jax.random.split(key)
    pairs = fragments(fragment_key, count * candidates)
    if candidates == 1:
        return pairs
    probabilities = jax.nn.sigmoid(rewards.logits(model, pairs))
    chosen = select_pairs(selection, probabilities, count, select_key)
    return jax.tree.map(lambda leaf: leaf[chosen], pairs)


@eqx.filter_jit
def _normalize(rewards, reward, replay, state, key):
    """The reward with the zero and the scale that suit what is in the replay."""
    steps = dataclasses.replace(replay, batch_size=_STEPS).sample(state, key)
    return rewards.normalize(reward, steps)


_novelty = eqx.filter_jit(Novelty.of_replay)
_fit = eqx.filter_jit(RewardLearner.fit)
_begin_leading = eqx.filter_jit(Leading.init)
_estimate = eqx.filter_jit(Leading.estimate)


def _means(sums: dict[str, Array]) -> Metrics:
    """What a round says of the follower: means over its episodes, and over its updates."""
    totals = {name: float(value) for name, value in sums.items()}
    episodes, updates = totals.pop("episodes"), totals.pop("updates")
    returns, lengths = totals.pop("returns"), totals.pop("lengths")
    over = {name: total / updates if updates else float("nan") for name, total in totals.items()}
    return {
        "episodes": episodes,
        "true_return": returns / episodes if episodes else float("nan"),
        "episode_length": lengths / episodes if episodes else float("nan"),
        **over,
    }


def _on_host(leaf: Array) -> Array | np.ndarray:
    """A NumPy array, but of keys, which are none."""
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else np.asarray(leaf)
