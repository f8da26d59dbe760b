"""The tables of a tabular problem, and the bilevel problem that they make."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Bool, Float, Int
from scipy.sparse.csgraph import breadth_first_order

from sobirl.bilevel import BilevelProblem
from sobirl.core.checks import check, check_shape
from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import listed, shown, suggestion
from sobirl.core.response import Response
from sobirl.mdp import Dense, SoftMDP, SuccessorList
from sobirl.problems.tabular.checks import RESERVED, SCALARS, as_scalar, check_names, check_size
from sobirl.solvers import policy_return


@dataclasses.dataclass(frozen=True)
class Tabular:
    """S states, A actions and n incentives with names.

    In terminal states and for unavailable actions the tables may hold any finite numbers: they
    count as 0.

    Attributes:
        transition: P(s'|s,a).
        reward: what the follower earns whatever x is (S,A).
        features: what each entry of x gives the follower (S,A,n).
        leader_reward: what the follower's choices are worth to the leader (S,A).
        initial: distribution of the first state (S,).
        available: the actions that the follower has (S,A).
        terminal: the states in which an episode ends (S,); nothing is earned there.
        states: S names.
        actions: A names.
        feature_names: n names, of the entries of x.
        discount: the follower's.
        temperature: the follower's entropy weight, in units of reward.
        leader_discount: the leader's; None is the follower's.
        transfer: the share of features·x that the leader pays.

    Raises:
        InvalidInputError: shapes that do not match, an entry outside its range, names that are
            empty or repeated, or a state that has no action and is not terminal.
    """

    transition: Dense | SuccessorList
    reward: Float[np.ndarray, "S A"]
    features: Float[np.ndarray, "S A n"]
    leader_reward: Float[np.ndarray, "S A"]
    initial: Float[np.ndarray, "S"]
    available: Bool[np.ndarray, "S A"]
    terminal: Bool[np.ndarray, "S"]
    states: tuple[str, ...]
    actions: tuple[str, ...]
    feature_names: tuple[str, ...]
    discount: float = 0.95
    temperature: float = 0.1
    leader_discount: float | None = None
    transfer: float = 0.0

    def __post_init__(self):
        states, actions = self.transition.shape
        counts = {"states": states, "actions": actions, "feature_names": self.features.shape[-1]}
        for name, count in counts.items():
            reserved = RESERVED if name == "feature_names" else ()
            check_names(name, getattr(self, name), count, reserved)
        pairs = (states, actions)
        shapes = {
            "reward": pairs,
            "leader_reward": pairs,
            "features": (*pairs, counts["feature_names"]),
            "available": pairs,
            "initial": (states,),
            "terminal": (states,),
        }
        for name, shape in shapes.items():
            table = getattr(self, name)
            check_shape(name, table, shape)
            check(name, table, np.isfinite(table), "must be finite")
        inside = (self.initial >= 0) & (self.initial <= 1 + 1e-5)
        check("initial", self.initial, inside, "probabilities must lie in [0, 1]")
        total = self.initial.sum()
        check("initial", total, abs(total - 1) <= 1e-5, "must sum to 1")
        idle = ~self.available.any(axis=1) & ~self.terminal
        if idle.any():
            raise InvalidInputError(
                "available: every state that is not terminal needs an action; without one: "
                f"{listed(self._names(idle))}"
            )
        for name in SCALARS:
            if getattr(self, name) is not None:
                as_scalar(name, getattr(self, name))

    @property
    def active(self) -> Bool[np.ndarray, "S A"]:
        """Where the follower acts: available actions of states that are not terminal."""
        return self.available & ~self.terminal[:, None]

    def problem(self) -> BilevelProblem:
        """The bilevel problem over x (n,)."""
        return BilevelProblem(self.follower, self.objective)

    def follower(self, x: Float[Array | np.ndarray, "n"]) -> SoftMDP:
        """The soft MDP with reward + features·x."""
        # In a terminal state the follower has one action that pays nothing: its value is 0.
        only_first = np.arange(len(self.actions)) == 0
        return SoftMDP(
            transition=self.transition,
            reward=jnp.where(self.active, self.reward + self.features @ x, 0.0),
            discount=self._until_terminal(self.discount),
            temperature=self.temperature,
            initial=self.initial,
            reference_policy=np.where(self.terminal[:, None], only_first, self.available) * 1.0,
        )

    def objective(self, x: Float[Array | np.ndarray, "n"], response: Response) -> Float[Array, ""]:
        """Minus the leader's expected discounted return."""
        own = self.leader_discount
        return -policy_return(
            self.follower(x),
            response.policy,
            reward=jnp.where(
                self.active, self.leader_reward - self.transfer * (self.features @ x), 0.0
            ),
            discount=self._until_terminal(self.discount if own is None else own),
        )

    def _until_terminal(self, discount: float) -> float | Float[np.ndarray, "S"]:
        return np.where(self.terminal, 0.0, discount) if self.terminal.any() else discount

    def starting_in(self, state: str) -> Float[np.ndarray, "S"]:
        """The initial distribution (S,) that begins in one state.

        Raises:
            InvalidInputError: there is no such state, or it is terminal.
        """
        if state not in self.states:
            raise InvalidInputError(
                f"initial: there is no state {shown(state)}{suggestion(state, self.states)}"
            )
        start = np.array(self.states) == state
        if self.terminal[start].any():
            raise InvalidInputError(f"initial: {shown(state)} is terminal; nothing happens there")
        return start * 1.0

    def notes(self) -> list[str]:
        """What a user may want to know of the tables, one line each."""
        active = self.active
        unseen = ~self._reachable()
        idle = np.logical_not(self.features[active].any(axis=0))
        ignored = (self.reward != 0) | (self.leader_reward != 0) | self.features.any(axis=-1)
        ignored = ignored.any(axis=1) & self.terminal
        notes = []
        if self.terminal.any():
            notes.append(f"Episodes end in {listed(self._names(self.terminal))}.")
        if ignored.any():
            notes.append(
                f"Rewards of the terminal states {listed(self._names(ignored))} are ignored: what "
                "an arrival is worth belongs to the step into the state."
            )
        if unseen.any():
            notes.append(f"Never reached from the initial states: {listed(self._names(unseen))}.")
        if idle.any():
            names = [name for name, flag in zip(self.feature_names, idle, strict=True) if flag]
            notes.append(f"Without effect, 0 for every action: {listed(names)}.")
        return notes

    def steps(
        self,
    ) -> tuple[Int[np.ndarray, "N"], Int[np.ndarray, "N"], Int[np.ndarray, "N"], np.ndarray]:
        """All possible steps by state, action and next state: s, a, s' and P(s'|s,a), each (N,)."""
        states, actions = self.transition.shape
        chances = np.asarray(self.transition.probabilities) * self.active[..., None]
        if isinstance(self.transition, Dense):
            matrix = scipy.sparse.csr_array(chances.reshape(-1, states))
        else:
            targets = np.array(self.transition.successors)  # scipy sorts it
            starts = np.arange(0, chances.size + 1, chances.shape[-1])
            matrix = scipy.sparse.csr_array(
                (chances.ravel(), targets.ravel(), starts), (states * actions, states)
            )
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        pair, target = matrix.nonzero()
        return pair // actions, pair % actions, target, matrix.data

    def _reachable(self) -> Bool[np.ndarray, "S"]:
        state, _, target, _ = self.steps()
        source = len(self.states)  # from which every start can be reached
        starts = np.flatnonzero(self.initial)
        state = np.concatenate([state, np.full(len(starts), source)])
        target = np.concatenate([target, starts])
        graph = scipy.sparse.csr_array(
            (np.ones(len(state), np.int8), (state, target)), shape=(source + 1,) * 2
        )
        order = breadth_first_order(graph, source, return_predecessors=False)
        return np.isin(np.arange(source), order)

    def _names(self, chosen: Bool[np.ndarray, "S"]) -> list[str]:
        return [self.states[index] for index in np.flatnonzero(chosen)]


def is_dense(most: int, states: int) -> bool:
    """Whether a full table is better than a list of successors: `most` of any state and action."""
    return 4 * most > states


def transition_operator(
    active: Bool[np.ndarray, "S A"],
    state: Int[np.ndarray, "N"],
    action: Int[np.ndarray, "N"],
    target: Int[np.ndarray, "N"],
    chance: Float[np.ndarray, "N"],
) -> Dense | SuccessorList:
    """P from the possible steps of the active pairs; the other pairs stay where they are.

    Raises:
        InvalidInputError: the table would have more than `MAX_ENTRIES` entries.
    """
    idle = np.nonzero(~active)
    state = np.concatenate([state, idle[0]])
    action = np.concatenate([action, idle[1]])
    target = np.concatenate([target, idle[0]])
    chance = np.concatenate([chance, np.ones(len(idle[0]))])
    pair = np.ravel_multi_index((state, action), active.shape)
    counts = np.bincount(pair)
    most, states = int(counts.max()), len(active)
    dense = is_dense(most, states)
    check_size("transitions", (*active.shape, states if dense else most))
    table = np.zeros((*active.shape, states if dense else most))
    if dense:
        table[state, action, target] = chance
        return Dense(table)
    order = np.argsort(pair, kind="stable")
    place = np.empty_like(pair)
    place[order] = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    successors = np.zeros(table.shape, dtype=np.int32)
    successors[state, action, place] = target
    table[state, action, place] = chance
    return SuccessorList(successors, table)
