"""What of an experiment `sobirl bench` compares: declared beside its options."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Published:
    """A figure of the literature.

    Attributes:
        method: its name there.
        value: of the measure.
        source: where it stands.
    """

    method: str
    value: float
    source: str


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A task of `sobirl bench`: runs that differ in method and seed, and how they are compared.

    Attributes:
        measure: the entry of a summary's `metrics` that is compared.
        first: the entry that has the same before anything is learned, a score of 0.
        label: what the measure is, for people.
        options: option -> value, of every run; they decide how long the default takes.
        full: option -> value with `--full`, beside those: the published budget.
        larger_is_better: whether the leader wants much of the measure.
        published: gives the figures of the literature; what they stand in may import JAX.
        name: of the task, where an experiment has several; the experiment's by default.
        steps: the option that has the environment steps of a whole run, which `metrics.csv` then
            counts from its beginning; None where `environment_steps` has those of an outer step.
        quick: whether it belongs to what is run where no task is named.
    """

    measure: str
    first: str
    label: str
    options: Mapping[str, Any]
    full: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    larger_is_better: bool = True
    published: Callable[[], Sequence[Published]] = tuple
    name: str | None = None
    steps: str | None = None
    quick: bool = True
