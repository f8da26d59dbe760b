"""Labels from files in `sobirl run rlhf`, those that a run gives back, and what it learned."""

import dataclasses
import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from experiments.test_rlhf import SMALL, outcome, rows_of, summary_of
from runs.conftest import sobirl
from sobirl.deep.envs import Continuous, Discrete, EnvSpec
from sobirl.deep.film import Film
from sobirl.experience import Fragment
from sobirl.experience.replay import Transitions
from sobirl.experiments.rlhf import figures
from sobirl.experiments.rlhf.labels import given
from sobirl.experiments.rlhf.learned import Learned
from sobirl.experiments.rlhf.learning import follower_of, model_of
from sobirl.experiments.rlhf.reward_map import reward_map
from sobirl.experiments.rlhf.rounds import Rounds
from sobirl.experiments.rlhf.settings import Settings
from sobirl.prefs import LabelledPair, PreferenceStore, read_labels, write_labels

pytestmark = pytest.mark.usefixtures("unrendered")

OFFLINE = SMALL.replace("--pairs 12 --steps 120", "--steps 80") + " --method drlhf"


def labelled(count, length=5, seed=0, environment="CartPole-v1", **changes):
    """Pairs of which the fragment with the greater third number is preferred; the last skipped."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        observation = draw.normal(size=(2, length, 4)).astype(np.float32)
        value = observation[..., 2].sum(axis=1)
        unknown = np.full((2, length), np.nan, np.float32)
        pair = Fragment(
            observation=observation,
            action=draw.integers(0, 2, (2, length)).astype(np.int32),
            reward=unknown,
            log_prob=unknown,
            mask=np.ones((2, length), bool),
            taken_at=np.zeros(2, np.int32),
        )
        label = float(value[0] > value[1]) if number < count - 1 else None
        yield LabelledPair(
            dataclasses.replace(pair, **changes), label, environment, labeller=f"p{number % 2}"
        )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "people.jsonl"
    write_labels(path, labelled(161))
    return path


@pytest.fixture(scope="module")
def offline(file, tmp_path_factory):
    """A run that has nothing but the file."""
    run = tmp_path_factory.mktemp("rlhf") / "run"
    more = ["--labels", file, "--first-epochs", 40, "--held-out", 0.25, "--reward-clip", "inf"]
    code, printed, error = sobirl(*OFFLINE.split(), *more, "--out", run)
    assert (code, error) == (0, "") and "people.jsonl" in printed
    return run


def test_a_reward_is_learned_without_a_teacher(offline):
    rows = rows_of(offline)
    assert [(row["pairs"], row["asked"]) for row in rows] == [("160", "0")] * 2
    assert float(rows[-1]["held_out_accuracy"]) > 0.8  # of 40 pairs
    settings = summary_of(offline)["settings"]
    assert settings["pairs"] == 0 and settings["labels"].endswith("people.jsonl")
    reward = sb.load_run(offline).reward
    values = [reward(np.array([0, 0, x, 0], np.float32), 0) for x in (-2.0, 0.0, 2.0)]
    assert values == sorted(values)


@pytest.mark.slow  # a run; labels without a teacher are above
def test_the_implicit_term_needs_no_teacher(file, tmp_path):
    """It is estimated from fresh fragments, which the members of the ensemble label."""
    words = OFFLINE.replace("--method drlhf", "--method sobirl").split()
    assert sobirl(*words, "--labels", file, "--out", tmp_path / "run")[0] == 0
    row = rows_of(tmp_path / "run")[-1]
    assert row["asked"] == "0" and float(row["implicit_ratio"]) > 0
    assert -1 <= float(row["implicit_agreement"]) <= 1


def test_labels_come_back_out_of_a_run_and_into_another(offline, file, tmp_path):
    """Who said it too, whether they are learned from or held out."""
    path = tmp_path / "again.jsonl"
    assert sobirl("export-labels", offline, path)[0] == 0
    found, wanted = read_labels(path), read_labels(file)[:-1]
    assert [one.labeller for one in found] == [one.labeller for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.label == other.label
        assert one.pair.observation.tobytes() == other.pair.observation.tobytes()
    code, _, error = sobirl("export-labels", offline, path)
    assert code == 2 and "exists; choose another or add --force" in error
    assert sobirl("export-labels", offline, path, "--force")[0] == 0


@pytest.mark.slow
def test_a_teacher_is_asked_beside_the_file_where_pairs_are_given(file, tmp_path):
    run, path = tmp_path / "run", tmp_path / "all.jsonl"
    more = ["--labels", file, "--pairs", 6, "--held-out", 0.25]
    assert sobirl(*OFFLINE.split(), *more, "--out", run)[0] == 0
    assert int(rows_of(run)[-1]["pairs"]) == 166
    assert sobirl("export-labels", run, path)[0] == 0
    found = read_labels(path)
    assert [one.labeller for one in found[158:]] == ["p0", "p1"] + [None] * 6
    assert all(np.isfinite(one.pair.reward).all() for one in found[160:])


def test_a_stopped_run_goes_on_with_its_file_as_if_nothing_had_been(
    offline, file, tmp_path, monkeypatch
):
    run, one_round = tmp_path / "run", Rounds.round

    def stopped(self, state):
        after, row = one_round(self, state)
        signal.raise_signal(signal.SIGINT)  # to this thread, whoever else would take it
        return after, row

    more = ["--labels", file, "--first-epochs", 40, "--held-out", 0.25, "--reward-clip", "inf"]
    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "round", stopped)
        code, _, error = sobirl(*OFFLINE.split(), *more, "--out", run)
    assert code == 130 and "sobirl resume" in error, error
    assert len(rows_of(run)) == 1
    kept = file.read_bytes()
    file.write_bytes(kept + kept[: kept.index(b"\n") + 1])
    code, _, error = sobirl("resume", run)
    assert code == 2 and "has changed since the run began" in error
    file.write_bytes(kept)
    assert sobirl("resume", run)[0] == 0
    assert outcome(run) == outcome(offline)


@pytest.mark.slow  # `test_rlhf.py` loads what was learned
def test_learned_arrays_are_those_of_the_checkpoint_bit_for_bit(offline, tmp_path, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(offline, copy)
    (copy / "learned.npz").unlink()
    by_checkpoint = sb.load_run(copy)
    monkeypatch.setattr(Rounds, "open", None)  # and no environment is made for the other
    by_arrays = sb.load_run(offline)
    draw = np.random.default_rng(0)
    for seed, observation in enumerate(draw.normal(size=(20, 4)).astype(np.float32)):
        for action in (0, 1):
            assert by_arrays.reward(observation, action) == by_checkpoint.reward(
                observation, action
            )
        assert by_arrays.policy(observation, seed) == by_checkpoint.policy(observation, seed)
    with np.load(offline / "learned.npz") as arrays:
        names = set(arrays.files)
    assert {name.partition(".")[0] for name in names} == {"policy", "reward"}
    assert not any("optimizers" in name for name in names)


@pytest.mark.parametrize("name", ["learned.npz", "learned.json"])
def test_damaged_arrays(offline, tmp_path, name):
    copy = tmp_path / "run"
    shutil.copytree(offline, copy)
    (copy / name).write_bytes((copy / name).read_bytes()[:100])
    with pytest.raises(sb.InvalidInputError, match=r"learned.json or learned.npz is damaged"):
        sb.load_run(copy)


def test_arrays_of_another_run(offline, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(offline, copy)
    about = json.loads((copy / "learned.json").read_text())
    about["settings"]["widths"] = [8, 8]
    (copy / "learned.json").write_text(json.dumps(about))
    with pytest.raises(sb.InvalidInputError, match=r"does not fit learned.json"):
        sb.load_run(copy)


@pytest.mark.parametrize(
    ("changes", "args", "message"),
    [
        ({"environment": "Acrobot-v1"}, "", "line 1: is of Acrobot-v1, the run of CartPole-v1"),
        ({"length": 6}, "", "line 1: has fragments of 6 steps, --fragment-length is 5"),
        ({"action": np.full((2, 5), 2, np.int32)}, "", "action: must be whole numbers from 0 to 1"),
        ({"observation": np.ones((2, 5, 3), np.float32)}, "", "expected the shape (4,), got (3,)"),
        ({"observation": np.ones((2, 6, 4), np.float32)}, "", "expected 5 frames for 5 steps, of"),
        ({}, "--horizon 1 --method sobirl", "--horizon must be 0 with --labels, got 1"),
        ({}, "--method ground-truth", "--method must be another with --labels, got ground-truth"),
        (
            {},
            "--method sobirl --implicit-data queue --off-policy importance",
            "line 1: log_prob: is missing, which --off-policy importance needs",
        ),
    ],
)
def test_a_file_that_does_not_fit(tmp_path, monkeypatch, changes, args, message):
    monkeypatch.chdir(tmp_path)
    write_labels("people.jsonl", labelled(3, **changes))
    words = [*OFFLINE.split(), *args.split(), "--labels", "people.jsonl"]
    code, printed, error = sobirl(*words)
    assert (code, printed) == (2, "")
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["people.jsonl"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "people.jsonl: is empty; expected labelled pairs"),
        ('{"version": 2}', "people.jsonl, line 1: version: is the newer 2"),
        ('{"version": 1, "env', "people.jsonl, line 1: is no JSON; the file seems to be cut off"),
    ],
)
def test_a_file_that_is_none(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.jsonl").write_text(text)
    code, printed, error = sobirl(*OFFLINE.split(), "--labels", "people.jsonl")
    assert (code, printed) == (2, "")
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["people.jsonl"]


def test_skipped_pairs_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_labels("people.jsonl", labelled(1))
    code, _, error = sobirl(*OFFLINE.split(), "--labels", "people.jsonl")
    assert code == 2 and "has no labels, all of its pairs were skipped" in error


def test_spaces_of_numbers_and_of_screens():
    """Shorter fragments are filled up; bytes stay bytes, and whole numbers become floats."""
    box = EnvSpec("walk", (2,), np.dtype(np.float32), Continuous([-2.0], [3.0]), "gymnasium")
    chosen = Settings(env="walk", fragment_length=4, method="drlhf")
    unknown = np.full((2, 3), np.nan, np.float32)

    def one(observation, action):
        return LabelledPair(
            Fragment(
                observation, action, unknown, unknown, np.ones((2, 3), bool), np.zeros(2, int)
            ),
            1.0,
            chosen.env,
            place="line 1",
        )

    ones = np.ones((2, 3, 2), np.uint8)
    pairs, labels = given([one(ones, -np.ones((2, 3, 1), np.float32))] * 2, chosen, box)
    assert pairs.observation.shape == (2, 2, 4, 2) and pairs.observation.dtype == np.float32
    assert pairs.mask[0].tolist() == [[True] * 3 + [False]] * 2 and labels.tolist() == [1, 1]
    with pytest.raises(sb.InvalidInputError, match=r"line 1: action: must be from -1 to 1, which"):
        given([one(ones, np.full((2, 3, 1), 1.5, np.float32))], chosen, box)
    screens = EnvSpec("walk", (8, 8), np.dtype(np.uint8), Discrete(3), "atari", frame_stack=4)
    actions = np.zeros((2, 3), np.int32)
    pairs, _ = given([one(np.ones((2, 6, 8, 8), np.uint8), actions)], chosen, screens)
    assert pairs.observation.shape == (1, 2, 7, 8, 8) and pairs.observation.dtype == np.uint8
    with pytest.raises(sb.InvalidInputError, match="must be whole numbers from 0 to 255"):
        given([one(np.full((2, 6, 8, 8), 0.5, np.float32), actions)], chosen, screens)


def test_a_store_for_the_command_line(tmp_path):
    with PreferenceStore(tmp_path / "store") as store:
        for one in labelled(2):
            store.add(one.pair)
        store.label(0, 1)
    path = tmp_path / "people.jsonl"
    code, _, error = sobirl("export-labels", tmp_path / "store", path)
    assert code == 2 and "--env must say which environment" in error
    code, printed, _ = sobirl("export-labels", tmp_path / "store", path, "--env", "CartPole-v1")
    assert code == 0 and "1 labelled pairs" in printed
    assert [one.environment for one in read_labels(path)] == ["CartPole-v1"]
    code, printed, _ = sobirl("import-labels", path, tmp_path / "again")
    assert code == 0 and "added 1 pairs" in printed and "1 answers" in printed
    assert sobirl("export-labels", tmp_path / "again", tmp_path / "again.jsonl")[0] == 0
    assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()
    code, _, error = sobirl("export-labels", tmp_path, tmp_path / "other.jsonl")
    assert code == 2 and "is neither a run nor a store of preferences" in error


def test_the_reward_over_states():
    """Every point of a map is the learned reward of the observation that it stands for."""
    spec = EnvSpec("Pendulum-v1", (3,), np.dtype(np.float32), Continuous([-2.0], [2.0]), "gymnax")
    chosen = Settings(env="Pendulum-v1", widths=(4,)).resolved(spec)
    follower, model = follower_of(spec, chosen), model_of(spec, chosen, 1)
    keys = jax.random.split(jax.random.key(0))
    learned = Learned(spec, follower, follower.init(keys[0]), model(key=keys[1]))
    angle = np.linspace(-3, 3, 7)
    seen = np.stack([np.cos(angle), np.sin(angle), 2 * angle], axis=1).astype(np.float32)
    weight = np.arange(7) < 6  # the last one is no step
    columns = seen, seen[:, :1], angle, weight, seen, weight.astype(np.float32)
    steps = Transitions(*map(jnp.asarray, columns))
    found = reward_map(learned, steps)
    np.testing.assert_allclose(found.visited, [angle[:6], 2 * angle[:6]], rtol=1e-5)
    np.testing.assert_allclose(found.true_reward, angle[:6], rtol=1e-6)
    (x, y), (table,) = found.axes, found.rewards.values()
    np.testing.assert_allclose([x[0], x[-1], y[0], y[-1]], [-3, 2, -6, 4], rtol=1e-5)
    point = jnp.array([[np.cos(x[7]), np.sin(x[7]), y[20]]], jnp.float32)
    wanted = learned.model(point, follower.mode(learned.agent, point))
    np.testing.assert_allclose(table[20, 7], wanted[0], rtol=1e-4, atol=1e-6)
    assert (
        reward_map(learned._replace(spec=dataclasses.replace(spec, observation_shape=(5,))), steps)
        is None
    )
    figure = figures.reward("Pendulum-v1", "drlhf", found)
    assert len(figure.axes) == 4  # the learned reward, the true one, and their scales


def test_the_reward_along_an_episode():
    film = Film([np.zeros((4, 4, 3), np.uint8)] * 4, np.zeros((3, 2)), np.zeros(3), np.arange(3.0))
    figure = figures.episode("Game-v0", "drlhf", film, np.array([0.5, 1.5, 2.5]))
    *pictures, learned, true = figure.axes
    assert [axes.get_title() for axes in pictures] == [f"step {n}" for n in range(4)]
    assert learned.lines[0].get_ydata().tolist() == [0.5, 1.5, 2.5, 2.5]
    assert true.lines[0].get_ydata().tolist() == [0, 1, 2, 2]
