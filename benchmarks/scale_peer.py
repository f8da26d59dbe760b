"""One library on one MDP: what `scale_peers.py` runs in each library's own environment.

python benchmarks/scale_peer.py LIBRARY SETTING MDP.npz DISCOUNT TEMPERATURE RESIDUAL

Needs NumPy and the library alone. Prints JSON lines as it goes, so that what was done before a time
limit is known. The library's own tolerance starts at what its criterion promises for the asked
residual and is divided by ten until `bellman_residual`, the same for all, finds that it holds.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

QUICK = 3.0  # seconds up to which a solve is timed three times
MAX_SWEEPS = 1_000_000


class Problem(NamedTuple):
    """An MDP as tables, and what is asked."""

    successors: np.ndarray  # (S,A,K)
    probabilities: np.ndarray  # (S,A,K)
    reward: np.ndarray  # (S,A)
    discount: float
    temperature: float  # 0: the hard Bellman equation
    residual: float


def bellman_residual(problem: Problem, value: np.ndarray) -> float:
    """The largest |T V - V|, with T hard or soft; infinite where V is not finite."""
    if not np.isfinite(value).all():
        return np.inf
    worst = 0.0
    for rows in np.array_split(np.arange(len(value)), max(len(value) // 50_000, 1)):
        expected = np.einsum(
            "sak,sak->sa", problem.probabilities[rows], value[problem.successors[rows]]
        )
        q = problem.reward[rows] + problem.discount * expected
        backup = q.max(-1)
        if problem.temperature:
            scaled = np.exp((q - backup[:, None]) / problem.temperature)
            backup = backup + problem.temperature * np.log(scaled.sum(-1))
        worst = max(worst, float(np.abs(backup - value[rows]).max()))
    return worst


Solve = Callable[[float], tuple[float, np.ndarray]]  # tolerance -> seconds, value


def timed(call: Callable) -> tuple[float, np.ndarray]:
    """The call's seconds and what it gave."""
    start = time.perf_counter()
    value = np.asarray(call())
    return time.perf_counter() - start, value


# Each takes a problem and a setting, and gives a first tolerance and the solve.


def sobirl(problem: Problem, setting: str) -> tuple[float, Solve]:
    """`solve` at the temperature, or at one whose entropy is worth a tenth of the residual."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    import sobirl as sb

    choices = {"Auto": sb.Auto, "ValueIteration": sb.ValueIteration}
    tiny = 0.1 * problem.residual / np.log(problem.reward.shape[1])
    mdp = sb.SoftMDP(
        sb.SuccessorList(problem.successors, problem.probabilities),
        problem.reward,
        discount=problem.discount,
        temperature=problem.temperature or tiny,
        initial=np.full(len(problem.reward), 1 / len(problem.reward)),
    )

    def solve(tolerance):
        solver = choices[setting](rtol=jnp.asarray(tolerance), policy_tolerance=float("inf"))
        done = None

        def call():
            nonlocal done
            done = sb.solve(mdp, solver, throw=False)
            return done.value

        timing = timed(call)
        stats = done.stats
        emit(
            did=f"{stats.solver}: {int(stats.steps)} steps, {int(stats.sweeps)} sweeps, "
            f"{int(stats.factorizations)} factorizations; {done.status.name}"
        )
        return timing

    return problem.residual / (1 - problem.discount), solve


def mdpsolver(problem: Problem, setting: str) -> tuple[float, Solve]:
    """A new model every time: a solved one starts from its solution."""
    import mdpsolver

    algorithm, update, limit = setting.split("/")
    kept = problem.probabilities > 0
    successors = ragged(problem.successors, kept)
    probabilities = ragged(problem.probabilities, kept)
    reward = problem.reward.tolist()

    def solve(tolerance):
        model = mdpsolver.model()
        model.mdp(
            discount=problem.discount,
            rewards=reward,
            tranMatProbs=probabilities,
            tranMatColumns=successors,
        )

        def call():
            model.solve(
                algorithm=algorithm,
                update=update,
                parIterLim=int(limit),
                tolerance=tolerance,
                parallel=True,
            )

        seconds, _ = timed(call)  # without the time that a list takes to come out
        return seconds, np.asarray(model.getValueVector())

    return problem.residual * problem.discount / (1 - problem.discount), solve


def ragged(table: np.ndarray, kept: np.ndarray) -> list[list[list]]:
    """The kept entries as lists of lists of lists."""
    if kept.all():
        return table.tolist()
    return [
        [
            [entry for entry, keep in zip(*row, strict=True) if keep]
            for row in zip(*rows, strict=True)
        ]
        for rows in zip(table.tolist(), kept.tolist(), strict=True)
    ]


def quantecon(problem: Problem, setting: str) -> tuple[float, Solve]:
    """`DiscreteDP` over pairs, with a sparse Q."""
    import scipy.sparse
    from quantecon.markov import DiscreteDP

    states, actions, places = problem.successors.shape
    pairs = states * actions
    q = scipy.sparse.csr_matrix(
        (
            problem.probabilities.ravel(),
            problem.successors.ravel(),
            np.arange(0, pairs * places + 1, places),
        ),
        shape=(pairs, states),
        copy=True,
    )
    q.eliminate_zeros()
    model = DiscreteDP(
        problem.reward.ravel(),
        q,
        problem.discount,
        np.repeat(np.arange(states), actions),
        np.tile(np.arange(actions), states),
    )

    def solve(tolerance):
        return timed(lambda: model.solve(setting, epsilon=tolerance, max_iter=MAX_SWEEPS).v)

    return problem.residual * problem.discount / (1 - problem.discount), solve


def mdpax(problem: Problem, setting: str) -> tuple[float, Solve]:
    """Its solvers on a problem that looks its tables up, in one batch."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    from mdpax.core.problem import Problem as Base
    from mdpax.solvers import PolicyIteration, ValueIteration

    states, actions, places = problem.successors.shape
    successors, probabilities, reward = map(
        jnp.asarray, (problem.successors, problem.probabilities, problem.reward)
    )

    class Tables(Base):
        name = "tables"

        def _construct_state_space(self):
            return jnp.arange(states)

        def _construct_action_space(self):
            return jnp.arange(actions)

        def _construct_random_event_space(self):
            return jnp.arange(places)

        def state_to_index(self, state):
            return state[0]

        def random_event_probability(self, state, action, random_event):
            return probabilities[state[0], action[0], random_event[0]]

        def transition(self, state, action, random_event):
            s, a = state[0], action[0]
            return successors[s, a, random_event[0]][None], reward[s, a]

    options = {
        "gamma": problem.discount,
        "epsilon": 1.0,
        "convergence_test": "max_diff",
        "max_batch_size": states,
        "verbose": 0,
    }
    if setting == "policy iteration":
        solver = PolicyIteration(Tables(), max_eval_iter=MAX_SWEEPS, **options)
    else:
        solver = ValueIteration(Tables(), **options)

    def solve(tolerance):
        solver.conv_threshold = tolerance * (1 - problem.discount) / problem.discount
        solver.values, solver.iteration = jnp.zeros(states), 0
        return timed(lambda: solver.solve(max_iterations=MAX_SWEEPS).values)

    return problem.residual / (1 - problem.discount), solve


def jaxdp(problem: Problem, setting: str) -> tuple[float, Solve]:
    """Its updates on full tables, in the loop that it leaves to the user."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import chex
    import jax.numpy as jnp
    import jaxdp

    chex.disable_asserts()  # of values, which compiled code does not allow
    states, actions, places = problem.successors.shape
    table = np.zeros((actions, states, states))  # [a, next, s]
    for action in range(actions):
        here = np.repeat(np.arange(states), places)
        into = problem.successors[:, action].ravel()
        np.add.at(table[action], (into, here), problem.probabilities[:, action].ravel())
    reward = np.broadcast_to(problem.reward.T[:, :, None], (actions, states, states))
    mdp = jaxdp.MDP(
        transition=jnp.asarray(table),
        reward=jnp.asarray(reward),
        initial=jnp.full(states, 1 / states),
        terminal=jnp.zeros(states),
    )

    @jax.jit
    def soft(mdp, value, tolerance):
        operator = jaxdp.SoftBellmanOptOp(temperature=problem.temperature)

        def sweep(carry):
            value, _ = carry
            new = operator.v(mdp, value, problem.discount)
            return new, jnp.max(jnp.abs(new - value))

        start = (value, jnp.inf)
        return jax.lax.while_loop(lambda carry: carry[1] > tolerance, sweep, start)[0]

    planner = jaxdp.PolicyIteration(gamma=problem.discount)
    update = jax.jit(planner.update)

    def policies():
        state = planner.init(mdp, jaxdp.greedy_map.q(jnp.asarray(problem.reward.T)))
        while True:
            new = update(mdp, state)
            if jnp.array_equal(new.policy, state.policy):
                return new.v_val
            state = new

    def solve(tolerance):
        if setting == "policy iteration":
            return timed(policies)
        return timed(lambda: soft(mdp, jnp.zeros(states), tolerance))

    return problem.residual, solve


def peak_mib() -> float:
    """The most memory of this process; not of the one that started it, as `ru_maxrss` may say."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def emit(**facts) -> None:
    """A line that the parent reads, also when this process is ended."""
    print("RESULT " + json.dumps(facts), flush=True)


def main(library: str, setting: str, path: str, discount: str, temperature: str, asked: str):
    """Load, solve until the residual holds, then time."""
    tables = np.load(path)
    problem = Problem(
        tables["successors"],
        tables["probabilities"],
        tables["reward"],
        float(discount),
        float(temperature),
        float(asked),
    )
    start = time.perf_counter()
    tolerance, solve = globals()[library](problem, setting)
    emit(load=time.perf_counter() - start)
    for attempt in range(4):
        seconds, value = solve(tolerance)
        facts = {"first": seconds} if not attempt else {}
        emit(
            **facts,
            seconds=[seconds],
            memory=peak_mib(),
            residual=bellman_residual(problem, value),
            tolerance=tolerance,
        )
        if bellman_residual(problem, value) <= problem.residual:
            break
        tolerance /= 10
    times = []
    while len(times) < (3 if sum(times) < QUICK else 1):
        times.append(solve(tolerance)[0])
        emit(seconds=times)


if __name__ == "__main__":
    main(*sys.argv[1:])
