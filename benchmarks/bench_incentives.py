"""Four Rooms with a walker that learns: what incentives reach that are found without the model.

    python benchmarks/bench_incentives.py --cells 0.005,1 0.001,1 --out build/incentives.jsonl

The walker is a soft Q-learner over one-hot cells and goals, in an environment in JAX; the leader
follows `LeaderReturn`. Beside it the exact hyper-gradient takes as many steps of the same kind from
the same start. What counts is the exact leader value of the w that was found.
"""

import argparse
import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import sobirl as sb
from sobirl.bilevel import GeometricContinuation, scalar_adam
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import CompiledEnvironments, Discrete, EnvSpec
from sobirl.deep.incentive_design import IncentiveDesign
from sobirl.deep.leader_critic import LeaderCritic
from sobirl.deep.leaders.leader_return import LeaderReturn
from sobirl.deep.led_follower import LedFollower
from sobirl.deep.networks import Architecture
from sobirl.deep.soft_q import SoftQLearning
from sobirl.experience.replay import Replay
from sobirl.experiments.incentives.design import temperatures
from sobirl.experiments.incentives.settings import Settings
from sobirl.problems import four_rooms

CELLS = len(four_rooms.cells())
GOALS = np.array([four_rooms.state_of(goal) for goal in four_rooms.GOALS])
MARKED, START = four_rooms.state_of(four_rooms.MARKED), four_rooms.state_of(four_rooms.START)
SIGHT = CELLS * len(GOALS)


class Rooms(eqx.Module):
    """The walk as an environment: a place and a goal are seen as one of 208 numbers."""

    spec: EnvSpec = eqx.field(
        static=True,
        default=EnvSpec("four-rooms", (SIGHT,), np.dtype(np.float32), Discrete(4), "jax"),
    )

    def reset(self, key):
        """At the start, with one of the goals."""
        state = jnp.int32(START), jax.random.randint(key, (), 0, len(GOALS), jnp.int32)
        return state, _sight(*state)

    def step(self, state, action, key):
        """A move; whoever is at the goal has 1 and is done."""
        ends, chances = four_rooms.moves()
        place, goal = state
        done = place == jnp.asarray(GOALS)[goal]
        drawn = jax.random.categorical(
            key, jnp.log(jnp.asarray(chances, jnp.float32))[place, action]
        )
        after = jnp.asarray(ends, jnp.int32)[place, action, drawn]
        state = after, goal
        return state, _sight(*state), done.astype(jnp.float32), done, jnp.zeros((), bool)


def _sight(place, goal):
    return jax.nn.one_hot(place + CELLS * goal, SIGHT, dtype=jnp.float32)


def _place(observation):
    """Where every step is (B,), and whether that is its goal."""
    number = jnp.argmax(observation, axis=-1)
    place = number % CELLS
    return place, place == jnp.asarray(GOALS)[number // CELLS]


def incentive(w, observation, action):
    """I(s), but at the goal."""
    place, done = _place(observation)
    return jnp.where(done, 0.0, four_rooms.incentive(w)[place])


def leader_of(cost):
    """The designer's reward, with a price of the budget that is in use."""

    def reward(observation, action, next_observation, w):
        place, done = _place(observation)
        return (place == MARKED) - cost * jnp.where(done, four_rooms.spent(w), 0.0)

    return reward


def design(arguments, temperature, cost, w0):
    """The rounds."""
    follower = SoftQLearning(
        (SIGHT,),
        four_rooms.DISCOUNT,
        temperature,
        num_actions=4,
        widths=tuple(arguments.widths),
        learning_rate=arguments.rate,
        target_rate=arguments.target_rate,
    )
    critic = LeaderCritic(
        (SIGHT,),
        four_rooms.DISCOUNT,
        num_actions=4,
        architecture=Architecture(widths=tuple(arguments.widths)),
        learning_rate=arguments.rate,
        target_rate=arguments.target_rate,
    )
    replay = Replay(arguments.walkers, arguments.replay, arguments.batch)
    return IncentiveDesign(
        loop=CompiledLoop(
            CompiledEnvironments(Rooms(), arguments.walkers),
            CompiledEnvironments(Rooms(), arguments.episodes),
        ),
        learner=ActorLearner(
            LedFollower(follower, critic, arguments.averaged),
            replay,
            arguments.random_steps,
            arguments.updates / arguments.walkers,
        ),
        leader=LeaderReturn(four_rooms.DISCOUNT, estimator=arguments.method),
        x0=w0,
        incentive=incentive,
        reward=leader_of(cost),
        optimizer=leader_steps(arguments),
        calls=arguments.calls,
        steps=200,
        warm_up=arguments.warm_up,
        temperatures=temperatures(
            Settings(
                initial_temperature=arguments.softness and arguments.softness * temperature,
                temperature=temperature,
                warm_up=arguments.warm_up / arguments.rounds,
            ),
            arguments.rounds,
        ),
    )


def walked(rounds, state, problem):
    """The exact leader value of what the walker does now, and how it differs from what it should.

    Returns:
        the value of its present policy, the value of the soft-optimal answer to x, and
        E KL(its policy | that answer) over the steps of its policy, all exactly.
    """
    sights = jnp.eye(SIGHT, dtype=jnp.float32)
    with jax.enable_x64(False):
        learned = state.loop[0].follower.steady[0]
        found = np.asarray(rounds.follower.log_policy(learned, sights), float)
    x, value, apart = jnp.asarray(state.x, float), 0.0, 0.0
    best = np.asarray(problem.respond(x).log_policy)
    for number, goal in enumerate(GOALS):
        log_policy = found.reshape(len(GOALS), CELLS, -1)[number]
        mdp = problem.lower(x, jnp.asarray(goal))
        policy = jnp.exp(log_policy)
        reward = problem.objective.reward_table(mdp, x, jnp.asarray(goal))
        value += float(sb.policy_return(mdp, policy, reward)) / len(GOALS)
        visits = np.asarray(sb.occupancy(mdp, policy)).sum(axis=-1)
        each = (np.exp(log_policy) * (log_policy - best[number])).sum(axis=-1)
        apart += float(visits @ each / visits.sum()) / len(GOALS)
    return value, -float(problem.value(x)), apart


def leader_steps(arguments):
    """The same for both."""
    return scalar_adam(
        optax.cosine_decay_schedule(arguments.leader_rate, arguments.rounds, 0.1), b2=0.99
    )


def exact(arguments, problem, w0, softness=None):
    """The leader value of the exact hyper-gradient after as many steps."""
    steps = arguments.rounds - arguments.warm_up
    result = sb.minimize(
        problem,
        w0,
        sb.Exact(),
        leader_steps(arguments),
        num_steps=steps,
        continuation=softness and GeometricContinuation(softness, steps // 2),
        progress=False,
    )
    return -float(result.objective)


def main():
    """Every cell and seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=["0.001,1", "0.005,1", "0.003,3"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--warm-up", type=int, default=60)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--rate", type=float, default=0.005)
    parser.add_argument("--target-rate", type=float, default=0.05)
    parser.add_argument("--updates", type=float, default=1.0, help="for a step of all walkers")
    parser.add_argument("--averaged", type=int, default=1, help="updates, in estimates")
    parser.add_argument("--walkers", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--replay", type=int, default=64 * 800)
    parser.add_argument("--random-steps", type=int, default=6400)
    parser.add_argument("--every", type=int, default=50, help="rounds between two lines")
    parser.add_argument("--leader-rate", type=float, default=0.5)
    parser.add_argument(
        "--softness", type=float, default=None, help="of the first temperature, in its own"
    )
    parser.add_argument("--widths", type=int, nargs="*", default=[])
    parser.add_argument("--scale", type=float, default=1.0, help="of the random start")
    parser.add_argument("--method", default="trace")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    for cell in arguments.cells:
        temperature, cost = map(float, cell.split(","))
        with jax.enable_x64(True):
            problem = four_rooms.FourRooms(temperature, cost).problem()
        for seed in range(arguments.seeds):
            w0 = np.asarray(four_rooms.random_start(jax.random.key(seed), arguments.scale))
            began = time.process_time()
            with jax.enable_x64(False):
                rounds = design(arguments, temperature, cost, jnp.asarray(w0, jnp.float32))
                state, rows = rounds.init(jax.random.key(seed)), []
                for number in range(arguments.rounds):
                    state, row = rounds.round(state)
                    rows.append(row)
                    if number % arguments.every == arguments.every - 1:
                        with jax.enable_x64(True):
                            walks, value, apart = walked(rounds, state, problem)
                        print(
                            number + 1,
                            f"sampled {row['leader_return']:.3f}",
                            f"walks {walks:.3f}",
                            f"answers {value:.3f}",
                            f"KL {apart:.4f}",
                            f"agreement {row['agreement']:.2f}",
                            f"follower {row['follower_return']:.2f}",
                            f"cpu {time.process_time() - began:.0f}",
                            flush=True,
                        )
            seconds = time.process_time() - began
            with jax.enable_x64(True):
                value = -float(problem.value(jnp.asarray(state.x, float)))
                w0 = jnp.asarray(w0, float)
                start = -float(problem.value(w0))
                best = {
                    name: exact(arguments, problem, w0, softness)
                    for name, softness in (("exact", None), ("exact_cooled", arguments.softness))
                }
            found = {
                "temperature": temperature,
                "cost": cost,
                "seed": seed,
                "method": arguments.method,
                "start": start,
                "deep": value,
                **best,
                "steps": int(rows[-1]["environment_steps"]),
                "cpu_seconds": round(seconds, 1),
            }
            print(json.dumps(found), flush=True)
            if arguments.out is not None:
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                with arguments.out.open("a") as file:
                    file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
