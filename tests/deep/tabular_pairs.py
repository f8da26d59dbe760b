"""Preferences on a table for the deep code: what theory says, and pairs to estimate it from."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import sobirl as sb
from estimators import SOLVER, compiled, estimate, gradient, sticky
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.envs import CompiledEnvironments, Discrete, EnvSpec
from sobirl.deep.follower import FollowerView
from sobirl.deep.networks import Architecture
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment
from sobirl.prefs import preference_loss
from sobirl.problems.preferences import Preferences
from sobirl.problems.random_mdp import random_transitions

S, A, H = 3, 2, 2
LINEAR = Architecture(widths=())
_RNG = np.random.default_rng(1)
PREFERENCES = Preferences(
    transition=sticky(random_transitions(_RNG, S, A), 0.5),
    features=np.eye(S * A).reshape(S, A, S * A),
    truth=2 * _RNG.standard_normal((S, A)),
    horizon=H,
    discount=0.6,
    temperature=0.5,
)
X = _RNG.standard_normal(S * A)
FOLLOWER = DiscreteSAC(
    (S,), PREFERENCES.discount, PREFERENCES.temperature, num_actions=A, widths=()
)


@functools.cache
def optimal_policy():
    """π* (S,A) at X."""
    with jax.enable_x64(True):
        return np.asarray(sb.solve(PREFERENCES.follower(X)).policy)


@functools.cache
def implicit_term(horizon):
    """The exact implicit term at X (S,A): the hyper-gradient less its explicit part."""
    with jax.enable_x64(True):
        problem, x = PREFERENCES.problem(), jnp.array(X)
        policy, objective = jnp.array(optimal_policy()), problem.objective

        def fixed_data(x):
            tuples, chance = objective.enumerate(PREFERENCES.follower(X), policy)
            return chance @ objective.losses(x, tuples)

        if horizon == "full":
            whole = gradient(problem, x)
        else:
            method = sb.SoBiRL(horizon=horizon, expectations="exact", solver=SOLVER)
            whole, _, _ = estimate(method, problem, x)
        return (whole - np.asarray(compiled(jax.grad(fixed_data))(x))).reshape(S, A)


def with_table(network, table):
    """A network without hidden layers whose outputs are the rows of a table, (inputs, outputs)."""
    weights = jnp.asarray(np.asarray(table).T, jnp.float32)
    bias = jnp.zeros(len(weights))
    return eqx.tree_at(lambda n: (n.head.weight, n.head.bias), network, (weights, bias))


def follower_state(policy):
    """What a follower has learned that has a policy (S,A)."""
    fresh = FOLLOWER.init(jax.random.key(0))
    return eqx.tree_at(lambda s: s.actor, fresh, with_table(fresh.actor, np.log(policy)))


def view(policy, environments=None):
    """The follower with a policy (S,A), before the first step."""
    zero = jnp.int32(0)
    return FollowerView(FOLLOWER, follower_state(policy), zero, zero, environments)


def model():
    """The reward X as a network."""
    fresh = RewardModel((S,), jax.random.key(0), num_actions=A, architecture=LINEAR)
    network = with_table(fresh.ensemble.members[0], X.reshape(S, A))
    return eqx.tree_at(lambda m: m.ensemble.members[0], fresh, network)


def _drawn(rng, probability):
    """One index for every row of probabilities."""
    cumulative = probability.cumsum(axis=-1)
    below = cumulative < rng.random((*probability.shape[:-1], 1))
    return np.minimum(below.sum(axis=-1), probability.shape[-1] - 1)


def pairs(policy, *shape, seed=0):
    """Labelled pairs of trajectories of a policy, with leading axes (*shape,2)."""
    rng = np.random.default_rng(seed)
    state = rng.integers(S, size=(*shape, 2))
    states, actions = [], []
    for _ in range(H):
        action = _drawn(rng, policy[state])
        states.append(state)
        actions.append(action)
        state = _drawn(rng, PREFERENCES.transition[state, action])
    state, action = (np.stack(steps, axis=-1) for steps in (states, actions))
    reward = PREFERENCES.truth[state, action]
    first, second = np.moveaxis(reward.sum(axis=-1), -1, 0)
    label = rng.random(shape) < 1 / (1 + np.exp(second - first))
    fragments = Fragment(
        observation=np.eye(S, dtype=np.float32)[state],
        action=action.astype(np.int32),
        reward=reward.astype(np.float32),
        log_prob=np.log(policy[state, action]).astype(np.float32),
        mask=np.ones(state.shape, bool),
        taken_at=np.zeros(state.shape[:-1], np.int32),
        state=state.astype(np.int32),
    )
    return jax.tree.map(jnp.asarray, (fragments, label.astype(np.float32)))


def gradients(term, some, label, environments=None, seed=0):
    """The implicit term from each of N batches with leading axes (N,B,2): (N,S,A)."""
    seen = view(optimal_policy(), environments)
    keys = jax.random.split(jax.random.key(seed), len(label))
    return np.asarray(_gradients(term, model(), seen, some, label, keys), np.float64)


@eqx.filter_jit
def _gradients(term, reward, seen, some, label, keys):
    def one(batch, label, key):
        losses = preference_loss(RewardLearner().logits(reward, batch)[0], label)
        gradient = jax.grad(term.surrogate)(reward, seen, batch, losses, jnp.ones(len(losses)), key)
        return gradient.ensemble.members[0].head.weight.T

    return jax.vmap(one)(some, label, keys)


class Table(eqx.Module):
    """The transitions as an environment whose episodes never end."""

    spec: EnvSpec = eqx.field(
        default=EnvSpec("table", (S,), np.dtype(np.float32), Discrete(A), "test"), static=True
    )

    def reset(self, key):
        """A state of the initial distribution."""
        state = jax.random.randint(key, (), 0, S, jnp.int32)
        return state, jax.nn.one_hot(state, S, dtype=jnp.float32)

    def step(self, state, action, key):
        """One move."""
        log_chance = jnp.log(jnp.asarray(PREFERENCES.transition, jnp.float32))
        after = jax.random.categorical(key, log_chance[state, action]).astype(jnp.int32)
        never = jnp.zeros((), bool)
        return after, jax.nn.one_hot(after, S, dtype=jnp.float32), jnp.zeros(()), never, never


def environments():
    """The table, to walk in."""
    return CompiledEnvironments(Table(), 1)
