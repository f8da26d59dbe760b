"""Tiny problems for every method, and the statistics with which estimates are judged."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from scipy import stats

import sobirl as sb
from sobirl.problems.preferences import Preferences
from sobirl.problems.random_incentives import RandomIncentives

INCENTIVES = RandomIncentives.generate(states=3, actions=2, dimension=2, seed=0)
PREFERENCES = Preferences.generate(states=3, actions=2, dimension=2, horizon=2, seed=0)


def nested_preferences():
    """`PREFERENCES` over x in a pytree of several levels."""

    def flat(x):
        return jnp.stack([x[0]["first"], x[1][0]])

    objective = sb.TrajectoryLoss(
        lambda x: PREFERENCES.follower(flat(x)),
        lambda x, pair: PREFERENCES.loss(flat(x), pair),
        horizon=PREFERENCES.horizon,
        num_trajectories=2,
    )
    x = ({"first": jnp.array(0.4)}, jnp.array([-0.3]))
    return sb.BilevelProblem(objective.follower, objective), x


def leaders_return():
    return INCENTIVES.problem(), {"pay": jnp.array([0.3, 0.2])}


def sticky(transition, share=0.8):
    """A law that stays where it is with this share: what is cut off late still matters."""
    return share * np.eye(len(transition))[:, None, :] + (1 - share) * transition


def decay(mdp):
    """The factor a step, γ included, by which the difference that an action makes is forgotten."""
    discounted = np.eye(mdp.shape[0]) - np.asarray(
        mdp.policy_system(sb.solve(mdp).policy).as_matrix()
    )
    return np.sort(np.abs(np.linalg.eigvals(discounted)))[-2]


# The best wage w maximizes (gain - w) σ(w): the first-order condition is gain = 1 + e^w + w.
BEST_WAGE = np.log(2)
_GAIN = 3 + np.log(2)


def employer(of_trajectories=False):
    """A worker who works at wage w with probability σ(w), and the one who pays it.

    The objective is minus the discounted profit, or that of a trajectory of one step.
    """

    def follower(x):
        reward = jnp.stack([x, jnp.zeros_like(x)])[None]
        return sb.SoftMDP(sb.Dense(np.ones((1, 2, 1))), reward, 0.5, 1.0, np.ones(1))

    def profit(x):
        return jnp.stack([_GAIN - x, jnp.zeros_like(x)])[None]

    objective = sb.LeaderReturn(follower, profit, 0.3)
    if of_trajectories:
        objective = sb.TrajectoryLoss(follower, lambda x, d: -profit(x)[0, d.action[0, 0]], 1)
    return sb.BilevelProblem(follower, objective)


def learned_wage(method, num_steps=400, of_trajectories=False):
    """What a method makes of the wage 0, with steps that decay."""
    steps = optax.exponential_decay(0.3, num_steps // 2, 0.1)
    result = sb.minimize(
        employer(of_trajectories), jnp.array(0.0), method, optax.adam(steps), num_steps
    )
    return float(result.x)


# A third of the time to compile, and what runs is small.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def value(problem, x):
    """φ(x)."""
    return problem.value(x, throw=False)


def gradient(problem, x):
    """∇φ(x), flat."""
    return np.asarray(ravel_pytree(compiled(jax.grad(lambda x: value(problem, x)))(x))[0])


def finite_differences(function, x, step=1e-5):
    """The gradient of a function by central differences, flat."""
    point, unravel = ravel_pytree(x)
    steps = step * jnp.eye(point.size)
    values = compiled(jax.vmap(lambda point: function(unravel(point))))(
        jnp.concatenate([point + steps, point - steps])
    )
    return np.asarray(values[: point.size] - values[point.size :]) / (2 * step)


def estimate(method, problem, x, state=None, seed=0):
    """One estimate, flat, with the next state and the metrics."""
    key = jax.random.key(seed)
    state = method.init(problem, x, key) if state is None else state
    run = compiled(lambda x, state, key: method.estimate(problem, x, state, key))
    hypergradient, state, metrics = run(x, state, key)
    return np.asarray(ravel_pytree(hypergradient)[0]), state, metrics


def estimates(method, problem, x, count, state=None, seed=0):
    """Independent estimates from one state (count, n), each flat."""
    state = method.init(problem, x, jax.random.key(seed)) if state is None else state

    def one(x, state, key):
        return ravel_pytree(method.estimate(problem, x, state, key)[0])[0]

    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(compiled(jax.vmap(one, in_axes=(None, None, 0)))(x, state, keys))


def chains(method, problem, x, steps, count, seed=0):
    """Estimates of independent runs at an x that stays (count, steps, n), each flat."""
    state = method.init(problem, x, jax.random.key(seed))

    def one(x, state, key):
        def step(state, key):
            hypergradient, state, _ = method.estimate(problem, x, state, key)
            return state, ravel_pytree(hypergradient)[0]

        return jax.lax.scan(step, state, jax.random.split(key, steps))[1]

    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(compiled(jax.vmap(one, in_axes=(None, None, 0)))(x, state, keys))


def deviation(samples, expected):
    """Hotelling's T² of a mean: how far it is from what is expected, in its own standard errors."""
    off = samples.mean(axis=0) - expected
    covariance = np.atleast_2d(np.cov(samples, rowvar=False)) / len(samples)
    return float(off @ np.linalg.solve(covariance, off))


def quantile(samples, probability):
    """Of Hotelling's T² for so many samples, if the mean is as expected."""
    n, p = len(samples), samples.shape[-1]
    return p * (n - 1) / (n - p) * stats.f.ppf(probability, p, n - p)


def assert_mean(samples, expected):
    """The mean of independent vectors lies in the 99 % confidence region around the expected."""
    assert deviation(samples, expected) <= quantile(samples, 0.99)


def assert_not_mean(samples, expected):
    """The mean differs from this, as chance would have it once in a million times."""
    assert deviation(samples, expected) > quantile(samples, 1 - 1e-6)


# Sweeps compile faster than factorizations, which `Exact` and the fitted trace have.
SOLVER = sb.ValueIteration(rtol=1e-8, policy_tolerance=1e-6)
SMALL = {"num_envs": 4, "rollout_steps": 6}
TUPLES = {"num_tuples": 4, "solver": SOLVER}

# What the contract holds for beside the methods of the table as they are: options, the problem that
# it is shown on, and whether it is among the quick tests.
VARIANTS = {
    "trace-remembering": (sb.AdvantageTrace(**SMALL, memory=1.0), leaders_return, False),
    "bchg-continued": (
        sb.BCHG(**SMALL, episodes="continued", solver=SOLVER),
        leaders_return,
        False,
    ),
    "sobirl-rollouts": (sb.SoBiRL(**TUPLES), nested_preferences, False),
    "sobirl-0": (sb.SoBiRL(**TUPLES, horizon=0, baseline=False), nested_preferences, True),
    "stoc-sobirl-pg": (
        sb.StocSoBiRL(num_tuples=4, horizon=0, inner="policy_gradient", inner_learning_rate=0.5),
        nested_preferences,
        True,
    ),
    "trace-rollouts": (
        sb.AdvantageTrace(**SMALL, advantage="rollouts", episodes="autoreset", solver=SOLVER),
        leaders_return,
        False,
    ),
    "pbrl-bellman": (
        sb.PBRL(kind="bellman", penalty_growth=0.1, num_walks=4, solver=SOLVER),
        leaders_return,
        False,
    ),
    "trace-exact": (
        sb.AdvantageTrace(**SMALL, advantage="exact", episodes="single", solver=SOLVER),
        leaders_return,
        False,
    ),
    "hpgd-uniform": (
        sb.HPGD(**SMALL, sampling="uniform", episodes="continued"),
        leaders_return,
        False,
    ),
    "hpgd-single": (
        sb.HPGD(**SMALL, sampling="single_start", episodes="single"),
        leaders_return,
        False,
    ),
    "zero-order-exact": (sb.ZeroOrder(num_envs=None, directions=2), leaders_return, False),
    "pbrl-bellman-exact": (sb.PBRL(kind="bellman"), leaders_return, False),
    "pbrl-walks": (sb.PBRL(num_walks=4), leaders_return, False),
    "sobirl-2": (sb.SoBiRL(num_tuples=4, horizon=2), nested_preferences, False),
    "stoc-sobirl-3": (sb.StocSoBiRL(num_tuples=4, horizon=3), nested_preferences, False),
    "sobirl-exact": (sb.SoBiRL(expectations="exact"), nested_preferences, False),
}
