"""People as teachers: what they are shown, and what they have said by now."""

import functools
import io
import sys
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from PIL import Image

from sobirl.bilevel.interrupts import pause
from sobirl.deep.envs import EnvSpec
from sobirl.deep.envs.descriptions import description
from sobirl.deep.envs.views import view_of
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment, flat_steps
from sobirl.prefs import PreferenceStore, Showing
from sobirl.runs.engine import shown

_LARGEST = 320  # pixels of a picture's width
_SHEET = 16_383  # pixels that a WebP may have in either direction
_LOOP = 2.0  # seconds that clips take at least
_MARKS = 3  # steps of a clip that are marked
_POLL = 0.2  # seconds


class People:
    """The labellers of a run.

    Args:
        store: of pairs and labels, in the directory of the run.
        spec: of the environments.
        wait_for: pairs that have to be labelled before a round goes on, or as many as were asked
            about.
        reliability: whether it counts how often a labeller errs.
        told: is given a line of text where the run waits.
    """

    def __init__(
        self,
        store: PreferenceStore,
        spec: EnvSpec,
        wait_for: int = 0,
        reliability: bool = True,
        told: Callable[[str], None] = lambda line: None,
    ):
        self.store, self.spec, self.wait_for = store, spec, wait_for
        self.reliability, self.told = reliability, told

    def questions(self, round: int, model: RewardModel) -> "RoundQuestions":
        """What a round asks, and is told; it takes the place of `Questions`.

        Args:
            round: its number in the run.
            model: whose members disagree, or not.
        """
        return RoundQuestions(self, round, model)

    @functools.cached_property
    def _view(self):
        return view_of(self.spec)

    def showing(self, pair: Fragment, model: RewardModel) -> Showing:
        """What people see of a pair (2,): a sheet of all pictures of both clips, one by one.

        `about` has the size of a picture, the pictures in a row of the sheet and in each clip, how
        many to show in a second, the steps of each clip of which the members of the reward
        are least sure, and what happens in each in words.
        """
        lengths = pair.mask.sum(axis=1).tolist()
        first = pair.observation.shape[1] - pair.mask.shape[1]  # before it: for stacked frames
        seen = np.asarray(pair.observation)[:, first:]
        frames = [seen[row, :n] for row, n in enumerate(lengths)]
        clips = self._view.draw(frames)
        sheet, about = _sheet([picture for clip in clips for picture in clip])
        spread = np.asarray(_spread(model, jax.tree.map(lambda leaf: leaf[None], pair)))
        about |= {
            "frames": lengths,
            "rate": round(min(self._view.frames_per_second, max(lengths) / _LOOP), 2),
            "marks": [_marks(row[:n]) for row, n in zip(spread, lengths, strict=True)],
            "words": [description(clip, self.spec) for clip in frames],
        }
        return Showing(sheet, about)

    def wait(self) -> None:
        """Until as many pairs are labelled as is asked for.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        wanted, is_told = min(self.wait_for, len(self.store)), False
        while (missing := wanted - len(self.store.labels())) > 0:
            if not is_told:
                run = shown(self.store.path.parent)
                self.told(f"waiting for {missing} labels: sobirl label {run}")
                is_told = True
            pause(_POLL)


class RoundQuestions:
    """See `People.questions`."""

    def __init__(self, people: People, round: int, model: RewardModel):
        self._people, self._round, self._model = people, round, model

    def ask(self, pairs: Fragment) -> None:
        """Ask about M pairs, with leading axes (M,2), the first the most worth it."""
        arrays = jax.tree.map(np.asarray, pairs)
        rows = [jax.tree.map(lambda leaf, n=n: leaf[n], arrays) for n in range(len(pairs.mask))]
        showings = [self._people.showing(row, self._model) for row in rows]
        self._people.store.ask(rows, self._round, showings)

    def answers(self) -> tuple[Fragment, np.ndarray] | None:
        """The pairs (M,2) that no earlier round has learned from and their labels (M,), if any."""
        people = self._people
        people.wait()
        fresh = people.store.take(self._round, people.reliability)
        if not fresh:
            return None
        return people.store.pairs(list(fresh)), np.array(list(fresh.values()), np.float32)


def say(line: str) -> None:
    """Tell whoever sits at the terminal."""
    print(f"sobirl: {line}", file=sys.stderr, flush=True)


def _sheet(pictures: list[np.ndarray]) -> tuple[bytes, dict[str, Any]]:
    """All pictures in one file, row by row."""
    height, width = pictures[0].shape[:2]
    is_drawn = width <= _LARGEST  # few colors and sharp edges, of which nothing should be lost
    if not is_drawn:
        height, width = round(height * _LARGEST / width), _LARGEST
    columns = min(len(pictures), _SHEET // width)
    sheet = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        small = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(small, (column * width, row * height))
    file = io.BytesIO()
    sheet.save(file, "WEBP", lossless=is_drawn, quality=90, method=1)
    return file.getvalue(), {"width": width, "height": height, "columns": columns}


@eqx.filter_jit
def _spread(model: RewardModel, pairs: Fragment):
    """The standard deviation of what the members say of every step (2,L)."""
    return model.members(*flat_steps(pairs)).std(axis=0).reshape(pairs.mask.shape[1:])


def _marks(spread: np.ndarray) -> list[int]:
    """The steps of the greatest spread; none if there is nothing to tell them by."""
    order = np.argsort(-spread, kind="stable")[:_MARKS]
    return sorted(int(step) for step in order if spread[step] > 0)
