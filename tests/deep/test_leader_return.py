"""The hyper-gradient of a leader's return beside the exact one, on a table walked through."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from deep.tabular_pairs import FOLLOWER, LINEAR, A, S, Table, with_table
from estimators import deviation, gradient, quantile
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.envs import CompiledEnvironments, EnvSpec
from sobirl.deep.envs.spec import Continuous
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.leader import Leader
from sobirl.deep.leaders.leader_return import LeaderReturn, ReturnState
from sobirl.deep.offer import Offer, of_single
from sobirl.deep.reward_model import RewardModel

from deep.tabular_pairs import PREFERENCES as TABLE  # isort: skip

BATCHES, EACH, STEPS = 100, 100, 30
GAMMA, GAMMA_U, TAU = TABLE.discount, 0.7, TABLE.temperature
_RNG = np.random.default_rng(3)
BASE, WORTH, X = (_RNG.standard_normal((S, A)) for _ in range(3))
PRICE = 0.3  # a unit of x, whatever its sign


def incentive(x, observation, action):
    return jnp.take_along_axis(observation @ x, action[:, None], axis=1)[:, 0]


def worth(observation, action, next_observation, x):
    table = jnp.asarray(WORTH, jnp.float32) - PRICE * x
    return jnp.take_along_axis(observation @ table, action[:, None], axis=1)[:, 0]


def problem():
    def follower(x):
        return sb.SoftMDP(
            sb.Dense(TABLE.transition), jnp.asarray(BASE) + x, GAMMA, TAU, np.full(S, 1 / S)
        )

    objective = sb.LeaderReturn(follower, lambda x: jnp.asarray(WORTH) - PRICE * x, GAMMA_U)
    return sb.BilevelProblem(follower, objective)


@functools.cache
def solved():
    """π*, and Q_u of it."""
    with jax.enable_x64(True):
        mdp = problem().lower(jnp.array(X))
        policy = np.asarray(sb.solve(mdp).policy)
        reward = WORTH - PRICE * X
        flow = np.einsum("sa,san->sn", policy, TABLE.transition)
        value = np.linalg.solve(np.eye(S) - GAMMA_U * flow, (policy * reward).sum(axis=1))
        return policy, reward + GAMMA_U * TABLE.transition @ value


@functools.cache
def made():
    """Trajectories of π*, and all that an estimate is told beside them."""
    policy, q = solved()
    fresh = FOLLOWER.init(jax.random.key(0))
    state = eqx.tree_at(lambda s: s.actor, fresh, with_table(fresh.actor, np.log(policy)))
    critic = RewardModel((S,), jax.random.key(0), num_actions=A, architecture=LINEAR)
    network = with_table(critic.ensemble.members[0], q)
    critic = eqx.tree_at(lambda m: m.ensemble.members[0], critic, network)
    walked = CompiledEnvironments(Table(), BATCHES * EACH)
    found = CompiledLoop(walked, walked).trajectories(FOLLOWER, state, jax.random.key(1), STEPS)
    batches = jax.tree.map(lambda leaf: leaf.reshape(BATCHES, EACH, *leaf.shape[1:]), found)
    offer = Offer(jnp.asarray(X, jnp.float32), jnp.ones(()), incentive, worth)
    zero = jnp.zeros((), jnp.int32)
    return ReturnState(offer, critic), FollowerView(FOLLOWER, state, zero, zero), batches


def estimates(**settings):
    """Of every batch the estimate of ∇φ, flat."""
    known, view, batches = made()
    leader = LeaderReturn(GAMMA_U, **settings)

    @eqx.filter_jit
    def run(known, view, batches, keys):
        def one(batch, key):
            explicit, implicit, told = leader.terms(known, view, batch, key)
            return (explicit + implicit).ravel(), told["leader_return"]

        return jax.vmap(one)(batches, keys)

    found, returns = run(known, view, batches, jax.random.split(jax.random.key(2), BATCHES))
    return np.asarray(found, np.float64), np.asarray(returns, np.float64)


@functools.cache
def exact():
    with jax.enable_x64(True):
        return gradient(problem(), jnp.array(X)), -float(problem().value(jnp.array(X)))


@pytest.mark.parametrize("estimator", ["trace", "bc-hg"])
def test_the_estimate_is_the_exact_gradient_in_the_mean(estimator):
    found, returns = estimates(estimator=estimator)
    assert deviation(found, exact()[0]) <= quantile(found, 0.99)
    assert deviation(returns[:, None], np.array([exact()[1]])) <= quantile(returns[:, None], 0.99)


def test_hpgd_is_as_biased_as_it_says():
    """Σ_k γ^{t-k} γ_u^k (G_k - V_u(s_k)), whose returns G_k hold what led to (s_t,a_t), exactly."""
    policy, q = solved()
    value, reward = (policy * q).sum(axis=1), WORTH - PRICE * X
    flow = np.einsum("sa,san->sn", policy, TABLE.transition)
    here = np.full(S, 1 / S)  # the chance to be in s at t
    before = np.zeros(S)  # E Σ_{k<t} γ^{t-k} γ_u^k (Σ_{k≤j<t} γ_u^{j-k} r_j - V_u(s_k)), in s
    share, implicit, explicit = 0.0, np.zeros((S, A)), np.zeros((S, A))
    for t in range(STEPS):
        weight = GAMMA_U**t
        share = GAMMA * share + 1  # Σ_{k≤t} γ^{t-k}
        offset = (before - weight * here * value)[:, None]
        implicit += policy * (offset + weight * share * here[:, None] * q)
        explicit += weight * here[:, None] * policy * -PRICE
        moving = policy * (offset + weight * share * here[:, None] * reward)
        before = GAMMA * np.einsum("sa,san->n", moving, TABLE.transition)
        here = here @ flow
    biased = -(explicit + implicit / TAU).ravel()
    found, _ = estimates(estimator="hpgd")
    assert deviation(found, biased) <= quantile(found, 0.99)
    assert deviation(found, exact()[0]) > quantile(found, 1 - 1e-6)
    assert np.linalg.norm(biased - exact()[0]) > 0.1 * np.linalg.norm(exact()[0])


def test_one_term_alone_is_another_gradient():
    found, _ = estimates(estimator="explicit")
    assert deviation(found, exact()[0]) > 10 * quantile(found, 0.99)


def test_sums_over_actions_have_less_noise_than_drawn_ones():
    ours, drawn = (estimates(estimator=name)[0] for name in ("trace", "bc-hg"))
    assert ours.var(axis=0).sum() < drawn.var(axis=0).sum()


def test_a_budget_shortens_and_is_differentiated():
    known, _, batches = made()
    batch = jax.tree.map(lambda leaf: leaf[0], batches)
    leader = LeaderReturn(GAMMA_U, budget=0.25)

    def spent(x):
        offer = leader.shortened(eqx.tree_at(lambda o: o.x, known.offer, x), batch)
        where = batch.observation.reshape(-1, S), batch.action.reshape(-1)
        return jnp.mean(jnp.abs(offer(*where)))

    value, slope = jax.jit(jax.value_and_grad(spent))(known.offer.x)
    assert float(value) == pytest.approx(0.25, rel=1e-5)
    np.testing.assert_allclose(slope, 0, atol=1e-5)  # whatever x does, the budget is kept
    assert float(jax.jit(spent)(known.offer.x / 100)) < 0.02


def test_it_is_a_leader():
    assert isinstance(LeaderReturn(), Leader)


def test_bad_settings():
    known, _, batches = made()
    for settings, message in (
        ({"discount": 1.0}, "discount: must be in"),
        ({"budget": -0.1}, "budget: must not be negative, got -0.1"),
        ({"estimator": "best"}, "estimator: must be one of trace, bc-hg, hpgd, explicit"),
        ({"actions": 0}, "actions: must be at least 1"),
    ):
        with pytest.raises(sb.InvalidInputError, match=message):
            LeaderReturn(**settings)
    adjusting = DiscreteSAC((S,), GAMMA, num_actions=A, widths=())
    zero = jnp.zeros((), jnp.int32)
    with pytest.raises(sb.InvalidInputError, match="temperature: a leader's return needs"):
        LeaderReturn().terms(
            known, FollowerView(adjusting, None, zero, zero), batches, jax.random.key(0)
        )


def test_functions_of_a_user():
    spec = EnvSpec("drive", (2,), np.dtype(np.float32), Continuous([0.0], [10.0]), "test")
    x = jnp.array(2.0)

    def leader(observation, action, next_observation, x):
        return x * action[0] + next_observation[1]

    rows = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    found = of_single(leader, spec, x, "leader", after=True)(rows, np.zeros((3, 1)), rows, x)
    np.testing.assert_allclose(found, 2 * 5 + rows[:, 1])  # 0 is the middle of the bounds
    for wrong, message in (
        (lambda s, a, n, x: s, r"leader: must give one number .* got shape \(2,\)"),
        (lambda s, a, n, x: 1.0 if s[0] > 0 else 0.0, "leader: must be written with jax.numpy"),
        (lambda s, a: 0.0, "leader: called with .* raised TypeError"),
    ):
        with pytest.raises(sb.InvalidInputError, match=message):
            of_single(wrong, spec, x, "leader", after=True)
