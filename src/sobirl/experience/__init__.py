"""Experience: steps, the frames that are seen together, fragments of it, and replay.

Everything here is arrays, which the deep followers make and the teachers of `sobirl.prefs` compare.
`sobirl.experience.replay` needs flashbax, and so the extra `envs`; all else needs nothing.
"""

from sobirl.experience.fragments import (
    Fragment,
    consecutive_fragments,
    cropped,
    flat_steps,
    sample_fragments,
)
from sobirl.experience.frames import first_frames, next_frames, seen, stack_frames
from sobirl.experience.steps import Steps

__all__ = [
    "Fragment",
    "Steps",
    "consecutive_fragments",
    "cropped",
    "first_frames",
    "flat_steps",
    "next_frames",
    "sample_fragments",
    "seen",
    "stack_frames",
]
