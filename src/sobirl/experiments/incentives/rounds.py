"""The rounds of `sobirl run incentives`: a row of metrics each."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import (
    CompiledEnvironment,
    CompiledEnvironments,
    EnvSpec,
    default_backend,
    make,
)
from sobirl.deep.envs.failures import current_folder, failing_as, import_module_of
from sobirl.deep.envs.gymnasium_envs import make_own
from sobirl.deep.host_loop import HostLoop
from sobirl.deep.incentive_design import DesignState
from sobirl.experiments.incentives.design import design_of
from sobirl.experiments.incentives.functions import function_of
from sobirl.experiments.incentives.settings import Settings
from sobirl.experiments.incentives.turns import turns

if TYPE_CHECKING:
    from sobirl.experiments.incentives.options import IncentivesRun


_SHARE = 0.1  # of the latest round in a start's value


class RoundState(eqx.Module):
    """Everything that the next round depends on.

    Attributes:
        step: rounds done so far, of all starts together.
        designs: of follower and leader, one a start.
        befores: the followers before the leader's first step, to be filmed.
        values: the latest returns of the leader, averaged (K,).
        order: the starts that take turns, the best first (K,).
    """

    step: Int[Array, ""]
    designs: tuple[DesignState, ...]
    befores: tuple[PyTree, ...]
    values: Float[Array, "K"]
    order: Int[Array, "K"]

    @property
    def best(self) -> int:
        """The start that was best when they were last compared, in the end the one that is left."""
        return int(self.order[0])

    @property
    def design(self) -> DesignState:
        """Of the best start."""
        return self.designs[self.best]

    @property
    def before(self) -> PyTree:
        """Of the best start."""
        return self.befores[self.best]


class Rounds:
    """All rounds of a run.

    Args:
        settings: what is run.
        seed: of everything random.
        loop: the environments.
        more: `leader`, `from_info`, `incentive` and `x0` of `design_of`.
    """

    def __init__(self, settings: Settings, seed: int, loop: CompiledLoop | HostLoop, **more: Any):
        self.settings, self.key = settings, jax.random.key(seed)
        model_key, self._begin_key = jax.random.split(self.key)
        self.design, rounds, self._firsts = design_of(settings, loop, model_key, **more)
        self._turns = turns(settings.starts, rounds, self.design.warm_up)

    @property
    def total(self) -> int:
        """The rounds of all starts."""
        return len(self._turns)

    @classmethod
    @contextlib.contextmanager
    def open(cls, options: "IncentivesRun") -> Iterator["Rounds"]:
        """The rounds of a command, with its environments; these are closed at the end.

        Raises:
            InvalidInputError: the options do not go together, or a function is not what it should
                be.
        """
        with loop_of(options, options.leader_from_info) as loop:
            leader = None if options.leader is None else function_of("--leader", options.leader)
            from_info = options.leader_from_info
            yield cls(options, options.seed, loop, leader=leader, from_info=from_info)

    def begin(self) -> RoundState:
        """Before the first round."""
        keys = self._begin_key, *jax.random.split(self._begin_key, len(self._firsts) - 1)
        designs = tuple(
            dataclasses.replace(self.design, x0=x0).init(key)
            for x0, key in zip(self._firsts, keys, strict=True)
        )
        befores = tuple(jax.tree.map(jnp.copy, self.learned(design)) for design in designs)
        count = len(designs)
        zero = jnp.zeros((), jnp.int32)
        return RoundState(zero, designs, befores, jnp.zeros(count), jnp.arange(count))

    def restore(self, state: RoundState) -> RoundState:
        """Go on from a saved state, whose arrays are NumPy's."""
        # What environments on the host keep stays as it is: it has integers of 64 bits.
        kept = [design.loop[1] for design in state.designs]
        bare = eqx.tree_at(
            lambda s: [d.loop for d in s.designs], state, [(d.loop[0], ()) for d in state.designs]
        )
        bare = jax.tree.map(jnp.array, bare)
        whole = eqx.tree_at(
            lambda s: [d.loop for d in s.designs],
            bare,
            [(d.loop[0], world) for d, world in zip(bare.designs, kept, strict=True)],
        )
        return self._entered(whole, int(whole.order[self._turns[int(state.step) - 1].slot]))

    def round(self, state: RoundState) -> tuple[RoundState, dict[str, float]]:
        """One round of one start, and its row."""
        step = int(state.step)
        turn = self._turns[step]
        begins = step == 0 or turn.phase != self._turns[step - 1].phase
        if begins and step:
            running = self._turns[step - 1].slot + 1
            ranks = np.argsort(-np.asarray(state.values)[np.asarray(state.order)[:running]])
            order = np.asarray(state.order).copy()
            order[:running] = order[:running][ranks]
            state = eqx.tree_at(lambda s: s.order, state, jnp.asarray(order))
        start = int(state.order[turn.slot])
        if len(state.designs) > 1 and (begins or turn.slot != self._turns[step - 1].slot):
            state = self._entered(state, start)
        design = state.designs[start]
        if int(design.round) == self.design.warm_up:
            before = jax.tree.map(jnp.copy, self.learned(design))
            state = eqx.tree_at(lambda s: s.befores[start], state, before)
        fresh = int(design.round) == 0
        design, metrics = self.design.round(design)
        latest = metrics["leader_return"]
        value = latest if fresh else (1 - _SHARE) * float(state.values[start]) + _SHARE * latest
        row = {
            "objective": -latest,
            "hypergradient_norm": metrics["hypergradient_norm"],
            **metrics,
        }
        if len(state.designs) > 1:
            row["start"] = float(start)
        designs = (*state.designs[:start], design, *state.designs[start + 1 :])
        values = state.values.at[start].set(value)
        return RoundState(state.step + 1, designs, state.befores, values, state.order), row

    def _entered(self, state: RoundState, start: int) -> RoundState:
        """The state with the environments where a start left them."""
        loop = self.design.loop.restore(state.designs[start].loop)
        return eqx.tree_at(lambda s: s.designs[start].loop, state, loop)

    def learned(self, design: DesignState) -> PyTree:
        """What the follower has learned."""
        return design.loop[0].follower.steady[0]

    def pays(self, state: RoundState) -> Callable[[Any, Any], Float[Array, "B"]]:
        """The incentives as a function of observations and actions, as the networks see them."""
        return self.design.offer(state.design)

    @property
    def last_key(self):
        """For what is drawn at the end."""
        return jax.random.fold_in(self.key, self.total)


@contextlib.contextmanager
def loop_of(
    settings: Settings, from_info: bool, env: Any = None
) -> Iterator[CompiledLoop | HostLoop]:
    """The environments, closed at the end.

    Args:
        settings: of the environments.
        from_info: whether they give the leader's reward.
        env: in the place of a name, an environment in JAX, or what makes one of Gymnasium's.

    Raises:
        InvalidInputError: there are none of that name, or they do not give the leader's reward.
    """
    backend = settings.backend or default_backend(settings.env)
    if env is None and settings.backend is None:
        env = _compiled_by(settings.env)
    if env is not None:
        backend = "jax" if _is_compiled(env) else "gymnasium"
    count = settings.num_envs or (4 if backend in ("gymnasium", "atari") else 16)
    with contextlib.ExitStack() as held:
        environments, evaluation = (
            _made(settings, backend, env, number) for number in (count, settings.episodes)
        )
        if isinstance(environments, CompiledEnvironments):
            yield CompiledLoop(
                *(
                    CompiledEnvironments(some.environment, some.num_envs, from_info)
                    for some in (environments, evaluation)
                )
            )
            return
        for some in (environments, evaluation):
            held.enter_context(some)
            some.leader_from_info = from_info
        yield HostLoop(environments, evaluation)


def _made(settings: Settings, backend: str, env: Any, count: int) -> Any:
    """So many environments, compiled or on the host."""
    limit = settings.max_episode_steps
    if env is None:
        options = {} if limit is None else {"max_episode_steps": limit}
        return make(settings.env, count, backend, **options)
    if _is_compiled(env):
        return CompiledEnvironments(env, count)
    return make_own(env, count, limit)


def _compiled_by(name: str) -> CompiledEnvironment | None:
    """The environment in JAX that `module:MyEnv` makes, if it is one."""
    module, colon, word = name.rpartition(":")
    if not colon:
        return None
    with current_folder(), failing_as(name, "__init__"):
        import_module_of(name)
        maker: Any = getattr(sys.modules[module], word, None)
        own = isinstance(maker, type) and not issubclass(maker, gymnasium.Env)
        found: Any = maker() if own else maker
    return found if _is_compiled(found) else None


def _is_compiled(env: Any) -> bool:
    """Whether it is in JAX; those of Gymnasium have functions of the same names."""
    return isinstance(env, CompiledEnvironment) and isinstance(env.spec, EnvSpec)
