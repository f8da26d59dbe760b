"""Options of `sobirl run maze`."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Lt

from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.options import Choices, Count, Discount, Positive, StepwiseOptions

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.problems.maze import Maze
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun

Share = Annotated[float, Ge(0), Lt(1)]

# A maze with more cells on a side is large: its steps take long, and by default few are made.
_SMALL = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class MazeRun(StepwiseOptions):
    """Maze: tolls that lead walkers around a quiet quarter, on a grid of any size.

    About 750,000 states: sobirl run maze --size 1000
    """

    problem = "maze"
    values = ("share_without_tolls", "share_with_even_tolls", "share")
    benchmarks = (
        Benchmark(
            measure="share",
            first="share_without_tolls",
            label="the share of walkers in the quiet quarter",
            options={"num_steps": 60},
            full={"num_steps": 500},
            larger_is_better=False,
            quick=False,
        ),
    )

    size: Annotated[int, Ge(4), Lt(2**15)] = 20
    """Cells on a side; 1000 is a big one."""
    walls: Share = 0.25
    """The share of cells that are walls; above 0.4 hardly a maze has a way across."""
    budget: Positive = 20.0
    """What the tolls of all blocks may sum to, in units of a step's own cost."""
    blocks: Count = 20
    """Blocks on a side; each has a toll, paid by every step within it."""
    slip: Share = 0.2
    """Probability that a step goes to the side."""
    temperature: Positive = 0.2
    """The walkers' entropy weight, in units of a step's cost."""
    discount: Discount = 0.9999
    """The walkers' discount."""
    method: Annotated[str, Choices(lambda: methods_for("return"))] = "exact"
    """How to get the hyper-gradient."""
    environment_steps: Count = 10_000
    """Steps that a method which samples takes for each of its estimates."""
    num_steps: Count | None = None
    """Outer steps, from even tolls in the quiet quarter on; by default 100, and 5 if there are more
    than 100 cells on a side."""
    learning_rate: Positive | None = None
    """First step size, in units of a toll; it decays to 0 along a cosine. By default a tenth of the
    budget."""
    tolerance: Positive = 1e-4
    """`converged` means that the norm of the projected hyper-gradient fell below this."""

    def validate(self) -> None:
        """Check the options, and that the maze has a way across."""
        super().validate()
        try:
            _ = self.maze
        except InvalidInputError as error:
            raise InvalidInputError(f"--{error}") from error

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        return {"problem": self.maze.problem()}

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Place the tolls, and compare them with none and with even ones."""
        from sobirl.experiments.maze.run import run

        return run(self, recorder)

    @functools.cached_property
    def maze(self) -> "Maze":
        """The maze."""
        from sobirl.problems.maze import Maze

        return Maze.generate(
            self.size,
            self.walls,
            self.seed,
            self.blocks,
            slip=self.slip,
            discount=self.discount,
            temperature=self.temperature,
        )

    @property
    def steps(self) -> int:
        """Outer steps."""
        return self.num_steps or (100 if self.size <= _SMALL else 5)
