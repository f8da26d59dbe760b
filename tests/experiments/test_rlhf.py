"""`sobirl run rlhf`: what it writes, how it is stopped and goes on, and what it refuses."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import typing

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import sobirl as sb
from arguments import options_from
from runs.conftest import sobirl
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import Discrete, EnvSpec, make
from sobirl.deep.followers import FOLLOWERS, Entry
from sobirl.deep.host_loop import HostLoop
from sobirl.deep.leaders.preference_loss import PreferenceLoss
from sobirl.deep.leaders.win_rate import WinRate
from sobirl.experiments.rlhf import RLHFRun
from sobirl.experiments.rlhf.learning import follower_of, learning_of
from sobirl.experiments.rlhf.rounds import Rounds
from sobirl.experiments.rlhf.settings import Settings
from sobirl.prefs import SELECTIONS

pytestmark = pytest.mark.usefixtures("unrendered")

SMALL = "run rlhf --quiet --num-envs 4 --round-steps 40 --fragment-length 5 --random-steps 20"
SMALL += " --batch 8 --replay 200 --pairs 12 --steps 120 --epochs 1 --first-epochs 1"
SMALL += " --held-out 0.2 --reward-deviation 0.5 --crop 0.3"
SMALL += " --eval-episodes 2 --eval-steps 9 --eval-every 2 --checkpoint-seconds 0 --clips 0"
ALWAYS = "step objective hypergradient_norm seed eval_return environment_steps episodes true_return"
ALWAYS += " eval_error episode_length critic_loss entropy q temperature"
OF_REWARDS = "pairs asked implicit_ratio implicit_cosine preference_accuracy passes"
OF_REWARDS += " implicit_agreement held_out_loss held_out_accuracy held_out_calibration"


def small(out, *more):
    return sobirl(*SMALL.split(), *more, "--out", out)


def rows_of(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def summary_of(run):
    return json.loads((run / "summary.json").read_text())


def outcome(run):
    """All that must not depend on what happened on the way."""
    summary = summary_of(run)
    del summary["metrics"]["steps_per_second"]
    return {k: v for k, v in summary.items() if not k.endswith("_seconds")}, (
        run / "metrics.csv"
    ).read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two seeds of three rounds each."""
    run = tmp_path_factory.mktemp("rlhf") / "run"
    code, printed, error = small(run, "--seeds", 2, "--seed", 5)
    assert (code, error) == (0, "")
    assert "CartPole-v1, sobirl, 12 pairs, 120 steps" in printed
    return run


def test_what_a_run_leaves(whole):
    summary = summary_of(whole)
    assert (summary["problem"], summary["method"]) == ("rlhf", "sobirl")
    assert (summary["steps"], summary["starts"]) == (6, 2)
    assert summary["resumes_exactly"]
    settings = summary["settings"]  # the options, and what the preset chose
    assert settings["pairs"] == 12 and settings["temperature"] == "auto"
    assert settings["widths"] == [64, 64]
    metrics = summary["metrics"]
    assert metrics["true_return"] == np.mean(metrics["true_returns"]) == 9  # of 9 steps
    assert metrics["best_evaluation"] == 9 and metrics["true_return_error"] == 0
    assert (whole / "figures" / "learning.png").read_bytes()[:4] == b"\x89PNG"


def test_rows(whole):
    rows = rows_of(whole)
    assert set(rows[0]) == {*ALWAYS.split(), *OF_REWARDS.split()}
    assert [row["step"] for row in rows] == list("123456")
    assert [float(row["seed"]) for row in rows] == [5] * 3 + [6] * 3
    # The second round of each seed, and the last.
    evaluated = [np.isfinite(float(row["eval_return"])) for row in rows]
    assert evaluated == [False, True, True] * 2
    for seed in (rows[:3], rows[3:]):
        assert sum(int(row["asked"]) for row in seed) == int(seed[-1]["pairs"]) == 12
        steps = [int(row["environment_steps"]) for row in seed]
        assert 30 < steps[0] < steps[1] < steps[2] <= 120
    first, second = ([row["objective"] for row in seed] for seed in (rows[:3], rows[3:]))
    assert first != second


def test_what_was_learned_comes_back_as_functions(whole):
    run = sb.load_run(whole)
    assert len(run.history["eval_return"]) == 6
    observation = np.array([0.01, 0.02, -0.01, 0.03], np.float32)
    actions = [int(run.policy(observation, seed=seed)) for seed in range(30)]
    assert set(actions) == {0, 1}
    assert actions == [int(run.policy(observation, seed=seed)) for seed in range(30)]
    assert run.policy(observation, greedy=True) == run.policy(observation, seed=7, greedy=True)
    rewards = [run.reward(observation, action) for action in (0, 1)]
    assert np.isfinite(rewards).all() and rewards[0] != rewards[1]
    with pytest.raises(sb.InvalidInputError, match=r"observation: expected shape \(4,\), got \(3,"):
        run.policy(np.zeros(3))


def test_nothing_learned_yet(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "checkpoint.npz").unlink()
    (run / "learned.npz").unlink()
    with pytest.raises(sb.InvalidInputError, match="nothing is kept yet"):
        sb.load_run(run)


def test_a_seed_alone_is_what_it_is_among_others(whole, tmp_path):
    assert small(tmp_path / "run", "--seed", 6)[0] == 0
    alone = [{**row, "step": ""} for row in rows_of(tmp_path / "run")]
    assert alone == [{**row, "step": ""} for row in rows_of(whole)[3:]]


# In the midst of a seed, and between two.
@pytest.mark.parametrize("rounds", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(whole, tmp_path, monkeypatch, rounds):
    run, one_round = tmp_path / "run", Rounds.round

    def stopped(self, state):
        after, row = one_round(self, state)
        if after.step == rounds:
            os.kill(os.getpid(), signal.SIGINT)
        return after, row

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "round", stopped)
        code, _, error = small(run, "--seeds", 2, "--seed", 5)
    assert code == 130
    assert f"{rounds} steps are kept, go on with: sobirl resume" in error
    assert len(rows_of(run)) == rounds and not (run / "summary.json").exists()
    assert sobirl("show", run)[0] == 0
    assert sobirl("resume", run)[0] == 0
    assert outcome(run) == outcome(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        "--objective win-rate --judges 1 --reward-linear --reward-inputs 0 2",
        "--objective win-rate --reference uniform --random-steps 28",
        "--objective kl --members 2 --horizon 1",
        "--objective mrn",
        "--preset authors --implicit-from 50",
    ],
)
def test_what_a_leader_remembers_is_kept(tmp_path, monkeypatch, more):
    one_round = Rounds.round

    def stopped(self, state):
        after, row = one_round(self, state)
        if after.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return after, row

    assert small(tmp_path / "whole", *more.split())[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "round", stopped)
        assert small(tmp_path / "run", *more.split())[0] == 130
    assert sobirl("resume", tmp_path / "run")[0] == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    ratios = [float(row["implicit_ratio"]) for row in rows_of(tmp_path / "run")]
    assert ratios[0] == 0 < ratios[-1]


_KILLED = """
import os, signal, sys
from sobirl.apps.cli import main
from sobirl.experiments.rlhf.rounds import Rounds

one_round = Rounds.round

def killed(self, state):
    after, row = one_round(self, state)
    if after.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return after, row

Rounds.round = killed
main(sys.argv[1:])
"""


@pytest.mark.slow  # stopped in this process: above
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(whole, tmp_path):
    """In another process, whose third round is lost."""
    run = tmp_path / "run"
    arguments = [*SMALL.split(), "--seeds", "2", "--seed", "5", "--out", str(run)]
    process = subprocess.run([sys.executable, "-c", _KILLED, *arguments], capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert len(rows_of(run)) == 2 and not (run / "summary.json").exists()
    assert sobirl("resume", run)[0] == 0
    assert outcome(run) == outcome(whole)


def test_without_a_camera_a_run_says_so(monkeypatch):
    monkeypatch.setattr("sobirl.deep.envs.pictures._CONTROL", {})
    options = options_from(RLHFRun, [*SMALL.split()[2:], "--clips", "1"])
    outcome = options.run()
    assert set(outcome.files) == {"learned.npz", "learned.json"}
    assert "episode" not in outcome.figures
    assert outcome.report[-1] == "note: there is no clip: CartPole-v1: there is no way to draw it"


@pytest.mark.slow  # programs of its own; the follower that tosses coins explores first, too
def test_exploration_before_the_first_question():
    more = ["--method", "drlhf", "--pretrain-steps", "80"]
    options = options_from(RLHFRun, [*SMALL.split()[2:], *more])
    history = options.run().history
    assert history["asked"].tolist() == [0, 2, 10]
    assert np.isnan(history["objective"]).tolist() == [True, False, False]


SPEC = EnvSpec("game", (84, 84), np.dtype(np.uint8), Discrete(9), "atari", frame_stack=4)


def test_presets():
    """What is set counts, then what has a name, then what suits the environment."""
    usual = Settings(env="ALE/BeamRider-v5", batch=7).resolved(SPEC)
    paper = Settings(env="ALE/BeamRider-v5", preset="paper", pairs=5).resolved(SPEC)
    assert (usual.batch, usual.pairs, usual.first_epochs) == (7, 300, 32)
    assert (paper.batch, paper.pairs, paper.first_epochs) == (64, 5, 512)
    assert usual.learning_rate == paper.learning_rate == 1e-4
    assert usual.temperature == paper.temperature == "auto"
    assert Settings(target_entropy=0.1).resolved(SPEC).temperature == "auto"


@pytest.fixture
def single():
    """Networks are in single precision."""
    with jax.enable_x64(False):
        yield


@pytest.mark.usefixtures("single")
def test_the_settings_of_the_authors():
    """In any environment: the implicit term in every batch of the queue, as their code has it."""
    loop = CompiledLoop(*(make("CartPole-v1", count) for count in (64, 1)))
    ours, theirs = (learning_of(Settings(preset=preset), loop) for preset in (None, "authors"))
    assert theirs.leading is None and ours.rewards.implicit is None
    leader, term = ours.leading.leader, theirs.rewards.implicit
    assert isinstance(leader, PreferenceLoss) and not leader.subtract_entropy
    assert ours.leading.start == 2 * 5120 and ours.leading.fragments == 512
    assert (term.start, term.baseline, term.off_policy, term.dropout) == (
        10**5,
        False,
        "none",
        True,
    )
    assert theirs.rewards.largest_ratio == np.inf and theirs.whole_fragments
    assert not ours.whole_fragments
    follower = theirs.learner.follower
    assert follower.target_entropy is None and follower.reward_clip == 1
    assert follower.default_target_entropy() == pytest.approx(0.89 * np.log(2))
    fresh = learning_of(Settings(preset="paper", implicit_data="fresh", steps=40_000), loop)
    assert fresh.leading is not None and fresh.rewards.implicit is None


def test_small_atari_sees_signs():
    """A tenth of the sign of points, which are whole numbers; smaller rewards are as learned."""
    spec = EnvSpec("ALE/Krull-v5", (48, 48), np.dtype(np.uint8), Discrete(18), "atari", 4)
    chosen = Settings(env="ALE/Krull-v5", preset="small-atari").resolved(spec)
    seen = follower_of(spec, chosen).seen(jnp.array([-200.0, 0.0, 1.0, 50.0, 0.05]))
    np.testing.assert_allclose(seen, [-0.1, 0, 0.1, 0.1, 0.05], rtol=1e-6)


@pytest.mark.usefixtures("single")
def test_the_rewards_of_boards():
    """Where most pairs are ties; what is said counts more than the preset."""
    loop = CompiledLoop(*(make("Asterix-MinAtar", count) for count in (32, 1)))
    usual, plain = (
        learning_of(Settings(**options), loop)
        for options in (
            {},
            {"reward_deviation": "none", "reward_pooling": False, "members": 1, "held_out": 0.0},
        )
    )
    assert usual.selection == "decisiveness" and usual.held_out == 0.1
    assert usual.rewards.normalization.center == "median"
    assert usual.fragment_length == 8 and usual.candidates == 24
    members = jax.eval_shape(usual.model, key=jax.random.key(0)).ensemble.members
    assert len(members) == 3 and members[0].pooled
    assert plain.rewards.normalization is None and plain.held_out == 0
    (member,) = jax.eval_shape(plain.model, key=jax.random.key(0)).ensemble.members
    assert not member.pooled


def test_every_selection_can_be_chosen():
    (names, _) = typing.get_args(Settings.__annotations__["selection"])
    assert typing.get_args(names) == tuple(SELECTIONS)


@pytest.mark.usefixtures("single")
def test_what_leads():
    loop = CompiledLoop(*(make("CartPole-v1", count) for count in (64, 1)))
    options = {"objective": "win-rate", "reference": "uniform", "judges": 2, "horizon": 3}
    leading = learning_of(Settings(**options, implicit_weight=2.0), loop).leading
    assert isinstance(leading.leader, WinRate) and leading.leader.reference == "uniform"
    assert leading.leader.weight == 2 and leading.leader.score.horizon == 3
    assert leading.leader.correction == 0.1
    judges = jax.eval_shape(leading.judges, key=jax.random.key(0))
    assert len(judges.ensemble.members) == 2
    chosen = learning_of(Settings(selection="entropy", implicit_from=99_999), loop).leading
    assert chosen.leader.correction == 0 and chosen.start == 99_999
    walked = learning_of(Settings(pretrain_steps=20_000, implicit_from=1), loop).leading
    assert walked.start == 25_120


@pytest.mark.usefixtures("single")
def test_judges_are_not_restricted():
    loop = CompiledLoop(*(make("CartPole-v1", count) for count in (64, 1)))
    options = {"objective": "win-rate", "judges": 1, "reward_linear": True, "reward_inputs": (1, 3)}
    learning = learning_of(Settings(**options), loop)
    reward, judge = (
        make(key=jax.random.key(0)) for make in (learning.model, learning.leading.judges)
    )
    (*_, member), (other,) = reward.ensemble.members, judge.ensemble.members
    assert not member.layers and member.inputs == (1, 3) and member.head.weight.shape == (2, 2)
    assert len(other.layers) == 2 and other.inputs is None
    seen = jnp.array([[9.0, 1.0, -7.0, 2.0], [0.0, 1.0, 0.0, 2.0]])
    alike, apart = (np.asarray(each.table(seen)[0]) for each in (reward, judge))
    np.testing.assert_array_equal(alike[0], alike[1])
    assert (apart[0] != apart[1]).all()


@pytest.mark.slow  # programs of its own; `deep/test_reward_learning.py` has such rewards
def test_a_restricted_reward_comes_back(tmp_path):
    more = ["--method", "drlhf", "--reward-linear", "--reward-inputs", "2"]
    assert small(tmp_path / "run", *more)[0] == 0
    run = sb.load_run(tmp_path / "run")
    x = np.zeros((3, 4), np.float32)
    x[:, 2], x[:, 0] = [0, 1, 2], [5, -5, 3]
    rewards = [run.reward(each, 1) for each in x]
    assert rewards[0] != rewards[1]
    np.testing.assert_allclose(np.diff(rewards, 2), 0, atol=1e-5)


def test_the_run_of_the_paper():
    """Its numbers, see PROBLEMS section 6, as what they become."""
    settings = Settings(env="ALE/BeamRider-v5", preset="paper")
    with make("ALE/BeamRider-v5", 8, episodic_life=True) as games:
        learning = learning_of(settings, HostLoop(games, games))
        settings = settings.resolved(games.spec)
    assert settings.episodic_life and settings.num_envs == 8
    follower, rewards = learning.learner.follower, learning.rewards
    assert follower.decay_updates == 2_000_000 and follower.target_period == 2000
    assert (follower.reward_clip, follower.adam_eps, follower.temperature) == (1, 1e-4, None)
    assert len(learning.pairs) == 400 and learning.pairs[0] == 600
    assert 2500 < sum(learning.pairs) < 3500  # of the 9,000 of 2,000 rounds
    assert (learning.capacity, learning.first_epochs, learning.epochs) == (3000, 512, 1)
    assert rewards.implicit.weight == 1 and rewards.implicit.horizon == 0
    assert learning.held_out == 0 and rewards.normalization is None and rewards.crop == 0
    assert learning.selection == "uniform"
    assert rewards.implicit.start == 100_000 and settings.oracle.clip_rewards
    network = jax.eval_shape(learning.model, key=jax.random.key(0)).ensemble.members[0]
    assert [layer.out_channels for layer in network.convolutions] == [16] * 4
    assert len(network.normalizations) == 4 and network.dropout == 0.5
    assert network.head.out_features == 9


def test_ground_truth_on_the_host():
    """Gymnasium's environments and a follower that has the true reward."""
    more = "--method ground-truth --backend gymnasium --steps 80 --clips 1 --clip-steps 5"
    options = options_from(RLHFRun, [*SMALL.split()[2:], *more.split()])
    options.validate()
    outcome = options.run()
    history, summary = outcome.history, outcome.summary
    assert {"step", *history} == set(ALWAYS.split())
    assert np.isnan(history["objective"]).all() and len(history["objective"]) == 2
    assert 60 < history["environment_steps"][-1] <= 80
    assert summary["method"] == "ground-truth" and summary["resumes_exactly"]
    assert summary["metrics"]["true_return"] == 9  # of 9 steps
    (table,) = outcome.report  # no note that episodes would begin anew
    assert "preferences predicted" not in list(table.columns[0].cells)
    assert len(outcome.figures["learning"]().axes) == 1
    assert set(outcome.files) == {"clips/episode-1.webp", "learned.npz", "learned.json"}
    assert Image.open(io.BytesIO(outcome.files["clips/episode-1.webp"])).n_frames <= 6
    assert set(outcome.figures) == {"learning"}  # nothing was learned of the reward


@pytest.mark.parametrize("backend", ["gymnax", pytest.param("gymnasium", marks=pytest.mark.slow)])
def test_nothing_of_a_follower_is_used_but_what_is_declared(monkeypatch, backend):
    """And a line in the table is all that the command line needs to have another one."""
    monkeypatch.setitem(FOLLOWERS, "coin", Entry("tosses a coin", discrete="coin:Coin"))
    more = f"--follower coin --backend {backend} --pretrain-steps 40 --eval-greedy --horizon"
    more += " 0" if backend == "gymnasium" else " 1"  # rollouts too
    words = [*SMALL.replace("--clips 0", "--clips 1 --clip-steps 2").split()[2:], *more.split()]
    outcome = options_from(RLHFRun, words).run()
    assert {"step", *outcome.history} >= {"mean_reward", "implicit_ratio", "eval_return"}
    assert outcome.history["implicit_ratio"][-1] > 0
    assert "clips/episode-1.webp" in outcome.files
    assert set(outcome.figures) == {"learning", "reward", "episode"}


BLOCKS = """
import gymnasium
import numpy as np


class Blocks(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    falls = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.height = 0
        return self.seen(), {}

    def step(self, action):
        self.height += int(action)
        assert self.height < 5 or not self.falls, "the tower fell"
        return self.seen(), float(action), self.height > 5, False, {}

    def seen(self):
        return np.array([self.height, 1], np.float32)


class Falling(Blocks):
    falls = True


gymnasium.register("TestBlocks-v0", Blocks)
gymnasium.register("TestFalling-v0", Falling)
"""


@pytest.fixture
def blocks(tmp_path, monkeypatch):
    """A module of the user's, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sobirl_test_blocks.py").write_text(BLOCKS)
    known = dict(gymnasium.registry)
    yield "sobirl_test_blocks"
    sys.modules.pop("sobirl_test_blocks", None)
    gymnasium.registry.clear()
    gymnasium.registry.update(known)


@pytest.mark.slow  # programs of its own; what such environments do wrong is in the default run
def test_an_environment_of_the_users(blocks, tmp_path):
    run = tmp_path / "run"
    code, _, error = small(run, "--env", f"{blocks}:TestBlocks-v0", "--method", "drlhf")
    assert (code, error) == (0, "")
    assert len(rows_of(run)) == 3 and summary_of(run)["resumes_exactly"] is False


def test_an_environment_of_the_users_that_fails(blocks, tmp_path):
    code, _, error = small(tmp_path / "run", "--env", f"{blocks}:TestFalling-v0")
    assert code == 2 and error.count("\n") == 1
    assert f"{blocks}:TestFalling-v0: its step raised AssertionError: the tower fell" in error
    assert "(sobirl_test_blocks.py, line 18, in step)" in error
    told = (tmp_path / "run" / "error.txt").read_text()
    assert told.startswith("Traceback") and "AssertionError: the tower fell" in told


@pytest.mark.slow  # the default run has a stranger's, above
@pytest.mark.parametrize("name", [name for name in FOLLOWERS if name != "sac"])
def test_any_follower_can_be_chosen(name):
    """On the host, whose loop carries the follower apart from all else."""
    more = f"--follower {name} --backend gymnasium --steps 80"
    options = options_from(RLHFRun, [*SMALL.split()[2:], *more.split()])
    outcome = options.run()
    assert outcome.summary["settings"]["follower"] == name
    assert outcome.history["implicit_ratio"][0] == 0 < outcome.history["implicit_ratio"][-1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--env NoSuchGame-v0", "NoSuchGame-v0"),
        ("--follower ppo", '"sac", "soft-q"'),
        ("--env no_such_module:Game-v0", "there is no module no_such_module, neither in the"),
        ("--follower soft-q --env Pendulum-v1", "soft-q cannot take the continuous actions of Pen"),
        ("--env CartPole-v1 --backend atari", "CartPole-v1"),
        ("--method dpo", '"sobirl", "drlhf", "ground-truth"'),
        ("--pairs 0", "--pairs should be greater than or equal to 1, got 0"),
        ("--steps 0", "--steps should be greater than or equal to 1, got 0"),
        ("--widths 0 8", "--widths should be greater than or equal to 1, got 0 8"),
        ("--temperature 1 --target-entropy 0.1", "--temperature must be auto with --target"),
        ("--pretrain-steps 120", "--pretrain-steps 120: must leave rounds of the --steps 120"),
        ("--preset atari", 'Choose from: "authors", "paper"'),
        ("--initial-pairs 99", "--initial-pairs must be at most --pairs, got 99"),
        ("--initial-pairs -1", "--initial-pairs should be greater than or equal to 0, got -1"),
        ("--discount 1", "--discount should be less than 1, got 1"),
        ("--temperature 0", "--temperature should be 'auto' or should be greater than 0, got 0"),
        ("--implicit-ratio nan", "--implicit-ratio should be greater than 0, got nan"),
        ("--num-envs 0", "--num-envs should be greater than or equal to 1, got 0"),
        ("--updates-per-step 0.3", "updates_per_step: 0.3 makes 1.2 updates"),
        ("--fragment-length 60 --steps 40", "--fragment-length 60: the 4 environments take 10"),
        ("--teacher-mistake 2", "mistake: must"),
        ("--teacher-temperature -1", "temperature: must be at least 0"),
        ("--objective return", '"loss", "kl", "win-rate"'),
        ("--objective kl --members 1", "--objective kl: needs --judges or several --members"),
        ("--objective kl --preset authors", "--objective must be loss with --implicit-data queue"),
        ("--reference later", '"earlier", "uniform"'),
        ("--objective win-rate --reference uniform", "reference: uniform needs more random steps"),
        ("--implicit-data old", '"fresh", "queue"'),
        ("--implicit-fragments 0", "--implicit-fragments should be greater than or equal to 1"),
        ("--implicit-fragments 3", "fragments: must be at least 4, got 3"),
        ("--implicit-momentum 1", "--implicit-momentum should be less than 1, got 1"),
        ("--correction 1.5", "--correction should be less than or equal to 1, got 1.5"),
        ("--implicit-weight -1", "--implicit-weight should be greater than or equal to 0, got -1"),
        ("--judges -1", "--judges should be greater than or equal to 0, got -1"),
        ("--backend gymnasium --horizon 1", "horizon: 1 of the implicit term needs environments"),
        ("--label-noise 1", "noise: must be in [0, 1)"),
        ("--selection best", '"uniform", "disagreement", "entropy", "information", "decisiven'),
        ("--held-out 1", "--held-out should be less than 1, got 1"),
        ("--crop -0.1", "--crop should be greater than or equal to 0, got -0.1"),
        ("--patience 0", "--patience should be greater than or equal to 1, got 0"),
        ("--reward-deviation 0", "--reward-deviation should be 'none' or should be greater th"),
        ("--reward-inputs 0 4", "--reward-inputs must be different numbers from 0 to 3, got 0 4"),
        ("--reward-inputs 1 1", "--reward-inputs must be different numbers from 0 to 3, got 1 1"),
        ("--reward-inputs -1", "--reward-inputs should be greater than or equal to 0, got -1"),
        ("--reward-linear --reward-pooling", "--reward-pooling must be off with --reward-linear"),
        ("--checkpoint-seconds -1", "--checkpoint-seconds should be greater than or equal to 0"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, printed, error = sobirl(*SMALL.split(), *args.split())
    assert (code, printed) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
