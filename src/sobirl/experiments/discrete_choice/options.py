"""Options of `sobirl run discrete-choice`."""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sobirl.core.errors import InvalidInputError
from sobirl.runs.curves import Curve
from sobirl.runs.options import Choices, Positive, RunOptions, Whole, require

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.estimation.model import Data, DiscreteChoice
    from sobirl.runs.outcome import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscreteChoiceRun(RunOptions):
    """Dynamic discrete choice: what agents want, estimated from a panel of what they choose.

    sobirl run discrete-choice --data PANEL.csv --spec MODEL.toml

    Without --data and --spec: Rust's (1987) bus engines, group 4.
    """

    problem = "discrete-choice"
    curves = (
        Curve("objective", label="-log L"),
        Curve("hypergradient_norm", label="norm of the gradient", log=True),
    )
    values = ("parameters", "estimates", "standard_errors", "log_likelihood")

    data: Path | None = None
    """CSV file with a row for each unit and period."""
    spec: Path | None = None
    """TOML file with the model: states, actions, features, transitions; see the page
    of the command."""
    estimator: Annotated[str, Choices(lambda: ["mle", "ccp", "npl"])] = "mle"
    """Maximum likelihood, two-step conditional choice probabilities, or nested
    pseudo-likelihood."""
    cov_type: Annotated[str, Choices(lambda: ["hessian", "opg", "sandwich", "cluster"])] = "hessian"
    """What standard errors come from; cluster is by unit."""
    first_stage: Annotated[str, Choices(lambda: ["murphy-topel", "fixed", "joint"])] = (
        "murphy-topel"
    )
    """How the error of estimated transitions counts."""
    bootstrap: Whole = 0
    """Replications of a bootstrap over units; 0 for none."""
    tolerance: Positive = 1e-6
    """`converged` means that the norm of the gradient of -log L fell below this."""

    def validate(self) -> None:
        """Check the options, the model, and every row of the data."""
        super().validate()
        alone = (self.data is None) != (self.spec is None)
        name = "--data" if self.spec is None else "--spec"
        require(name, getattr(self, name[2:]), not alone, "goes with the other of --data, --spec")
        if self.bootstrap == 1:
            raise InvalidInputError("--bootstrap: must be 0 or at least 2, got 1")
        _ = self.read

    @functools.cached_property
    def model(self) -> "tuple[DiscreteChoice, dict[str, Any], dict[str, Any]]":
        """The model, and arguments for reading and fitting."""
        from sobirl.estimation.spec import read_spec
        from sobirl.problems.rust_data import shipped

        if self.spec is not None:
            return read_spec(self.spec)
        with shipped("rust1987.toml") as path:
            return read_spec(path)

    @functools.cached_property
    def read(self) -> "Data":
        """The panel."""
        from sobirl.problems.rust_data import shipped

        model, columns, _ = self.model
        if self.data is not None:
            return model.read(self.data, **columns)
        with shipped("rust1987_group4.csv") as path:
            return model.read(path, **columns)

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Estimate; it takes seconds, so that there is nothing to record."""
        from sobirl.experiments.discrete_choice.run import run

        return run(self)
