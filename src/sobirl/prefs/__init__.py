"""Preferences: teachers who compare fragments of experience, and what they said.

Everything here is arrays: environments and networks are in `sobirl.deep`. A pair to compare is a
`sobirl.experience.Fragment` with leading axes (2,), M pairs have (M,2), and a label is the
probability that the first one is preferred.
"""

from sobirl.prefs.answers import Answers
from sobirl.prefs.bradley_terry import (
    fragment_return,
    preference_entropy,
    preference_logit,
    preference_loss,
    preference_probability,
    win_probability,
)
from sobirl.prefs.calibration import calibration_error
from sobirl.prefs.desk import Desk, Question, StaleError
from sobirl.prefs.label_file import (
    LabelledPair,
    labelled_pairs,
    labels_into_store,
    labels_of_store,
    read_labels,
    write_labels,
)
from sobirl.prefs.questions import Dialogue, Questions
from sobirl.prefs.queue import Labelled, PairQueue
from sobirl.prefs.schedules import SCHEDULES, constant, hyperbolic, pairs_per_round
from sobirl.prefs.selection import (
    SELECTIONS,
    decisiveness,
    disagreement,
    entropy,
    information,
    select_pairs,
    uniform,
)
from sobirl.prefs.store import PreferenceStore, Showing, is_store
from sobirl.prefs.teachers import Oracle, OracleTeacher, StoredTeacher, Teacher

__all__ = [
    "SCHEDULES",
    "SELECTIONS",
    "Answers",
    "Desk",
    "Dialogue",
    "Labelled",
    "LabelledPair",
    "Oracle",
    "OracleTeacher",
    "PairQueue",
    "PreferenceStore",
    "Question",
    "Questions",
    "Showing",
    "StaleError",
    "StoredTeacher",
    "Teacher",
    "calibration_error",
    "constant",
    "decisiveness",
    "disagreement",
    "entropy",
    "fragment_return",
    "hyperbolic",
    "information",
    "is_store",
    "labelled_pairs",
    "labels_into_store",
    "labels_of_store",
    "pairs_per_round",
    "preference_entropy",
    "preference_logit",
    "preference_loss",
    "preference_probability",
    "read_labels",
    "select_pairs",
    "uniform",
    "win_probability",
    "write_labels",
]
