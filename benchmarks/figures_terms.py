"""The two terms of the hyper-gradient apart, over training and over the state space of Pendulum.

python benchmarks/figures_terms.py [--figure docs/figures/rlhf-terms.png] [--steps 60000]

Learns a reward for Pendulum, whose state is an angle and a velocity, from preferences, with an
implicit term of horizon 10: the moving mean that the reward follows, or with `--data queue` what a
batch of answered pairs makes of it. The rows of the figure: how long the terms are, how they lie to
each other, and whether they raise the reward of states in which the follower is not, round by
round; and, in the middle of training, what a step against each term alone would do to the reward of
every state, with a line around the states in which the follower is.
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from machine import header
from sobirl.deep.follower import FollowerView
from sobirl.deep.preference_learning import LearningState
from sobirl.deep.reward_learning import RewardLearner
from sobirl.experiments.rlhf import RLHFRun
from sobirl.experiments.rlhf.rounds import Rounds

TERMS = ("explicit", "implicit")
COLORS = ("#0173b2", "#de8f05")
HORIZON, BATCH, SIDE = 10, 256, 61
ANGLES, VELOCITIES = np.linspace(-np.pi, np.pi, SIDE), np.linspace(-8, 8, SIDE)


def main() -> None:
    """Run, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/rlhf-terms.png"))
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--data", default="fresh", choices=("fresh", "queue"), help="of the term")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", False)
    run = RLHFRun(
        env="Pendulum-v1",
        horizon=HORIZON,
        implicit_data=options.data,
        implicit_actions=8,
        steps=options.steps,
        pairs=300,
        eval_every=2,
    )
    rows, maps = [], None
    with Rounds.open(run, 0) as rounds:
        state = rounds.begin()
        for number in range(rounds.total):
            state, row = rounds.round(state)
            rows.append(row)
            here = maps_of(rounds, state.learning)
            row |= {f"{term}_afar": afar(here[term], here["visits"]) for term in TERMS}
            maps = here if number == rounds.total // 2 else maps
    print(header())
    for name in ("implicit_ratio", "implicit_cosine", "eval_return"):
        print(name, [round(row[name], 3) for row in rows])
    for term in TERMS:
        values = np.array([row[f"{term}_afar"] for row in rows])
        print(
            f"the {term} term favors states that are not visited in {np.sum(values > 0)} of "
            f"{np.isfinite(values).sum()} rounds, by {np.nanmean(values):+.2f} standard deviations "
            "in the mean"
        )
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    draw(rows, maps).savefig(options.figure, dpi=150)


_terms = eqx.filter_jit(RewardLearner.terms)


def maps_of(rounds: Rounds, state: LearningState) -> dict[str, np.ndarray]:
    """Over the states: the reward, what each term does to it, and the states that were visited."""
    learning = rounds.learning
    batch = state.answers.queue.sample(jax.random.key(1), BATCH)
    learner, follower = state.loop[0], learning.learner.follower
    explicit, implicit, *_ = _terms(
        learning.rewards,
        state.reward.model,
        batch,
        FollowerView(
            follower,
            learner.follower,
            steps=learner.steps,
            records=learner.vector_steps,
            environments=learning.loop.environments,
        ),
        jax.random.key(2),
    )
    if state.leading is not None:
        implicit = state.leading.mean.mean
    angle, velocity = (grid.ravel() for grid in np.meshgrid(ANGLES, VELOCITIES))
    states = jnp.array(np.stack([np.cos(angle), np.sin(angle), velocity], axis=1), jnp.float32)
    action = follower.mode(learner.follower, states)

    reward, by_explicit = _moved(state.reward.model, explicit, states, action)
    _, by_implicit = _moved(state.reward.model, implicit, states, action)
    fields = {"reward": reward, "explicit": by_explicit, "implicit": by_implicit}
    maps = {name: np.asarray(field).reshape(SIDE, SIDE) for name, field in fields.items()}
    return maps | {"visits": visits_of(learning, learner)}


@eqx.filter_jit
def _moved(model, term, states, action):
    """The reward, and what a step against a term does to it, to first order."""
    against = jax.tree.map(jnp.negative, term)
    return jax.jvp(lambda model: model(states, action), (model,), (against,))


def visits_of(learning, learner) -> np.ndarray:
    """How often the follower was in every cell of the grid in the latest two rounds."""
    _, count = learning.learner.replay.ring(learner.replay)
    recent = learner.replay.experience.observation[:, : int(count)][:, -2 * learning.calls :]
    cosine, sine, velocity = np.asarray(recent).reshape(-1, 3).T
    box = (-8, 8), (-np.pi, np.pi)
    return np.histogram2d(velocity, np.arctan2(sine, cosine), SIDE, box)[0]


def afar(field: np.ndarray, visits: np.ndarray) -> float:
    """How much more a field has in all states than where the follower is, in its own spread."""
    spread = field.std()  # 0 before the first estimate
    gap = field.mean() - np.average(field, weights=visits)
    return float(gap / spread) if spread else float("nan")


def draw(rows: list[dict], maps: dict[str, np.ndarray]) -> Figure:
    """Two rows of three panels."""
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    over_training, over_states = figure.subplots(2, 3)
    steps = np.array([row["environment_steps"] for row in rows]) / 1000
    panels = (
        ("Length: implicit over explicit term", "ratio", {"": "implicit_ratio"}),
        ("Direction: cosine between the terms", "0: at right angles", {"": "implicit_cosine"}),
        (
            "Does a step favor states not visited?",
            "no  ←  deviations  →  yes",
            {term: f"{term}_afar" for term in TERMS},
        ),
    )
    for axes, (title, label, curves) in zip(over_training, panels, strict=True):
        for name, color in zip(curves, COLORS, strict=False):
            axes.plot(steps, [row[curves[name]] for row in rows], color=color, label=name)
        axes.set(title=title, xlabel="thousand environment steps", ylabel=label)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    over_training[0].set_yscale("log")
    for axes in over_training[1:]:
        axes.axhline(0, color="gray", lw=0.8)
    over_training[2].legend(frameon=False)
    titles = {
        "reward": "Half-way: the reward so far",
        "explicit": "A step against the explicit term adds",
        "implicit": "A step against the implicit term adds",
    }
    box = (-np.pi, np.pi, -8, 8)
    for axes, (name, title) in zip(over_states, titles.items(), strict=True):
        field = maps[name]
        bound = np.abs(field).max()
        kind = (
            {"cmap": "viridis"}
            if name == "reward"
            else {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
        )
        image = axes.imshow(field, origin="lower", extent=box, aspect="auto", **kind)
        often = maps["visits"] > 0
        axes.contour(often, (0.5,), extent=box, colors="black", linewidths=0.8)
        axes.set(title=title, xlabel="angle (0 is upright)", ylabel="velocity")
        figure.colorbar(image, ax=axes)
    figure.suptitle("The two terms on Pendulum, round by round (black lines: states visited)")
    return figure


if __name__ == "__main__":
    main()
