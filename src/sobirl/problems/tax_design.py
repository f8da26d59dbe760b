"""Tax design: an income tax and three taxes on goods, for households that work, save and consume.

A household with assets s chooses working hours h ∈ {0, 0.89, ..., 8.01} and how much of each of
three goods it buys, c_i ∈ {0, 1.25, ..., 5}: 1,250 actions. The state takes the share x of what it
earns, and y_i on each good:

    household  r(s,a) = U_1(s) - 0.1 h² + Π_i (c_i/(1 + y_i))^{α_i},  temperature τ, γ = 0.9
    state      r_u(s,a) = U_0(s) + 15 mean(c/(1 + y))/5 + 5 log(1 + Σ_i y_i c_i/(1 + y_i) + x h)
    assets     s' = m + 5 ε,  m = clip(s + (1-x) h - Σ c, ±100),  ε normal, cut: |s'| ≤ 100

with U_k(s) = k log(1 + s/20) for s > 0 and s below. There are two types of households,
equally many, that differ in α.

What comes next depends on h and on Σ c only. Households that have settled on hours and spending
choose the goods by a softmax of their own, whatever s, so that

    g(z) = τ log Σ_{c: Σc = z} exp(Π_i (c_i/(1 + y_i))^{α_i}/τ)

is all that the 125 baskets mean to the dynamic choice: 130 actions (h, z) with the reward
U_1(s) - 0.1 h² + g(z) have the same values, and their policy is that of (h, z) exactly. The law
of s' depends on (s - z, h) only, a table of `PostDecision`: nothing of S·1250·S is ever made.

Assets are continuous: `TaxDesign` has them on a grid, s' rounded to the nearest point, and
`simulate` plays the policy with the assets as they are.

Source: Thoma et al. (2024), HPGD, section 5.2 and their public code.
"""

import dataclasses
import functools
import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp, ndtr, ndtri
from jaxtyping import Array, ArrayLike, Float, Int, Key
from scipy import special

from sobirl.bilevel import BilevelProblem
from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import PostDecision, SoftMDP
from sobirl.mdp.transitions import invert

# Programs get copies of these: JAX knows constants by their identity, and would take those of a
# program in single precision for another's.
HOURS = 0.89 * np.arange(10)
BASKETS = 1.25 * np.array(list(itertools.product(range(5), repeat=3)))  # (125, 3)
SPENDING = 1.25 * np.arange(13)
TYPES = ((0.6, 0.3, 0.1), (0.1, 0.7, 0.2))  # α
LIMIT = 100.0
NOISE = 5.0
DISCOUNT = 0.9
EFFORT = 0.1
MOST_TAX = 2.0
FIRST_TAX = 0.3
SMALLEST = 3
# What one outer iteration of the published code takes on two cores, where a soft DQN learns the
# households' policy anew: measured with that code.
PUBLISHED_SECONDS = 520.0

# Which baskets cost what.
_COSTS = np.isclose(BASKETS.sum(1), SPENDING[:, None])  # (13, 125)

Taxes = dict[str, Any]  # {"income": (), "goods": (3,)}, as logits


@dataclasses.dataclass(frozen=True)
class TaxDesign:
    """An instance; x is {"income": (), "goods": (3,)}, of which the taxes are 2 σ(x).

    Args:
        temperature: the households' entropy weight τ over their 1,250 actions.
        points: S, points of the assets' grid, from -100 to 100.

    Raises:
        InvalidInputError: fewer than 3 points.
    """

    temperature: float = 0.1
    points: int = 161

    def __post_init__(self):
        if self.points < SMALLEST:
            raise InvalidInputError(f"points: must be at least {SMALLEST}, got {self.points}")

    def problem(self) -> BilevelProblem:
        """The bilevel problem, with the two types as equally likely contexts."""
        households = self.households
        objective = LeaderReturn(households.follower, households.leader_reward)
        return BilevelProblem(households.follower, objective, contexts=jnp.array(TYPES))

    def x0(self) -> Taxes:
        """All taxes at 0.3."""
        first = float(np.log(FIRST_TAX / (MOST_TAX - FIRST_TAX)))
        return {"income": jnp.array(first), "goods": jnp.full(3, first)}

    @functools.cached_property
    def households(self) -> "Households":
        """Households and state with these constants."""
        return Households(self)


class Households(eqx.Module):
    """Households and state; the arrays are leaves, as in `four_rooms.Walk`."""

    temperature: Float[Array, ""]
    assets: Float[Array, "S"]
    left: Float[Array, "P"]  # what s - z may be
    chosen: Int[Array, "S A"]  # which (s - z, h) an action (h, z) leads to
    initial: Float[Array, "S"]

    def __init__(self, design: TaxDesign):
        self.temperature = jnp.asarray(design.temperature, float)
        assets = np.linspace(-LIMIT, LIMIT, design.points)
        self.assets = jnp.asarray(assets)
        left, place = np.unique(np.round(assets[:, None] - SPENDING, 9), return_inverse=True)
        self.left = jnp.asarray(left)
        place = place.reshape(len(assets), 1, -1) * len(HOURS) + np.arange(len(HOURS))[:, None]
        self.chosen = jnp.asarray(place.reshape(len(assets), -1))
        self.initial = jnp.asarray(np.diff(special.ndtr(_edges(assets) / np.sqrt(2))))

    def follower(self, x: Taxes, preferences: Float[Array, "3"]) -> SoftMDP:
        """The soft MDP of one type over the 130 pairs of hours and spending."""
        hours = HOURS.copy()
        after = self.left[:, None] + (1 - tax(x["income"])) * hours
        law = _on_grid(self.assets, jnp.clip(after, -LIMIT, LIMIT))
        pair = -EFFORT * hours[:, None] ** 2 + self._choice(x, preferences)[0]
        return SoftMDP(
            transition=PostDecision(self.chosen, law.reshape(-1, len(self.assets))),
            reward=asset_utility(self.assets, 1.0)[:, None] + pair.ravel(),
            discount=DISCOUNT,
            temperature=self.temperature,
            initial=self.initial,
        )

    def leader_reward(self, x: Taxes, preferences: Float[Array, "3"]) -> Float[Array, "S A"]:
        """The state's expected reward of assets, hours and spending: baskets are averaged out."""
        welfare = jnp.sum(self.baskets(x, preferences) * basket_welfare(x)[:, None], axis=-1)
        return asset_utility(self.assets, 0.0)[:, None] + welfare.ravel()

    def baskets(self, x: Taxes, preferences: Float[Array, "3"]) -> Float[Array, "13 125"]:
        """The probability of every basket, given what is spent."""
        value, utility = self._choice(x, preferences)
        return jnp.where(_COSTS, jnp.exp((utility - value[:, None]) / self.temperature), 0.0)

    def _choice(self, x: Taxes, preferences) -> tuple[Float[Array, "13"], Float[Array, "125"]]:
        """g(z), and the utility of every basket."""
        utility = basket_utility(x, preferences)
        exponents = jnp.where(_COSTS, utility / self.temperature, -jnp.inf)
        return self.temperature * logsumexp(exponents, axis=-1), utility


def tax(x: ArrayLike) -> Float[Array, "..."]:
    """2 σ(x)."""
    return MOST_TAX * jax.nn.sigmoid(x)


def asset_utility(assets: Float[Array, "*N"], scale: float) -> Float[Array, "*N"]:
    """U_k(s): k log(1 + s/20) for s > 0, and s below."""
    return jnp.where(assets > 0, scale * jnp.log1p(jnp.maximum(assets, 0) / 20), assets)


def basket_utility(x: Taxes, preferences: Float[Array, "3"]) -> Float[Array, "125"]:
    """Π_i (c_i/(1 + y_i))^{α_i} of every basket.

    As Π c_i^{α_i} · Π (1 + y_i)^{-α_i}: c never varies, so that the infinite derivative in c at
    c = 0 is never asked for.
    """
    baskets = BASKETS.copy()
    logs = jnp.log(jnp.where(baskets > 0, baskets, 1.0)) - jnp.log1p(tax(x["goods"]))
    return jnp.where((baskets > 0).all(1), jnp.exp(logs @ preferences), 0.0)


def basket_welfare(x: Taxes) -> Float[Array, "10 13 125"]:
    """What the state has of hours h and a basket: consumption and receipts."""
    goods, baskets = tax(x["goods"]), BASKETS.copy()
    consumption = jnp.mean(baskets / (1 + goods), axis=-1) / BASKETS.max()
    receipts = (baskets / (1 + goods)) @ goods + tax(x["income"]) * HOURS.copy()[:, None]
    welfare = 15 * consumption + 5 * jnp.log1p(receipts)
    return jnp.broadcast_to(welfare[:, None], (len(HOURS), len(SPENDING), len(BASKETS)))


class Simulated(eqx.Module):
    """Discounted sums of N households (N,): the state's, and their own without entropy."""

    welfare: Float[Array, "N"]
    utility: Float[Array, "N"]


@eqx.filter_jit
def simulate(
    households: Households,
    x: Taxes,
    preferences: Float[Array, "3"],
    log_policy: Float[Array, "S A"],
    key: Key[Array, ""],
    walkers: int = 2000,
    steps: int = 200,
) -> Simulated:
    """Play a policy in the continuous assets; between grid points log π is interpolated.

    Args:
        households: whose grid `log_policy` has.
        x: the taxes, as logits.
        preferences: α of the type.
        log_policy: log π(h, z | s) on the grid.
        key: a typed JAX key.
        walkers: N.
        steps: of an episode; what comes later is discounted by 0.9^200.
    """
    spacing = households.assets[1] - households.assets[0]
    last = len(households.assets) - 2
    baskets = jnp.cumsum(households.baskets(x, preferences), axis=-1)
    welfare, utility = basket_welfare(x)[:, 0], basket_utility(x, preferences)
    keep = 1 - tax(x["income"])

    def step(carry, key):
        assets, weight = carry
        act, buy, luck = jax.random.uniform(key, (3, walkers), assets.dtype)
        place = (assets + LIMIT) / spacing
        below = jnp.clip(place.astype(jnp.int32), 0, last)
        share = (place - below)[:, None]
        logs = (1 - share) * log_policy[below] + share * log_policy[below + 1]
        pair = invert(jnp.cumsum(jax.nn.softmax(logs), axis=-1), act)
        hour, spent = jnp.divmod(pair, len(SPENDING))
        basket = invert(baskets[spent], buy)
        own = asset_utility(assets, 1.0) - EFFORT * jnp.asarray(HOURS)[hour] ** 2 + utility[basket]
        states = asset_utility(assets, 0.0) + welfare[hour, basket]
        after = assets + keep * jnp.asarray(HOURS)[hour] - jnp.asarray(SPENDING)[spent]
        assets = _cut_normal(luck, jnp.clip(after, -LIMIT, LIMIT), NOISE)
        return (assets, weight * DISCOUNT), (weight * states, weight * own)

    first, key = jax.random.split(key)
    uniform = jax.random.uniform(first, (walkers,), households.assets.dtype)
    start = _cut_normal(uniform, jnp.zeros(walkers), np.sqrt(2.0)), jnp.ones(())
    _, sums = jax.lax.scan(step, start, jax.random.split(key, steps))
    return Simulated(*(column.sum(0) for column in sums))


def _edges(assets):
    """Where rounding to the nearest grid point goes from one to the next, and the two ends."""
    xp = np if isinstance(assets, np.ndarray) else jnp
    middles = (assets[1:] + assets[:-1]) / 2
    return xp.concatenate([assets[:1], middles, assets[-1:]])


def _on_grid(assets: Float[Array, "S"], mean: Float[Array, "*N"]) -> Float[Array, "*N S"]:
    """The law of s' with that m, each outcome rounded to the nearest grid point."""
    below = ndtr((_edges(assets) - mean[..., None]) / NOISE)
    return jnp.diff(below) / (below[..., -1:] - below[..., :1])


def _cut_normal(
    uniform: Float[Array, "*N"], mean: Float[Array, "*N"], deviation: float
) -> Float[Array, "*N"]:
    """A draw from a normal law cut at ±100."""
    low, high = (ndtr((bound - mean) / deviation) for bound in (-LIMIT, LIMIT))
    drawn = mean + deviation * ndtri(low + uniform * (high - low))
    return jnp.clip(drawn, -LIMIT, LIMIT)
