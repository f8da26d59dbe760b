"""Learning a reward from preferences: the loss, and the two terms of its hyper-gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import FollowerView
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.normalized_reward import NormalizedReward
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment, flat_steps
from sobirl.experience.replay import Transitions
from sobirl.prefs import Labelled, PairQueue, fragment_return, preference_logit, preference_loss

METRICS = (
    "preference_loss",
    "preference_accuracy",
    "implicit_ratio",
    "implicit_cosine",
    "hypergradient_norm",
)


class RewardState(eqx.Module):
    """The reward and the state of its optimizer.

    Attributes:
        model: r_x.
        optimizer: of AdamW.
        updates: how many were made.
        mean: that critics see subtracted from r_x, 0 without normalization ...
        scale: ... and the factor of what is left, 1 without.
    """

    model: RewardModel
    optimizer: PyTree
    updates: Int[Array, ""]
    mean: Float[Array, ""]
    scale: Float[Array, ""]

    @property
    def normalized(self) -> NormalizedReward:
        """The reward as the critics see it."""
        return NormalizedReward(self.model, self.mean, self.scale)


class RewardLearner(eqx.Module):
    """Minimizes the cross-entropy of the Bradley-Terry model, with AdamW.

    Args:
        implicit: the implicit term of the hyper-gradient; None leaves it out, as plain learning
            from preferences does (Christiano et al. 2017).
        largest_ratio: the implicit term is shortened where its norm exceeds this many times that of
            the explicit one. Without a bound it may drive the rewards of the queue's pairs to
            infinity: on pairs that do not change it has no minimum.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        batch_size: pairs an update.
        temperature: of the Bradley-Terry model.
        noise: the share of answers that are made by chance, see `preference_loss`.
        discount: of the rewards within a fragment, see `fragment_return`.
        deviation: critics see rewards of mean 0 and this standard deviation; None leaves them as
            they were fitted.

    Raises:
        InvalidInputError: a number out of its range.

    Source: Christiano et al. (2017); Yang, Gao, Yuan (2025).
    """

    implicit: ImplicitTerm | None = None
    largest_ratio: float = 1.0
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    batch_size: int = eqx.field(default=64, static=True)
    temperature: float = 1.0
    noise: float = 0.0
    discount: float = 1.0
    deviation: float | None = None

    def __check_init__(self):
        for name in ("learning_rate", "batch_size", "temperature", "largest_ratio"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name}: must be positive, got {getattr(self, name)}")
        if self.deviation is not None and not self.deviation > 0:
            raise InvalidInputError(f"deviation: must be positive, got {self.deviation}")

    def init(self, model: RewardModel) -> RewardState:
        """Before the first update."""
        zero, one = jnp.zeros(()), jnp.ones(())
        return RewardState(model, self._adam.init(model), jnp.zeros((), jnp.int32), zero, one)

    def logits(
        self, model: RewardModel, pairs: Fragment, key: Key[Array, ""] | None = None
    ) -> Float[Array, "K B"]:
        """The log-odds that the first of two fragments is preferred, for every member."""
        reward = model.members(*flat_steps(pairs), key).reshape(-1, *pairs.mask.shape)
        mask = jnp.broadcast_to(pairs.mask, reward.shape)
        returns = fragment_return(reward, mask, self.discount)
        return preference_logit(returns[..., 0], returns[..., 1], self.temperature)

    def terms(
        self,
        model: RewardModel,
        batch: Labelled,
        view: FollowerView,
        key: Key[Array, ""],
    ) -> tuple[RewardModel, RewardModel | None, dict[str, Array]]:
        """The explicit and the implicit term of the hyper-gradient on a batch of labelled pairs.

        Args:
            model: the reward so far.
            batch: B pairs; those whose number is -1 do not count.
            view: the follower whose policy the pairs depend on.
            key: for dropout, sampled actions and rollouts.

        Returns:
            the gradient of the loss; the implicit term, None without one; and metrics: the
            `preference_loss`, and the `preference_accuracy` over pairs that are no ties.
        """
        dropout_key, implicit_key = jax.random.split(key)
        pairs, label = batch.pair, batch.label
        weight = (batch.number >= 0).astype(label.dtype)
        count = jnp.maximum(jnp.sum(weight), 1)

        def loss_of(model):
            logits = self.logits(model, pairs, dropout_key)
            losses = jax.vmap(lambda logit: preference_loss(logit, label, self.noise))(logits)
            losses = jnp.mean(losses, axis=0)
            return jnp.sum(weight * losses) / count, (losses, logits)

        (loss, (losses, logits)), explicit = jax.value_and_grad(loss_of, has_aux=True)(model)
        term = None
        if self.implicit is not None:
            surrogate = jax.grad(self.implicit.surrogate)
            term = jax.lax.cond(
                view.steps >= self.implicit.start,
                lambda: surrogate(model, view, pairs, losses, weight, implicit_key),
                lambda: jax.tree.map(jnp.zeros_like, model),
            )
        decided = weight * (label != 0.5)
        right = (jnp.mean(logits, axis=0) > 0) == (label > 0.5)
        metrics = {
            "preference_loss": loss,
            "preference_accuracy": jnp.sum(decided * right) / jnp.maximum(jnp.sum(decided), 1),
        }
        return explicit, term, metrics

    def update(
        self, state: RewardState, batch: Labelled, view: FollowerView, key: Key[Array, ""]
    ) -> tuple[RewardState, dict[str, Array]]:
        """One step on a batch of labelled pairs.

        Args:
            state: the reward so far.
            batch: as of `terms`, and so are ...
            view: ... this and ...
            key: ... this.

        Returns:
            the next state, and metrics: those of `terms`, the `implicit_ratio`, the norm of the
            implicit term over that of the explicit one, the `implicit_cosine` between the two, and
            the `hypergradient_norm` of both together.
        """
        gradient, term, metrics = self.terms(state.model, batch, view, key)
        ratio = cosine = jnp.zeros(())
        if term is not None:
            length = jnp.maximum(optax.tree.norm(gradient), 1e-12)
            ratio = optax.tree.norm(term) / length
            aligned = optax.tree.vdot(gradient, term) / length
            cosine = aligned / jnp.maximum(optax.tree.norm(term), 1e-12)
            shortened = jnp.minimum(1, self.largest_ratio / jnp.maximum(ratio, 1e-12))
            gradient = jax.tree.map(lambda a, b: a + shortened * b, gradient, term)
        updates, optimizer = self._adam.update(gradient, state.optimizer, state.model)
        model = optax.apply_updates(state.model, updates)
        model = model.update_statistics(flat_steps(batch.pair)[0])
        metrics |= {
            "implicit_ratio": ratio,
            "implicit_cosine": cosine,
            "hypergradient_norm": optax.tree.norm(gradient),
        }
        after = RewardState(model, optimizer, state.updates + 1, state.mean, state.scale)
        return after, metrics

    def fit(
        self,
        state: RewardState,
        queue: PairQueue,
        updates: int | Int[Array, ""],
        view: FollowerView,
        key: Key[Array, ""],
    ) -> tuple[RewardState, dict[str, Array]]:
        """Some updates on batches from a queue; the metrics are their means."""

        def body(number, carry):
            state, sums = carry
            sample_key, update_key = jax.random.split(jax.random.fold_in(key, number))
            batch = queue.sample(sample_key, self.batch_size)
            state, metrics = self.update(state, batch, view, update_key)
            return state, jax.tree.map(jnp.add, sums, metrics)

        nothing = {name: jnp.zeros(()) for name in METRICS}
        state, sums = jax.lax.fori_loop(0, updates, body, (state, nothing))
        # With no updates there is nothing to tell: 0/0.
        return state, {name: total / updates for name, total in sums.items()}

    def normalize(self, state: RewardState, transitions: Transitions) -> RewardState:
        """The state with the mean and scale that suit some steps; there must be a `deviation`."""
        assert self.deviation is not None
        seen = state.normalized.renewed(
            self.deviation, transitions.observation, transitions.action, transitions.weight
        )
        return eqx.tree_at(lambda s: (s.mean, s.scale), state, (seen.mean, seen.scale))

    @property
    def _adam(self) -> optax.GradientTransformation:
        return optax.adamw(self.learning_rate, weight_decay=self.weight_decay)
