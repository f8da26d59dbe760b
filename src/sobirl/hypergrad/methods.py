"""All methods, once: whatever lists, offers or tests methods reads `METHODS`.

Nothing here loads JAX, so that a command line can name the methods without it.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from sobirl.core.errors import InvalidInputError
from sobirl.core.status import Status

if TYPE_CHECKING:
    from sobirl.core.protocols import Method

EntryPoint = Literal[
    "reward", "transition", "discount", "temperature", "initial", "reference policy"
]
EVERYTHING: tuple[EntryPoint, ...] = (
    "reward",
    "transition",
    "discount",
    "temperature",
    "initial",
    "reference policy",
)


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a method asks of a problem.

    Attributes:
        objective: "any" function of x and the response; a "return", that is a `LeaderReturn`; or a
            "loss", that is a `TrajectoryLoss`.
        x_enters: where x may enter the follower's soft MDP.
        samples: whether its estimates are random, from simulated trajectories as a rule; otherwise
            it reads the transition law, and a key makes no difference.
    """

    objective: Literal["any", "return", "loss"] = "any"
    x_enters: tuple[EntryPoint, ...] = EVERYTHING
    samples: bool = False


@dataclasses.dataclass(frozen=True)
class MethodEntry:
    """A method as it is listed and made.

    Attributes:
        where: its class, or "module:Class" for one that is loaded when it is made.
        what: one line of what it is.
        needs: what it asks of a problem.
        options: the class's options in which a variant differs from the defaults.
        page: the name of its page in docs/methods, where that is not the method's own.
    """

    where: str | type
    what: str
    needs: Needs = Needs()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    page: str | None = None

    @property
    def class_name(self) -> str:
        """The name of the class, without loading it."""
        return self.where.partition(":")[2] if isinstance(self.where, str) else self.where.__name__

    def load(self) -> type:
        """The class."""
        if not isinstance(self.where, str):
            return self.where
        module, _, name = self.where.partition(":")
        return getattr(importlib.import_module(module), name)

    def make(self, budget: int | None = None, **options: Any) -> "Method":
        """An instance.

        Args:
            budget: the most environment steps of an estimate in a context. It chooses the sizes
                of classes with a classmethod `with_budget`; others take none.
            options: the class's own, which win over those of the entry and of the budget.
        """
        cls, options = self.load(), {**self.options, **options}
        if budget is not None and hasattr(cls, "with_budget"):
            return cls.with_budget(budget, **options)
        return cls(**options)


_ANY = Needs()
_RETURN = Needs("return", ("reward", "transition"), samples=True)
_LOSS = Needs("loss", ("reward",), samples=True)
_SINGLE_LOOP = Needs("any", ("reward", "transition", "discount", "initial"))

METHODS: dict[str, MethodEntry] = {
    "exact": MethodEntry(
        "sobirl.hypergrad.exact:Exact",
        "solve the follower, then one adjoint solve: the exact hyper-gradient",
        _ANY,
    ),
    "m-sobirl": MethodEntry(
        "sobirl.hypergrad.m_sobirl:MSoBiRL",
        "the paper's single loop: a few value sweeps and one adjoint step per outer step",
        _SINGLE_LOOP,
    ),
    "m-sobirl-occupancy": MethodEntry(
        "sobirl.hypergrad.m_sobirl:MSoBiRL",
        "that loop with an adjoint step that contracts whatever the size",
        _SINGLE_LOOP,
        {"adjoint_step": "occupancy"},
        page="m-sobirl",
    ),
    "m-sobirl-normalized": MethodEntry(
        "sobirl.hypergrad.m_sobirl:MSoBiRL",
        "that one with a normalized policy: it contracts from the first step",
        _SINGLE_LOOP,
        {"adjoint_step": "occupancy", "normalize": True},
        page="m-sobirl",
    ),
    "amd": MethodEntry(
        "sobirl.hypergrad.amd:AMD",
        "differentiate through the last soft Q updates",
        _ANY,
    ),
    "pbrl": MethodEntry(
        "sobirl.hypergrad.pbrl:PBRL",
        "the follower's optimality as a penalty, both levels descend",
        _ANY,
    ),
    "plug-in": MethodEntry(
        "sobirl.hypergrad.plug_in:PlugIn",
        "the exact formula with the transitions seen so far",
        Needs("return", ("reward",), samples=True),
    ),
    "advantage-trace": MethodEntry(
        "sobirl.hypergrad.advantage_trace:AdvantageTrace",
        "an eligibility trace of the leader's advantage",
        _RETURN,
    ),
    "hpgd": MethodEntry(
        "sobirl.hypergrad.hpgd:HPGD",
        "hyper policy gradient descent: averages over the visits of one batch",
        _RETURN,
    ),
    "bc-hg": MethodEntry(
        "sobirl.hypergrad.bchg:BCHG",
        "the leader's action value is learned along the way, by SARSA",
        _RETURN,
    ),
    "naive": MethodEntry(
        "sobirl.hypergrad.naive:Naive",
        "the leader's reward changes, the follower stays",
        _RETURN,
    ),
    "zero-order": MethodEntry(
        "sobirl.hypergrad.zero_order:ZeroOrder",
        "differences of the leader's objective at random points nearby",
        Needs("return", samples=True),
    ),
    "sobirl": MethodEntry(
        "sobirl.hypergrad.sobirl:SoBiRL",
        "the paper's model-free method, for losses of whole trajectories",
        _LOSS,
    ),
    "stoc-sobirl": MethodEntry(
        "sobirl.hypergrad.stoc_sobirl:StocSoBiRL",
        "minibatches of the follower's current policy, which never converges first",
        _LOSS,
    ),
}
"""Name on the command line -> method. The mapping is open: put your own into it."""


def class_names() -> list[str]:
    """The names of the classes in the table."""
    return sorted({entry.class_name for entry in METHODS.values()})


def entry(name: str) -> MethodEntry:
    """An entry of `METHODS`.

    Raises:
        InvalidInputError: there is none of this name.
    """
    if name not in METHODS:
        raise InvalidInputError(f"method: there is no {name!r}; choose from {', '.join(METHODS)}")
    return METHODS[name]


def methods_for(
    *objectives: Literal["return", "loss"], x_enters: tuple[EntryPoint, ...] = ("reward",)
) -> list[str]:
    """The names of the methods that can work on a problem.

    Args:
        objectives: what its objective is beside a function of x and the response.
        x_enters: where x enters the follower's soft MDP.
    """
    return [
        name
        for name, entry in METHODS.items()
        if entry.needs.objective in ("any", *objectives) and {*x_enters} <= {*entry.needs.x_enters}
    ]


def as_method(method: "Method | type | str | None") -> "Method":
    """A method from whatever people give: itself, its class or its name; `Exact()` from None.

    Raises:
        InvalidInputError: it is no method, a class that needs arguments, or an unknown name.
    """
    if method is None:
        method = "exact"
    if isinstance(method, str):
        return entry(method).make()
    if isinstance(method, type):
        try:
            method = method()
        except TypeError as error:
            raise InvalidInputError(
                f"method: {method.__name__} cannot be made without arguments ({error}); give an "
                "instance"
            ) from error
    missing = [part for part in ("init", "estimate") if not callable(getattr(method, part, None))]
    if missing:
        raise InvalidInputError(
            f"method: expected a method such as Exact(), its class or its name, got "
            f"{type(method).__name__}, which has no {' and no '.join(missing)}"
        )
    return method


def advice(method: "Method", status: Status) -> str:
    """What to do about a status: the method's own `advice(status)`, or else what holds for all."""
    own = getattr(method, "advice", None)
    return (own(status) if own is not None else None) or status.advice


# For type checkers, which cannot see what `sobirl.hypergrad` loads by the table.
if TYPE_CHECKING:
    from sobirl.hypergrad.advantage_trace import AdvantageTrace as AdvantageTrace
    from sobirl.hypergrad.amd import AMD as AMD
    from sobirl.hypergrad.bchg import BCHG as BCHG
    from sobirl.hypergrad.exact import Exact as Exact
    from sobirl.hypergrad.hpgd import HPGD as HPGD
    from sobirl.hypergrad.m_sobirl import MSoBiRL as MSoBiRL
    from sobirl.hypergrad.naive import Naive as Naive
    from sobirl.hypergrad.pbrl import PBRL as PBRL
    from sobirl.hypergrad.plug_in import PlugIn as PlugIn
    from sobirl.hypergrad.sobirl import SoBiRL as SoBiRL
    from sobirl.hypergrad.stoc_sobirl import StocSoBiRL as StocSoBiRL
    from sobirl.hypergrad.zero_order import ZeroOrder as ZeroOrder
