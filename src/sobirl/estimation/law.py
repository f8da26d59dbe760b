"""Transition laws whose probabilities are parameters, and what was seen of them."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sobirl.mdp import Product, TransitionOperator


class Component(eqx.Module):
    """The law of one part of the state.

    Attributes:
        template: its successors (M,A_i,K), or a law that is given as it is.
        rows: the row of ψ of every type, state and action of its own (C,M,A_i); None if given.
        psi: the probabilities (R,K); None if given.
        given: the laws of all types, their arrays stacked (C,...), where each has its own that is
            given.
    """

    template: TransitionOperator
    rows: Int[Array | np.ndarray, "C M A"] | None = None
    psi: Float[Array | np.ndarray, "R K"] | None = None
    given: TransitionOperator | None = None

    def law(self, kind: Int[Array, ""] | int) -> TransitionOperator:
        """The law of a type."""
        if self.given is not None:
            return jax.tree.map(lambda leaf: leaf[kind], self.given)
        if self.rows is None or self.psi is None:
            return self.template
        return self.template.reweighted(self.psi[jnp.asarray(self.rows)[kind]])


class Law(eqx.Module):
    """P(s'|s,a) of every type, from components that move independently given the action."""

    components: tuple[Component, ...]
    actions: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __call__(self, kind: Int[Array, ""] | int) -> TransitionOperator:
        """The law of a type."""
        laws = [component.law(kind) for component in self.components]
        return laws[0] if self.is_plain else Product(laws, np.array(self.actions))

    @property
    def is_plain(self) -> bool:
        """Whether it has one component, whose actions are those of the problem."""
        own = tuple((a,) for a in range(len(self.actions)))
        return len(self.components) == 1 and self.actions == own

    @property
    def psi(self) -> tuple[Float[Array | np.ndarray, "..."] | None, ...]:
        """The probabilities of all components."""
        return tuple(component.psi for component in self.components)

    def with_psi(self, psi: Sequence[Float[Array | np.ndarray, "..."] | None]) -> "Law":
        """The same law with other probabilities."""
        return Law(
            tuple(
                dataclasses.replace(component, psi=own)
                for component, own in zip(self.components, psi, strict=True)
            ),
            self.actions,
        )


@dataclasses.dataclass(frozen=True)
class Seen:
    """The transitions of a component that were seen and are modelled: n of them.

    Attributes:
        observation: the row of the panel that each belongs to (n,), for scores and units.
        row: the row of ψ that it was drawn from (n,).
        place: which of its entries it was (n,).
        prior: pseudo-observations (R,K).
    """

    observation: Int[np.ndarray, "n"]
    row: Int[np.ndarray, "n"]
    place: Int[np.ndarray, "n"]
    prior: Float[np.ndarray, "R K"]

    def frequencies(self, weights: Float[np.ndarray, "N"] | None = None) -> np.ndarray:
        """ψ (R,K), with weights of the panel's rows (of units that are drawn again, say)."""
        counts = self.prior.copy()
        chances = np.ones(len(self.row)) if weights is None else weights[self.observation]
        np.add.at(counts, (self.row, self.place), chances)
        totals = counts.sum(axis=1, keepdims=True)
        # A row of which nothing is seen in this sample keeps to what all samples know: nothing.
        return np.where(totals > 0, counts / np.where(totals > 0, totals, 1), 1 / counts.shape[1])

    @property
    def totals(self) -> Float[np.ndarray, "R"]:
        """Observations and pseudo-observations of each row."""
        return (self.counts + self.prior).sum(axis=1)

    @property
    def counts(self) -> Float[np.ndarray, "R K"]:
        """How often each probability was drawn."""
        counts = np.zeros_like(self.prior)
        np.add.at(counts, (self.row, self.place), 1.0)
        return counts
