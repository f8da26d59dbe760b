"""SoBiRL: the hyper-gradient of a loss of trajectories, model-free."""

from jaxtyping import Array, Float, Int

from sobirl.hypergrad.score_method import ScoreMethod
from sobirl.hypergrad.warm_start import WarmStart
from sobirl.mdp import SoftMDP
from sobirl.solvers import Auto, Solver


class SoBiRL(ScoreMethod):
    """Model-free soft bilevel RL, for objectives f = E[l(d_1, ..., d_I; x)], see `TrajectoryLoss`.

    ∇φ = E[∇_x l] + 1/τ E[(l - b) Σ_i Σ_h (∇Q*(s_h^i,a_h^i) - ∇V*(s_h^i))]

    with a baseline b, which costs nothing because the score has mean zero. ∇Q* and ∇V* are
    discounted sums of ∇r over visits that follow (s,a) and s. They are taken from walks that are
    independent of d, because l(d) correlates with the rest of d.

    Args:
        num_tuples: B, the tuples sampled for an estimate, one batch a context.
        horizon: how many steps after s_h the walks have. 0 keeps ∇r(s,a) - Σ_a' π(a'|s) ∇r(s,a')
            alone, as the authors' deep code does; n adds n steps of either walk; "full" leaves
            nothing out.
        tails: where the visits after s_h come from: "rollouts" walks anew from every step of every
            d; "fitted" reckons with the transitions of earlier outer steps.
        baseline: subtract from each l the mean of the others.
        expectations: "sampled", or "exact" for all sums over all trajectories with the model, for
            comparison on tiny problems.
        solver: solves the follower.

    Metrics: `objective` (the mean loss), `environment_steps`, `status`.

    Bias: none with "rollouts" and "full"; horizon n leaves out a part of order γ^{n+1};
    "fitted" is consistent.

    Raises:
        InvalidInputError: a wrong option; x enters more of the follower than its reward; the
            objective is no `TrajectoryLoss`.

    Source: Yang, Gao, Yuan (2025), algorithm 2 and proposition 4.
    """

    solver: Solver = Auto(rtol=1e-8, policy_tolerance=1e-6)

    def start_follower(self, mdp: SoftMDP) -> WarmStart:
        """What `follow` starts from at the first step."""
        return WarmStart.cold(mdp, self.solver)

    def follow(
        self, mdp: SoftMDP, follower: WarmStart
    ) -> tuple[Float[Array, "S A"], WarmStart, Int[Array, ""]]:
        """The follower's policy, what the next step starts from, and a status."""
        solution, follower = follower.solve(mdp, self.solver)
        return solution.policy, follower, solution.status_code
