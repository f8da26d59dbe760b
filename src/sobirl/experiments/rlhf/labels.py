"""Labels from a file for a run, and those of a run for a file."""

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs import Discrete, EnvSpec
from sobirl.experience import Fragment
from sobirl.prefs import Answers, LabelledPair, labelled_pairs, read_labels
from sobirl.prefs.answers import is_held_out
from sobirl.prefs.label_file import filled

if TYPE_CHECKING:
    from pathlib import Path

    from sobirl.experiments.rlhf.settings import Resolved


def answered(path: "Path") -> list[LabelledPair]:
    """The pairs of a file that were not skipped.

    Raises:
        InvalidInputError: see `read_labels`; or all were skipped.
    """
    pairs = [pair for pair in read_labels(path) if pair.label is not None]
    if not pairs:
        raise InvalidInputError(f"{path}: has no labels, all of its pairs were skipped")
    return pairs


def given(
    pairs: list[LabelledPair], chosen: "Resolved", spec: EnvSpec
) -> tuple[Fragment, np.ndarray]:
    """Pairs (M,2) and labels (M,) as a run has them.

    Args:
        pairs: of a file.
        chosen: the settings of the run.
        spec: of its environments.

    Raises:
        InvalidInputError: with the line: they are of another environment, or of other spaces;
            their fragments are too long; or something is missing that an option needs.
    """
    fitted = []
    for labelled in pairs:
        try:
            fitted.append(_fitted(labelled, chosen, spec))
        except InvalidInputError as error:
            raise InvalidInputError(f"{labelled.place}: {error}") from None
    labels = np.array([labelled.label for labelled in pairs], np.float32)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *fitted), labels


def _fitted(labelled: LabelledPair, chosen: "Resolved", spec: EnvSpec) -> Fragment:
    pair, length = labelled.pair, labelled.pair.mask.shape[1]
    if labelled.environment != chosen.env:
        raise InvalidInputError(f"is of {labelled.environment}, the run of {chosen.env}")
    if length > chosen.fragment_length:
        raise InvalidInputError(
            f"has fragments of {length} steps, --fragment-length is {chosen.fragment_length}"
        )
    frames, shape = pair.observation.shape[1], pair.observation.shape[2:]
    if shape != spec.observation_shape:
        raise InvalidInputError(
            f"observation: expected the shape {spec.observation_shape}, got {shape}"
        )
    if frames != length + spec.frame_stack - 1:
        raise InvalidInputError(
            f"observation: expected {length + spec.frame_stack - 1} frames for {length} steps, of "
            f"which the network sees {spec.frame_stack} at a time, got {frames}"
        )
    if spec.observation_dtype == np.uint8 and pair.observation.dtype != np.uint8:
        raise InvalidInputError("observation: must be whole numbers from 0 to 255")
    _check_actions(np.asarray(pair.action), spec)
    if (
        chosen.method == "sobirl"
        and chosen.implicit_data == "queue"
        and chosen.off_policy == "importance"
        and not np.isfinite(pair.log_prob).all()
    ):
        raise InvalidInputError("log_prob: is missing, which --off-policy importance needs")
    whole = filled(pair, chosen.fragment_length)
    return dataclasses.replace(
        whole,
        observation=whole.observation.astype(spec.observation_dtype),
        action=whole.action.astype(spec.actions.dtype),
    )


def _check_actions(action: np.ndarray, spec: EnvSpec) -> None:
    shape = action.shape[2:]
    if shape != spec.actions.shape:
        raise InvalidInputError(f"action: expected the shape {spec.actions.shape}, got {shape}")
    if isinstance(spec.actions, Discrete):
        if action.dtype.kind != "i" or action.min() < 0 or action.max() >= spec.actions.num:
            raise InvalidInputError(
                f"action: must be whole numbers from 0 to {spec.actions.num - 1}"
            )
    elif np.abs(action).max() > 1:
        raise InvalidInputError(
            "action: must be from -1 to 1, which stand for the environment's least and greatest "
            f"action, got {action[np.abs(action) > 1][0]}"
        )


def labels_in(answers: Answers, environment: str, own: list[LabelledPair]) -> list[LabelledPair]:
    """The labelled pairs that a run has, the oldest first, those of its own file as they are there.

    Args:
        answers: of the run.
        environment: of the run.
        own: answered pairs of its file, if it has one.
    """
    found: dict[int, LabelledPair] = {}
    numbers = np.arange(answers.added)
    aside = is_held_out(numbers, answers.share)
    for queue, of_queue in ((answers.queue, numbers[~aside]), (answers.held_out, numbers[aside])):
        if queue is None:
            continue
        queue = jax.tree.map(jnp.array, queue)  # a checkpoint's arrays are NumPy's
        kept = queue.at(np.arange(int(queue.size))[::-1])
        pairs = labelled_pairs(kept.pair, np.asarray(kept.label), environment)
        found |= {
            int(of_queue[n]): pair for n, pair in zip(np.asarray(kept.number), pairs, strict=True)
        }
    return [own[n] if n < len(own) else found[n] for n in sorted(found)]
