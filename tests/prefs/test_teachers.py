import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experience.streams import assert_equal, assert_frequency, fragments, of_rewards
from sobirl.core import InvalidInputError
from sobirl.experience import Fragment
from sobirl.prefs import Oracle, OracleTeacher, PreferenceStore, StoredTeacher, Teacher

TIMES = 2000


def answers(rewards, *, mask=None, **options):
    """The labels and kept of one pair (2,L), asked many times."""
    pairs = of_rewards(np.broadcast_to(rewards, (TIMES, *np.shape(rewards))))
    if mask is not None:
        pairs = Fragment(**{**vars(pairs), "mask": np.broadcast_to(mask, pairs.mask.shape)})
    label, kept = answer(Oracle(**options), pairs, jax.random.key(0))
    return np.asarray(label), np.asarray(kept)


answer = jax.jit(Oracle.answer)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_rational_teacher(temperature, precision):
    label, kept = answers([[1, 0, 1], [0, 1.5, -0.5]], temperature=temperature)
    assert set(label) == {0, 1}
    assert kept.all()
    assert_frequency(label, sigmoid(1 / temperature))


def test_without_temperature_the_better_one_wins(precision):
    assert answers([[1, 0], [0, 0.999]], temperature=0)[0].all()
    assert not answers([[0, 0.999], [1, 0]], temperature=0)[0].any()
    assert_frequency(answers([[1, 0], [0, 1]], temperature=0)[0], 0.5)


def test_only_what_is_masked_in_counts():
    mask = [[True, False], [True, True]]
    assert not answers([[1, 1000], [1, 1]], mask=mask, temperature=0)[0].any()


def test_a_myopic_teacher():
    """Rewards 2 then 0, and 0 then 1.5: weighed by 1/2 and 1."""
    rewards = [[2, 0], [0, 1.5]]
    assert_frequency(answers(rewards, discount=0.5)[0], sigmoid(-0.5))
    assert_frequency(answers(rewards)[0], sigmoid(0.5))


def test_a_mistaken_teacher():
    rewards = [[1.5], [0]]
    assert_frequency(answers(rewards, mistake=0.2, temperature=0)[0], 0.8)
    assert_frequency(answers(rewards, mistake=0.2)[0], 0.8 * sigmoid(1.5) + 0.2 * sigmoid(-1.5))


def test_skipping_when_neither_is_good():
    for rewards, expected in (([[1, 1], [0, 1]], True), ([[1, 0.9], [0, 1]], False)):
        kept = answers(rewards, skip_below=2.0)[1]
        assert (kept == expected).all()


def test_ties():
    close, apart = [[1, 1], [1, 1.4]], [[1, 1], [1, 1.5]]
    assert (answers(close, tie_within=0.5, mistake=1.0)[0] == 0.5).all()
    assert 0.5 not in answers(apart, tie_within=0.5)[0]
    assert 0.5 not in answers([[1], [1]], tie_within=0.0)[0]


def test_clipped_rewards():
    rewards = [[7, 0.5, -3], [0, 0, 100]]
    assert_frequency(answers(rewards, clip_rewards=True, temperature=2)[0], sigmoid(0 / 2))
    rewards = [[7, 0.5, 3], [0, 0, 100]]
    assert_frequency(answers(rewards, clip_rewards=True, temperature=2)[0], sigmoid(2 / 2))


def test_one_pair_and_grids_of_pairs():
    grid = of_rewards(np.random.default_rng(0).standard_normal((3, 4, 2, 5)))
    label, kept = answer(Oracle(temperature=0), grid, jax.random.key(0))
    better = grid.reward[..., 0, :].sum(-1) > grid.reward[..., 1, :].sum(-1)
    np.testing.assert_array_equal(label, better)
    assert kept.shape == (3, 4)
    first = jax.tree.map(lambda leaf: leaf[0, 0], grid)
    one, _ = answer(Oracle(temperature=0), first, jax.random.key(0))
    assert one == label[0, 0]


def test_numbers_can_be_batched():
    pairs = of_rewards(np.broadcast_to([[1.0], [0.0]], (TIMES, 2, 1)))
    temperatures = jnp.array([0.0, 1.0, 10.0])

    def frequency(temperature):
        return Oracle(temperature=temperature).answer(pairs, jax.random.key(0))[0]

    for labels, probability in zip(
        jax.vmap(frequency)(temperatures), (1.0, sigmoid(1), sigmoid(0.1)), strict=True
    ):
        assert_frequency(labels, probability)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature: must be at least 0, got -1"),
        ({"discount": 0}, r"discount: must be in \(0, 1\], got 0"),
        ({"mistake": 1.5}, r"mistake: must be in \[0, 1\], got 1.5"),
        ({"skip_below": float("nan")}, "skip_below: must be a number, got nan"),
        ({"tie_within": -0.1}, "tie_within: must be at least 0, got -0.1"),
    ],
)
def test_bad_numbers(options, message):
    with pytest.raises(InvalidInputError, match=message):
        Oracle(**options)


def test_what_is_no_pair():
    with pytest.raises(InvalidInputError, match=r"leading axes \(\.\.\., 2\), got \(3,\)"):
        Oracle().answer(fragments(3), jax.random.key(0))
    with pytest.raises(InvalidInputError, match="delay: must be at least 0, got -1"):
        OracleTeacher(Oracle(), jax.random.key(0), delay=-1)


@pytest.mark.parametrize("delay", [0, 2])
def test_answers_come_in_time_and_once(delay):
    teacher = OracleTeacher(Oracle(temperature=0, skip_below=0.0), jax.random.key(0), delay)
    assert isinstance(teacher, Teacher)
    assert teacher.poll() == {}
    first = teacher.submit(of_rewards([[[1.0], [0.0]], [[-1.0], [-2.0]]]))
    assert first == [0, 1]
    for _ in range(delay):
        assert teacher.poll() == {}
    second = teacher.submit(of_rewards([[[0.0], [3.0]]]))
    assert second == [2]
    polled = [teacher.poll() for _ in range(delay + 2)]
    arrived = {0: 1.0, 1: None}
    if delay:
        assert polled == [arrived] + [{}] * (delay - 1) + [{2: 0.0}, {}]
    else:
        assert polled == [{**arrived, 2: 0.0}, {}]


def test_answers_do_not_depend_on_how_they_are_asked():
    pairs = of_rewards(np.random.default_rng(0).standard_normal((40, 2, 3)))
    at_once, in_parts = (OracleTeacher(Oracle(), jax.random.key(3)) for _ in range(2))
    at_once.submit(pairs)
    in_parts.submit(jax.tree.map(lambda x: x[:15], pairs))
    early = in_parts.poll()
    in_parts.submit(jax.tree.map(lambda x: x[15:], pairs))
    answers = at_once.poll()
    assert answers == early | in_parts.poll()
    assert set(answers.values()) == {0.0, 1.0}


def test_people_answer_through_a_store(tmp_path):
    pairs = fragments(3, 2)
    with PreferenceStore(tmp_path / "store") as store:
        teacher = StoredTeacher(store)
        assert isinstance(teacher, Teacher)
        assert teacher.submit(pairs) == [0, 1, 2]
        assert_equal(store.pairs([0, 1, 2]), pairs)
        assert teacher.poll() == {}
        store.label(2, 1)
        store.label(0, None)
        assert teacher.poll() == {2: 1.0, 0: None}
        store.label(2, 0.5)
        assert teacher.poll() == {2: 0.5}
        assert teacher.poll() == {}
    with PreferenceStore(tmp_path / "store") as store:
        again = StoredTeacher(store)
        assert again.poll() == {2: 0.5, 0: None}
        assert again.submit(pairs) == [3, 4, 5]
