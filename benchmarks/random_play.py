"""What uniformly random actions win in an Atari game.

python benchmarks/random_play.py ALE/Krull-v5 [--episodes 32]
"""

import argparse

import numpy as np

from sobirl.deep.envs import make
from sobirl.experiments.rlhf.rounds import standard_error


def main() -> None:
    """The mean over whole games, begun and preprocessed as in an evaluation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("game")
    parser.add_argument("--episodes", type=int, default=32)
    asked = parser.parse_args()
    random = np.random.default_rng(0)
    returns, running = np.zeros(asked.episodes), np.ones(asked.episodes, bool)
    with make(asked.game, asked.episodes, screen=48) as games:
        games.reset(0)
        while running.any():
            step = games.step(random.integers(0, games.spec.actions.num, asked.episodes))
            returns += np.where(running, step.reward, 0)
            running &= ~(step.terminated | step.truncated)
    print(f"{asked.game}: {returns.mean():.0f} ± {standard_error(returns):.0f}")


if __name__ == "__main__":
    main()
