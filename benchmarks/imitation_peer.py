"""Preference comparisons with `imitation` 1.0.1: what `bench_rlhf_throughput.py` measures beside.

Runs in an environment of its own, because it needs an old Gymnasium:

python -m venv peer
peer/bin/pip install imitation==1.0.1 gymnasium==0.29.1 'setuptools<80' mujoco imageio
peer/bin/python benchmarks/imitation_peer.py Pendulum-v1 50000

Its settings are those of its own tutorial; one torch thread, which is its fastest here. Prints one
JSON line: seconds of the whole process from its first line on, the environment steps that were
really taken, and the true return over time, with the seconds of evaluation taken out.
"""

import json
import sys
import time

START = time.perf_counter()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from imitation.algorithms import preference_comparisons as pc  # noqa: E402
from imitation.policies.base import FeedForward32Policy, NormalizeFeaturesExtractor  # noqa: E402
from imitation.rewards.reward_nets import BasicRewardNet  # noqa: E402
from imitation.util.networks import RunningNorm  # noqa: E402
from imitation.util.util import make_vec_env  # noqa: E402
from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402

COMPARISONS = 200
EPISODES = 20


class CountedSteps:
    """Counts the steps that vectorized environments really take."""

    def __init__(self, venv):
        self.steps, self._step_wait, self._count = 0, venv.step_wait, venv.num_envs
        venv.step_wait = self._counted

    def _counted(self):
        self.steps += self._count
        return self._step_wait()


def main(env: str, steps: int, num_envs: int = 8, seed: int = 0) -> None:
    """One run."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    variable = env == "CartPole-v1"  # episodes of different lengths, which it refuses unless told
    venv = make_vec_env(env, rng=rng, n_envs=num_envs)
    counted = CountedSteps(venv)
    watched = make_vec_env(env, rng=np.random.default_rng(seed + 1), n_envs=EPISODES)
    reward = BasicRewardNet(
        venv.observation_space, venv.action_space, normalize_input_layer=RunningNorm
    )
    agent = PPO(
        policy=FeedForward32Policy,
        policy_kwargs={
            "features_extractor_class": NormalizeFeaturesExtractor,
            "features_extractor_kwargs": {"normalize_class": RunningNorm},
        },
        env=venv,
        seed=seed,
        n_steps=2048 // num_envs,
        batch_size=64,
        ent_coef=0.01,
        learning_rate=2e-3,
        clip_range=0.1,
        gae_lambda=0.95,
        gamma=0.97,
        n_epochs=10,
    )
    learning = pc.PreferenceComparisons(
        pc.AgentTrainer(
            algorithm=agent, reward_fn=reward, venv=venv, exploration_frac=0.05, rng=rng
        ),
        reward,
        num_iterations=10,
        fragmenter=pc.RandomFragmenter(warning_threshold=0, rng=rng),
        preference_gatherer=pc.SyntheticGatherer(rng=rng),
        reward_trainer=pc.BasicRewardTrainer(
            preference_model=pc.PreferenceModel(reward),
            loss=pc.CrossEntropyRewardLoss(),
            epochs=3,
            rng=rng,
        ),
        fragment_length=8 if variable else 100,
        transition_oversampling=1,
        initial_comparison_frac=0.1,
        allow_variable_horizon=variable,
        initial_epoch_multiplier=4,
        query_schedule="hyperbolic",
    )
    curve, watching = [], 0.0

    def watch(_: int) -> None:
        nonlocal watching
        before = time.perf_counter()
        value, _ = evaluate_policy(agent, watched, EPISODES, deterministic=False)
        curve.append((before - START - watching, counted.steps, float(value)))
        watching += time.perf_counter() - before

    learning.train(total_timesteps=steps, total_comparisons=COMPARISONS, callback=watch)
    seconds = time.perf_counter() - START - watching
    print(json.dumps({"seconds": seconds, "steps": counted.steps, "curve": curve}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:]))
