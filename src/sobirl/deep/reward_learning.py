"""Learning a reward from preferences: the loss, and the two terms of its hyper-gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import FollowerView
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.normalized_reward import Normalization, NormalizedReward
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment, cropped, flat_steps
from sobirl.experience.replay import Transitions
from sobirl.prefs import (
    Labelled,
    PairQueue,
    calibration_error,
    fragment_return,
    preference_logit,
    preference_loss,
    preference_probability,
)

METRICS = (
    "preference_loss",
    "preference_accuracy",
    "implicit_ratio",
    "implicit_cosine",
    "hypergradient_norm",
)
_ENOUGH = 16  # held-out pairs by which a fit may be stopped


class RewardState(eqx.Module):
    """The reward and the state of its optimizer.

    Attributes:
        model: r_x.
        optimizer: of AdamW.
        updates: how many were made.
        zero: the r_x that critics see as 0; 0 without normalization ...
        scale: ... and the factor of what is above it, 1 without.
    """

    model: RewardModel
    optimizer: PyTree
    updates: Int[Array, ""]
    zero: Float[Array, ""]
    scale: Float[Array, ""]

    @property
    def normalized(self) -> NormalizedReward:
        """The reward as the critics see it."""
        return NormalizedReward(self.model, self.zero, self.scale)


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
        crop: the share of a fragment's steps that an update may leave out, see `cropped`.
        patience: a fit ends after so many passes in which held-out pairs were not predicted better.
        normalization: of the rewards that critics see; None leaves them as they were fitted.

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
    crop: float = eqx.field(default=0.0, static=True)
    patience: int = 8
    normalization: Normalization | None = None

    def __check_init__(self):
        for name in ("learning_rate", "batch_size", "temperature", "largest_ratio", "patience"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name}: must be positive, got {getattr(self, name)}")
        if not 0 <= self.crop < 1:
            raise InvalidInputError(f"crop: must be at least 0 and below 1, got {self.crop}")

    def init(self, model: RewardModel) -> RewardState:
        """Before the first update."""
        zero, one = jnp.zeros(()), jnp.ones(())
        return RewardState(model, self._adam.init(model), jnp.zeros((), jnp.int32), zero, one)

    def logits(
        self, model: RewardModel, pairs: Fragment, key: Key[Array, ""] | None = None
    ) -> Float[Array, "K B"]:
        """The log-odds that the first of two fragments is preferred, for every member."""
        return self._trained(model, pairs, key)[0]

    def _trained(self, model, pairs, key):
        """The logits, and the model whose statistics have moved to those of the pairs' steps."""
        reward, model = model.trained(*flat_steps(pairs), key)
        reward = reward.reshape(-1, *pairs.mask.shape)
        mask = jnp.broadcast_to(pairs.mask, reward.shape)
        returns = fragment_return(reward, mask, self.discount)
        return preference_logit(returns[..., 0], returns[..., 1], self.temperature), model

    def terms(
        self,
        model: RewardModel,
        batch: Labelled,
        view: FollowerView,
        key: Key[Array, ""],
    ) -> tuple[RewardModel, RewardModel | None, RewardModel, dict[str, Array]]:
        """The explicit and the implicit term of the hyper-gradient on a batch of labelled pairs.

        Args:
            model: the reward so far.
            batch: B pairs; those whose number is -1 do not count.
            view: the follower whose policy the pairs depend on.
            key: for dropout, sampled actions and rollouts.

        Returns:
            the gradient of the loss; the implicit term, None without one; the model whose
            statistics have moved to those of the batch; and metrics: the `preference_loss`, and the
            `preference_accuracy` over pairs that are no ties.
        """
        dropout_key, implicit_key, crop_key = jax.random.split(key, 3)
        pairs, label = batch.pair, batch.label
        length = pairs.mask.shape[-1]
        windows = cropped(pairs, crop_key, length - int(self.crop * length))
        weight = (batch.number >= 0).astype(label.dtype)
        count = jnp.maximum(jnp.sum(weight), 1)

        def loss_of(model):
            logits, trained = self._trained(model, windows, dropout_key)
            losses = jax.vmap(lambda logit: preference_loss(logit, label, self.noise))(logits)
            losses = jnp.mean(losses, axis=0)
            return jnp.sum(weight * losses) / count, (losses, logits, trained)

        found, explicit = jax.value_and_grad(loss_of, has_aux=True)(model)
        loss, (losses, logits, trained) = found
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
        return explicit, term, trained, metrics

    def update(
        self,
        state: RewardState,
        batch: Labelled,
        view: FollowerView,
        key: Key[Array, ""],
        implicit: RewardModel | None = None,
    ) -> tuple[RewardState, dict[str, Array]]:
        """One step on a batch of labelled pairs.

        Args:
            state: the reward so far.
            batch: as of `terms`, and so are ...
            view: ... this and ...
            key: ... this.
            implicit: the implicit term, if it is known from elsewhere.

        Returns:
            the next state, and metrics: those of `terms`, the `implicit_ratio`, the norm of the
            implicit term over that of the explicit one, the `implicit_cosine` between the two, and
            the `hypergradient_norm` of both together.
        """
        gradient, term, trained, metrics = self.terms(state.model, batch, view, key)
        term = implicit if term is None else term
        ratio = cosine = jnp.zeros(())
        if term is not None:
            length = jnp.maximum(optax.tree.norm(gradient), 1e-12)
            ratio = optax.tree.norm(term) / length
            aligned = optax.tree.vdot(gradient, term) / length
            cosine = aligned / jnp.maximum(optax.tree.norm(term), 1e-12)
            shortened = jnp.minimum(1, self.largest_ratio / jnp.maximum(ratio, 1e-12))
            gradient = jax.tree.map(lambda a, b: a + shortened * b, gradient, term)
        updates, optimizer = self._adam.update(gradient, state.optimizer, trained)
        model = optax.apply_updates(trained, updates)
        metrics |= {
            "implicit_ratio": ratio,
            "implicit_cosine": cosine,
            "hypergradient_norm": optax.tree.norm(gradient),
        }
        after = RewardState(model, optimizer, state.updates + 1, state.zero, state.scale)
        return after, metrics

    def fit(
        self,
        state: RewardState,
        queue: PairQueue,
        passes: int | Int[Array, ""],
        view: FollowerView,
        key: Key[Array, ""],
        held_out: PairQueue | None = None,
        implicit: RewardModel | None = None,
    ) -> tuple[RewardState, dict[str, Array]]:
        """Some passes over a queue, fewer if pairs that are held out say that these are enough.

        The state that predicts the held-out pairs best is kept, the one before the first pass
        included, once there are 16 such pairs; with fewer all passes are made. An implicit term is
        followed in the last of the passes, which is then made and kept whatever those pairs say:
        they know of the explicit one alone.

        Args:
            state: the reward so far.
            queue: what is learned from.
            passes: the most passes.
            view: as of `terms`.
            key: for the draws, and as of `terms`.
            held_out: pairs from which nothing is learned.
            implicit: the implicit term, the same in all updates; none where it is 0.

        Returns:
            the next state, and metrics: means over the updates, how many `passes` were made, and
            with held-out pairs what `judge` says at the end.
        """
        batches = -(-queue.size // self.batch_size)
        enough = jnp.asarray(False) if held_out is None else held_out.size >= _ENOUGH
        led = 0 if implicit is None else jnp.minimum(optax.tree.norm(implicit) > 0, passes)

        def follow(term, first, last, carry):
            def update(number, carry):
                state, sums = carry
                sample_key, update_key = jax.random.split(jax.random.fold_in(key, number))
                batch = queue.sample(sample_key, self.batch_size)
                state, metrics = self.update(state, batch, view, update_key, term)
                return state, jax.tree.map(jnp.add, sums, metrics)

            return jax.lax.fori_loop(first * batches, last * batches, update, carry)

        def loss_of(state):
            if held_out is None:
                return jnp.zeros(())
            return jax.lax.cond(
                enough,
                lambda: self.judge(state.model, held_out)["held_out_loss"],
                lambda: jnp.full((), jnp.nan),
            )

        def goes_on(carry):
            made, since = carry[0], carry[1]
            return (made < passes - led) & (~enough | (since < self.patience))

        def one_pass(carry):
            made, since, state, sums, best, least = carry
            state, sums = follow(None, made, made + 1, (state, sums))
            loss = loss_of(state)
            better = ~enough | (loss < least)
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state, best)
            least, since = jnp.where(better, loss, least), jnp.where(better, 0, since + 1)
            return made + 1, since, state, sums, best, least

        none = jnp.zeros((), jnp.int32)
        nothing = {name: jnp.zeros(()) for name in METRICS}
        carry = none, none, state, nothing, state, loss_of(state)
        made, _, _, sums, best, _ = jax.lax.while_loop(goes_on, one_pass, carry)
        if implicit is not None:
            best, sums = follow(implicit, made, made + led, (best, sums))
            made += led
        # With no updates there is nothing to tell: 0/0.
        metrics = {name: total / (made * batches) for name, total in sums.items()}
        if implicit is not None:
            # Means over the last pass, for in the others there is no term.
            for name in ("implicit_ratio", "implicit_cosine"):
                metrics[name] *= made / jnp.maximum(led, 1)
        metrics["passes"] = made
        if held_out is not None:
            metrics |= self.judge(best.model, held_out)
        return best, metrics

    def judge(self, model: RewardModel, held_out: PairQueue) -> dict[str, Array]:
        """How well a reward, the mean of its members, predicts pairs that it was not fitted to.

        Returns:
            `held_out_loss`, the cross-entropy; `held_out_accuracy`, over pairs that are no ties;
            and `held_out_calibration`, see `calibration_error`; NaN where there is no such pair.
        """
        size = min(self.batch_size, _ENOUGH)

        def predicted(ages):
            batch = held_out.at(ages)
            there = batch.number >= 0
            logit = jax.lax.cond(
                jnp.any(there),
                lambda: jnp.mean(self.logits(model, batch.pair), axis=0),
                lambda: jnp.zeros(size),
            )
            return logit, batch.label, there.astype(logit.dtype)

        ages = jnp.arange(-(-held_out.capacity // size) * size).reshape(-1, size)
        logit, label, weight = (leaf.ravel() for leaf in jax.lax.map(predicted, ages))
        loss = preference_loss(logit, label, self.noise)
        decided = weight * (label != 0.5)
        right = (logit > 0) == (label > 0.5)
        probability = preference_probability(logit, self.noise)
        some = jnp.where(jnp.sum(weight) > 0, 1, jnp.nan)
        return {
            "held_out_loss": jnp.sum(weight * loss) / jnp.sum(weight),
            "held_out_accuracy": jnp.sum(decided * right) / jnp.sum(decided),
            "held_out_calibration": some * calibration_error(probability, label, weight),
        }

    def normalize(self, state: RewardState, steps: Transitions) -> RewardState:
        """The state with the zero and the scale that suit some steps; needs a `normalization`."""
        assert self.normalization is not None
        reward = state.model(steps.observation, steps.action)
        found = self.normalization.of(reward, steps.weight)
        return eqx.tree_at(lambda s: (s.zero, s.scale), state, found)

    @property
    def _adam(self) -> optax.GradientTransformation:
        return optax.adamw(self.learning_rate, weight_decay=self.weight_decay)
