"""How a leader leads: what it remembers from round to round, and what it does in each."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.meta_reward import MetaReward
from sobirl.deep.leaders.moving_mean import MeanState, MovingMean
from sobirl.deep.leaders.preferences import PreferenceLeader, PreferenceState
from sobirl.deep.leaders.win_rate import WinRate
from sobirl.deep.reward_learning import RewardLearner, RewardState
from sobirl.experience import Fragment
from sobirl.prefs import PairQueue

_TINY = 1e-12


class LeadingState(eqx.Module):
    """What the next round depends on beside reward and answers.

    Attributes:
        mean: of the implicit term.
        reference: fragments of another policy (R,), without steps at first; None for leaders that
            do not compare with them.
        judges: rewards that label fresh fragments; None where the reward does so itself.
    """

    mean: MeanState
    reference: Fragment | None
    judges: RewardState | None


class Leading(eqx.Module):
    """A leader's part of a round.

    Args:
        leader: the objective, and how the implicit term is estimated.
        average: of the estimates, which the reward follows.
        start: environment steps before which there are no estimates.
        fragments: fresh fragments for an estimate, at least.
        judges: makes fresh judges from a key, see `PreferenceState`; they are fitted like the
            reward.

    Raises:
        InvalidInputError: a number out of its range.
    """

    leader: PreferenceLeader | MetaReward
    average: MovingMean = MovingMean()
    start: int = 0
    fragments: int = eqx.field(default=512, static=True)
    judges: Partial | None = None

    def __check_init__(self):
        if self.start < 0:
            raise InvalidInputError(f"start: must not be negative, got {self.start}")
        if self.fragments < 4:
            raise InvalidInputError(f"fragments: must be at least 4, got {self.fragments}")

    @property
    def reference(self) -> str | None:
        """Where the leader's reference fragments come from, if it has some."""
        return self.leader.reference if isinstance(self.leader, WinRate) else None

    @property
    def fit(self) -> RewardLearner:
        """How judges are fitted: to the answers alone."""
        return eqx.tree_at(
            lambda r: r.implicit, self.leader.rewards, None, is_leaf=lambda leaf: leaf is None
        )

    def init(self, reward: RewardState, like: Fragment, key: Key[Array, ""]) -> LeadingState:
        """Before the first round.

        Args:
            reward: x.
            like: fresh fragments (N,M), or their shapes.
            key: for judges.
        """
        reference = None
        if self.reference is not None:
            reference = jax.tree.map(
                lambda leaf: jnp.zeros(
                    (leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), leaf.dtype
                ),
                like,
            )
        judges = None if self.judges is None else self.fit.init(self.judges(key=key))
        return LeadingState(self.average.init(reward.model), reference, judges)

    def estimate(
        self,
        state: LeadingState,
        reward: RewardState,
        queue: PairQueue,
        new: Int[Array, ""],
        most: int,
        view: FollowerView,
        fragments: Fragment,
        key: Key[Array, ""],
    ) -> tuple[LeadingState, PyTree, dict[str, Float[Array, ""]]]:
        """The next state, the moving mean of the implicit term, and how good it is.

        Args:
            state: before it.
            reward: not yet fitted to ...
            queue: ... its newest ...
            new: ... so many pairs, of which ...
            most: ... so many count.
            view: the follower, whose present policy made ...
            fragments: ... these (N,M).
            key: for all that is random.
        """
        sample_key, term_key = jax.random.split(key)
        answered = queue.at(jnp.arange(most))
        number = jnp.where(answered.number >= queue.added - new, answered.number, -1)
        known = PreferenceState(
            reward=reward.normalized,
            labelled=queue.sample(sample_key, self.leader.rewards.batch_size),
            answered=eqx.tree_at(lambda a: a.number, answered, number),
            reference=state.reference,
            judges=None if state.judges is None else state.judges.model,
        )
        explicit, implicit, told = self.leader.terms(known, view, fragments, term_key)
        average, mean = self.average.update(state.mean, implicit)
        lengths = optax.tree.norm(explicit) * optax.tree.norm(mean)
        cosine = optax.tree.vdot(explicit, mean) / jnp.maximum(lengths, _TINY)
        reference = state.reference
        if self.reference == "earlier":
            reference = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), fragments)
        after = LeadingState(average, reference, state.judges)
        return after, mean, {"implicit_cosine": cosine, **told}
