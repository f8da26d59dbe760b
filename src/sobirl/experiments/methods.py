"""The methods that a run may choose from, by name, with a budget of environment steps."""

from sobirl.bilevel import BilevelProblem
from sobirl.core.protocols import Method
from sobirl.hypergrad import (
    AMD,
    BCHG,
    HPGD,
    PBRL,
    AdvantageTrace,
    Exact,
    Naive,
    PlugIn,
    SoBiRL,
    ZeroOrder,
)
from sobirl.solvers import PolicyIteration

_EPISODE = 200  # steps after which a single episode is cut off


def make_method(name: str, steps: int) -> Method:
    """A method with at most so many environment steps an estimate and context.

    Methods whose environments go on from batch to batch get many short ones, which is faster; those
    that begin anew get few long ones.
    """
    length = min(steps, 25 if steps < 500 else 50)
    streams = steps // length, length
    episode = max(1, min(_EPISODE, steps // 2))
    episodes = steps // episode
    few = max(1, steps // 1000)
    return {
        # Six digits of the follower's policy are plenty for a step of the leader.
        "exact": lambda: Exact(PolicyIteration(rtol=1e-8, policy_tolerance=1e-6), rtol=1e-8),
        "plug-in": lambda: PlugIn(*streams),
        "advantage-trace": lambda: AdvantageTrace(*streams),
        "sobirl": lambda: SoBiRL(episodes, tails="fitted", baseline=episodes > 1),
        "hpgd": lambda: HPGD(few, steps // few),
        "bc-hg": lambda: BCHG(few, steps // few),
        "naive": lambda: Naive(*streams),
        "zero-order": lambda: ZeroOrder(0.5, num_envs=max(1, episodes // 2), num_steps=episode),
        "amd": lambda: AMD(100),
        "pbrl": lambda: PBRL(penalty=100.0, policy_steps=2),
    }[name]()


def problem_for(name: str, problem: BilevelProblem, steps: int) -> BilevelProblem:
    """The problem as a method wants it: SoBiRL takes a return as a loss of trajectories."""
    if name != "sobirl":
        return problem
    loss = problem.objective.as_trajectory_loss(max(1, min(_EPISODE, steps // 2)))
    return BilevelProblem(problem.follower, loss, problem.contexts, problem.weights)
