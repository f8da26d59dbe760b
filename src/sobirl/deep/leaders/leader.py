"""What a round of learning knows of a leader: two terms of a hyper-gradient, estimated together."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, Key, PyTree

from sobirl.deep.follower import FollowerView
from sobirl.deep.trajectories import Trajectories
from sobirl.experience import Fragment


@runtime_checkable
class Leader(Protocol):
    """An objective f(x, π) of the reward's parameters and of the policy that answers to them.

    A leader is a record of settings; what it knows beside the fragments (the reward, answers,
    critics of its own) is in its state, a pytree that only the leader looks into.
    """

    def terms(
        self,
        state: PyTree,
        view: FollowerView,
        fragments: Fragment | Trajectories,
        key: Key[Array, ""],
    ) -> tuple[PyTree, PyTree, dict[str, Float[Array, ""]]]:
        """The explicit term ∂f/∂x and the implicit one, each like x; their sum estimates ∇φ.

        Args:
            state: x, and what else the leader knows.
            view: the follower, whose present policy made ...
            fragments: ... N independent streams of M consecutive fragments each, with leading axes
                (N,M); or N whole trajectories, for a leader that follows them from the beginning.
            key: for all that is random.

        Returns:
            the two terms, and numbers that tell how good the estimate is.
        """
