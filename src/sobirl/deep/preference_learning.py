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
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.follower import FollowerView
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.leaders.descent import DescentState, ImplicitDescent
from sobirl.deep.leaders.preferences import PreferenceLeader, PreferenceState
from sobirl.deep.leaders.win_rate import WinRate
from sobirl.deep.novelty import POOL, Novelty
from sobirl.deep.policy_score import PolicyScore
from sobirl.deep.reward_learning import RewardLearner, RewardState
from sobirl.experience import Fragment, sample_fragments, seen
from sobirl.prefs import PairQueue, Questions, select_pairs

Metrics = dict[str, int | float]

_STEPS = 2048  # from which mean and deviation of the reward are estimated


class LearningState(eqx.Module):
    """Everything that the next round depends on, but a teacher of flesh and blood.

    Attributes:
        loop: of the follower, its replay and the environments.
        reward: the learned reward.
        queue: the labelled pairs.
        leader: the moving mean of the implicit term and reference fragments; None without a leader.
        round: how many rounds were done.
        key: for all that is random in asking and fitting.
    """

    loop: PyTree
    reward: RewardState
    queue: PairQueue
    leader: "LeaderMemory | None"
    round: Int[Array, ""]
    key: Key[Array, ""]


class LeaderMemory(eqx.Module):
    """What a leader's next step depends on beside reward and answers.

    Attributes:
        descent: the moving mean of the implicit term.
        reference: fragments of an earlier policy (R,); None where no leader compares with them.
    """

    descent: DescentState
    reference: Fragment | None


@dataclasses.dataclass(frozen=True, eq=False)
class PreferenceLearning:
    """How a reward is learned from preferences, and a policy from it.

    Attributes:
        loop: the environments, a `CompiledLoop` or a `HostLoop`.
        learner: the follower, and how it acts and learns.
        rewards: how the reward is fitted. None lets the follower have the true reward, which is the
            ceiling.
        leader: the objective whose implicit term moves the reward after every fit, which makes the
            method SoBiRL; without one, and without one in `rewards`, it is DRLHF.
        descent: the steps along that term.
        model: makes a fresh reward from a key; a `Partial` since these compare equal, so that what
            is compiled for one serves another.
        pairs: how many pairs each round asks about.
        calls: steps of all environments in a round.
        fragment_length: steps in a fragment.
        whole_fragments: whether those that an episode's end has cut short are left out.
        recent: fragments are taken from so many of the newest records of every environment.
        selection: which of the candidates are asked about, a name in `SELECTIONS`.
        candidates: for each pair that is asked about.
        epochs: passes over the queue in every round ...
        first_epochs: ... and in the first one.
        capacity: labelled pairs that are kept.
        exploring_rounds: in the first so many rounds the follower's reward is `Novelty`; then its
            critics begin anew (PEBBLE).
        neighbors: of `Novelty`.

    Raises:
        InvalidInputError: an implicit term with a horizon above 0 cannot make its rollouts.
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
    exploring_rounds: int = 0
    neighbors: int = 5
    leader: PreferenceLeader | None = None
    descent: ImplicitDescent = dataclasses.field(default_factory=ImplicitDescent)

    def __post_init__(self):
        has_states = isinstance(self.loop, CompiledLoop) and self.learner.keep_states
        term = self._rolled_out
        if term is not None and not has_states:
            raise InvalidInputError(
                f"horizon: {term.horizon} of the implicit term needs environments "
                "in JAX and a learner with keep_states=True; without, only 0 will do"
            )
        if self._from_random_steps and self._random_calls <= self.fragment_length:
            raise InvalidInputError(
                f"reference: uniform needs more random steps at the beginning than a fragment has, "
                f"{self.fragment_length} in each environment, got {self._random_calls}"
            )

    def init(self, key: Key[Array, ""]) -> LearningState:
        """Before the first round; the random steps of the beginning are part of that."""
        key, loop_key, model_key = jax.random.split(key, 3)
        loop = self.loop.begin(self.learner, loop_key)
        rewards = self.rewards or RewardLearner()
        like = jax.eval_shape(lambda: self._fragments(loop[0])(key, 1))
        reward, queue, number = _begin(rewards, self.model, like, self.capacity, model_key)
        memory = None if self.leader is None else self._memory(loop, reward, key)
        return LearningState(loop, reward, queue, memory, number, key)

    def _memory(self, loop, reward, key):
        """A leader's at the beginning, with reference fragments that have no step."""
        reference = None
        if isinstance(self.leader, WinRate):
            like = jax.eval_shape(lambda: _in_a_row(self._made(loop, key)))
            reference = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return LeaderMemory(self.descent.init(reward.model), reference)

    def round(
        self, state: LearningState, questions: Questions | None = None
    ) -> tuple[LearningState, Metrics]:
        """One round.

        Args:
            state: before it.
            questions: to the teacher; not needed for the true reward.

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
        reward, queue, memory = state.reward, state.queue, state.leader
        if self.rewards is not None:
            queue, asked = self._ask(state, learner_state, questions, ask_key)
            first = int(state.queue.added) == 0
            batches = -(-int(queue.size) // self.rewards.batch_size)
            updates = batches * (self.first_epochs if first else self.epochs)
            view = FollowerView(
                self.learner.follower,
                learner_state.follower,
                steps=learner_state.steps,
                records=learner_state.vector_steps,
                environments=self.loop.environments if self._rolled_out else None,
            )
            memory, mean, told = self._implicit(state, loop, queue, view, leader_key)
            reward, fitted = _fit(self.rewards, reward, queue, jnp.int32(updates), view, fit_key)
            if mean is not None:
                distance = jnp.float32(batches * self.epochs * self.rewards.learning_rate)
                length = fitted["hypergradient_norm"]
                reward, fitted["implicit_ratio"] = _step(
                    self.descent, reward, mean, length, distance
                )
            if self.rewards.deviation is not None:
                replay = self.learner.replay
                reward = _normalize(self.rewards, reward, replay, learner_state.replay, steps_key)
            metrics |= {"pairs": int(queue.added), "asked": asked}
            metrics |= {name: float(value) for name, value in {**fitted, **told}.items()}
        return LearningState(loop, reward, queue, memory, state.round + 1, key), metrics

    def _implicit(self, state, loop, queue, view, key):
        """The leader's memory, the moving mean of its implicit term if there is one, and metrics.

        Nothing has been fitted yet to what was answered in this round.
        """
        memory = state.leader
        if memory is None:
            return None, None, {}
        uniform = self._from_random_steps and int(state.round) == 0
        fresh_key, reference_key, term_key = jax.random.split(key, 3)
        if uniform:
            count = len(memory.reference.mask)
            reference = _of_random_steps(
                loop[0],
                self.learner.replay,
                self.fragment_length,
                self._random_calls,
                count,
                reference_key,
            )
            memory = LeaderMemory(memory.descent, reference)
        if int(view.steps) < self.descent.start:
            return memory, None, {"implicit_agreement": 0.0}
        fragments = self._made(loop, fresh_key)
        descent, mean, told = _estimate(
            self.leader,
            self.descent,
            memory,
            state.reward,
            queue,
            queue.added - state.queue.added,
            min(_power_of_two(max(self._usual, 1)), queue.capacity),
            view,
            fragments,
            term_key,
        )
        reference = memory.reference
        if reference is not None and not self._from_random_steps:
            reference = _in_a_row(fragments)
        return LeaderMemory(descent, reference), mean, told

    def _made(self, loop, key) -> Fragment:
        """Fragments of the present policy (N,M)."""
        return self.loop.fragments(
            self.learner, loop, self.fragment_length, self.descent.fragments, key
        )

    @property
    def _from_random_steps(self) -> bool:
        return isinstance(self.leader, WinRate) and self.leader.reference == "uniform"

    @property
    def _random_calls(self) -> int:
        """Calls of the environments in the first round that have random actions."""
        return min(self.calls, self.learner.random_steps // self.learner.replay.num_envs)

    @property
    def _usual(self) -> int:
        """The pairs of the round that asks most, but for the first."""
        return sorted(self.pairs)[-2] if len(self.pairs) > 1 else self.pairs[0]

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
        """The queue with what the teacher has said, and how many pairs were asked about."""
        at = int(state.round)
        count = self.pairs[at] if at < len(self.pairs) else 0
        queue = state.queue
        if count:
            # Few numbers, so that few programs serve all rounds.
            drawn = _power_of_two(max(count, self._usual))
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
        answers = questions.answers()
        if answers is not None:
            pairs, labels = answers
            kept = np.arange(_power_of_two(len(labels))) < len(labels)
            pairs, labels = jax.tree.map(lambda leaf: _filled(leaf, len(kept)), (pairs, labels))
            queue = _add(queue, pairs, labels, kept)
        return queue, count

    @property
    def _rolled_out(self) -> ImplicitTerm | PolicyScore | None:
        """What needs rollouts, if something does."""
        score = None if self.leader is None else self.leader.score
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


def _of_random_steps(learner_state, replay, length, calls, count, key) -> Fragment:
    """Fragments of the first so many steps (count,)."""
    first, _ = replay.ring(learner_state.replay)
    return sample_fragments(
        learner_state.replay.experience,
        key,
        count,
        length,
        first=first,
        count=calls,
        frame_stack=replay.frame_stack,
    )


def _in_a_row(fragments: Fragment) -> Fragment:
    """Fragments (N,M) with one leading axis."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), fragments)


@eqx.filter_jit
def _estimate(leader, descent, memory, reward, queue, new, most, view, fragments, key):
    """The moving mean with one more estimate of the implicit term, and how good that is."""
    sample_key, term_key = jax.random.split(key)
    answered = queue.at(jnp.arange(most))
    number = jnp.where(answered.number >= queue.added - new, answered.number, -1)
    known = PreferenceState(
        reward=reward.normalized,
        labelled=queue.sample(sample_key, leader.rewards.batch_size),
        answered=eqx.tree_at(lambda a: a.number, answered, number),
        reference=memory.reference,
    )
    explicit, implicit, told = leader.terms(known, view, fragments, term_key)
    state, mean = descent.average(memory.descent, implicit)
    lengths = optax.tree.norm(explicit) * optax.tree.norm(mean)
    cosine = optax.tree.vdot(explicit, mean) / jnp.maximum(lengths, 1e-12)
    return state, mean, {"implicit_cosine": cosine, **told}


@eqx.filter_jit
def _step(descent, reward, mean, length, distance):
    """The reward after a step, and how long the mean is beside the explicit term."""
    ratio = optax.tree.norm(mean) / jnp.maximum(length, 1e-12)
    return descent.step(reward, mean, length, distance), ratio


@eqx.filter_jit
def _forget_values(follower, state, key):
    return follower.forget_values(state, key)


@eqx.filter_jit
def _begin(rewards, model, like, capacity, key):
    pair = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), like)
    queue = PairQueue.init(pair, capacity)
    return rewards.init(model(key=key)), queue, jnp.zeros((), jnp.int32)


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
    """The reward with the mean and scale that suit what is in the replay."""
    steps = dataclasses.replace(replay, batch_size=_STEPS).sample(state, key)
    return rewards.normalize(reward, steps)


_novelty = eqx.filter_jit(Novelty.of_replay)
_fit = eqx.filter_jit(RewardLearner.fit)
_add = eqx.filter_jit(PairQueue.add)


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


def _power_of_two(count: int) -> int:
    """The next one."""
    return 1 << (count - 1).bit_length()


def _on_host(leaf: Array) -> Array | np.ndarray:
    """A NumPy array, but of keys, which are none."""
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else np.asarray(leaf)


def _filled(leaf: Array | np.ndarray, length: int) -> Array | np.ndarray:
    """As long as that, by repeating the last row."""
    return leaf[np.minimum(np.arange(length), len(leaf) - 1)]
