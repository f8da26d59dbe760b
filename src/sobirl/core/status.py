"""How a solve ended, as small integers that pass through `jit`, `vmap` and files."""

from enum import IntEnum


class Status(IntEnum):
    """How a solve ended; larger is worse, so a batch is summarized by its maximum."""

    CONVERGED = 0
    ROUND_OFF = 1
    STEP_LIMIT = 2
    ADJOINT_RESIDUAL = 3
    NOT_FINITE = 4
    INVALID = 5

    @property
    def advice(self) -> str:
        """What happened, and what to do about it."""
        return _ADVICE[self]

    @classmethod
    def from_error(cls, error: Exception) -> "Status | None":
        """The status whose advice is somewhere in the text of an error from compiled code."""
        text = " ".join(str(error).split())
        return next((status for status in cls if status.advice in text), None)


_ADVICE = {
    Status.CONVERGED: "The tolerance was reached.",
    Status.ROUND_OFF: (
        "Rounding leaves the policy known to no better than 10 %. Compute in float64 "
        "(`jax.config.update('jax_enable_x64', True)`), or raise the temperature or lower the "
        "discount."
    ),
    Status.STEP_LIMIT: (
        "The solver reached its step limit before its tolerance. Raise `max_steps`, loosen `rtol` "
        "and `policy_tolerance`, or use `PolicyIteration()`, which needs few steps when the "
        "discount is close to 1 or the temperature is small; of a large system, with another "
        "`linear_solver`, if its factors did not fit into memory."
    ),
    Status.ADJOINT_RESIDUAL: (
        "The adjoint system (I - γP_π)ᵀ w = b was not solved to the asked tolerance: it is "
        "nearly singular, or too slow for its linear solver. Loosen the adjoint's `rtol`, compute "
        "in float64 (`jax.config.update('jax_enable_x64', True)`), or choose another "
        "`linear_solver`."
    ),
    Status.NOT_FINITE: (
        "A value is NaN or infinite. Look for NaN or huge entries in the reward, the transition "
        "probabilities or the leader's parameters (too large a step size is the usual cause)."
    ),
    Status.INVALID: (
        "The soft MDP is none: discounts must lie in [0, 1), the temperature must be positive and "
        "the rows of the transition law must sum to 1. Keep the leader's parameters from pushing "
        "them out of their range, for example with a sigmoid, an exponential or a softmax."
    ),
}
