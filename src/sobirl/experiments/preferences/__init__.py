"""`sobirl run preferences`: a reward from comparisons, the smallest model of it."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from sobirl.experiments.descent import DescentOptions
from sobirl.hypergrad.methods import methods_for
from sobirl.runs.options import Choices, Count

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferencesRun(DescentOptions):
    """Preferences: learn a reward from comparisons of what its own follower does, in a random MDP.

    By default with the paper's model-free method: sobirl run preferences --method sobirl
    """

    problem = "preferences"
    objective_label = "cross-entropy on 20,000 fresh pairs"

    states: Annotated[int, Ge(2)] = 6
    """Number of states S."""
    actions: Count = 3
    """Number of actions A."""
    dimension: Count = 4
    """Number of features n of the learned reward."""
    length: Count = 5
    """Steps of the trajectories that are compared."""
    method: Annotated[str, Choices(lambda: methods_for("loss"))] = "sobirl"
    """How to get the hyper-gradient."""

    def instance(self) -> "tuple[BilevelProblem, Any]":
        """A random instance, and the reward 0."""
        import jax.numpy as jnp

        from sobirl.problems.preferences import Preferences

        sizes = self.states, self.actions, self.dimension
        instance = Preferences.generate(*sizes, horizon=self.length, seed=self.seed)
        return instance.problem(), jnp.zeros(self.dimension)

    def judge(self, problem: "BilevelProblem", x: Any) -> float:
        """The mean loss of pairs that the follower at x makes, always with the same key."""
        import jax
        import jax.numpy as jnp

        from sobirl.solvers import solve

        mdp = problem.lower(x)
        loss: Any = problem.objective  # a `TrajectoryLoss`
        pairs, _ = loss.sample(mdp, solve(mdp).policy, jax.random.key(0), 20_000)
        return float(jnp.mean(loss.losses(x, pairs)))
