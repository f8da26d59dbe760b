"""Followers by name: the one list, from which options, tests and documentation derive.

A class that stands here takes `shape` and the settings of `SoftFollower` as arguments, and the size
of its actions: `num_actions` if they are discrete, `action_size` if they are continuous. It is
loaded when it is asked for.
"""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from sobirl.core.errors import InvalidInputError

if TYPE_CHECKING:
    from sobirl.deep.envs import EnvSpec
    from sobirl.deep.follower import Follower


class Entry(NamedTuple):
    """A follower.

    Attributes:
        summary: what it is, in one line.
        discrete: where its class for discrete actions is, `module:name`; None if there is none.
        continuous: where that for continuous ones is.
    """

    summary: str
    discrete: str | None = None
    continuous: str | None = None

    def load(self, kind: str) -> "Callable[..., Follower] | None":
        """The class for "discrete" or "continuous" actions, if there is one."""
        where = getattr(self, kind)
        if where is None:
            return None
        module, _, name = where.partition(":")
        return getattr(importlib.import_module(module), name)


FOLLOWERS = {
    "sac": Entry(
        "soft actor-critic (Haarnoja et al. 2018)",
        discrete="sobirl.deep.discrete_sac:DiscreteSAC",
        continuous="sobirl.deep.continuous_sac:ContinuousSAC",
    ),
    "soft-q": Entry(
        "soft Q-learning (Haarnoja et al. 2017), whose policy is softmax(Q/τ); discrete actions",
        discrete="sobirl.deep.soft_q:SoftQLearning",
    ),
}


def make_follower(name: str, spec: "EnvSpec", **settings: Any) -> "Follower":
    """A follower for the observations and actions of an environment.

    Args:
        name: in `FOLLOWERS`.
        spec: of the environment.
        settings: those of `SoftFollower`, but the shape.

    Raises:
        InvalidInputError: there is no such follower, or none for such actions.
    """
    if name not in FOLLOWERS:
        raise InvalidInputError(
            f"follower: there is no {name!r}; choose from {', '.join(FOLLOWERS)}"
        )
    kind = spec.actions.kind
    follower = FOLLOWERS[name].load(kind)
    if follower is None:
        fit = [other for other, entry in FOLLOWERS.items() if getattr(entry, kind)]
        raise InvalidInputError(
            f"follower: {name} cannot take the {kind} actions of {spec.name}; choose from "
            f"{', '.join(fit)}"
        )
    return follower(spec.stacked_shape, **settings, **spec.actions.size)
