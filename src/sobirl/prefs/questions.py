"""Questions to a teacher, and the pairs whose answers have not come yet."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from sobirl.experience import Fragment
from sobirl.prefs.teachers import Teacher


@runtime_checkable
class Dialogue(Protocol):
    """What is asked and answered in a round, whoever the teacher is."""

    def ask(self, pairs: Fragment) -> None:
        """Ask about M pairs, with leading axes (M,2)."""

    def answers(self) -> tuple[Fragment, np.ndarray] | None:
        """The pairs (M,2) that were answered since the last call and their labels (M,), if any."""


class Questions:
    """A teacher, and what was asked but is not answered.

    Args:
        teacher: who is asked.
    """

    def __init__(self, teacher: Teacher):
        self.teacher = teacher
        self._open: dict[int, Fragment] = {}

    def ask(self, pairs: Fragment) -> None:
        """Ask about M pairs, with leading axes (M,2)."""
        for row, ticket in enumerate(self.teacher.submit(pairs)):
            self._open[ticket] = jax.tree.map(lambda leaf, row=row: leaf[row], pairs)

    def answers(self) -> tuple[Fragment, np.ndarray] | None:
        """The pairs (M,2) that were answered since the last call and their labels (M,), if any.

        Pairs that the teacher skipped, and answers to what this object did not ask, are left out.
        """
        answers = {t: label for t, label in self.teacher.poll().items() if t in self._open}
        pairs = {ticket: self._open.pop(ticket) for ticket in answers}
        answered = [ticket for ticket, label in answers.items() if label is not None]
        if not answered:
            return None
        stacked = jax.tree.map(_stacked, *(pairs[ticket] for ticket in answered))
        return stacked, np.array([answers[t] for t in answered], np.float32)


def _stacked(*rows):
    """NumPy's arrays stay NumPy's: stacking them compiles nothing."""
    return (jnp if isinstance(rows[0], jax.Array) else np).stack(rows)
