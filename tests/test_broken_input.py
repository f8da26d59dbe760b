"""What a user's problem may get wrong, from Python, and the line that each mistake gets.

The other borders have their tables beside what they test: command-line options in
`apps/test_cli.py` and `runs/test_tabular.py`, CSV and `.npz` files in
`problems/test_tabular_files.py`, `problems/test_rust_data.py` and `problems/test_random_mdp.py`,
run directories, configurations and checkpoints in `runs/test_directory.py`. Files of random bytes:
`problems/test_tabular_fuzz.py`, `problems/test_rust_data.py`, `runs/test_fuzz.py`.
"""

import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb

P = np.full((3, 2, 3), 1 / 3)
R = np.zeros((3, 2))
RHO = np.full(3, 1 / 3)


def rows_with(entry, value):
    table = P.copy()
    table[entry] = value
    return table


def make(transition=P, reward=R, discount=0.9, temperature=0.1, initial=RHO):
    return sb.SoftMDP(sb.Dense(transition), reward, discount, temperature, initial)


def problem(contexts=None, weights=None, objective=None, **changes):
    def follower(x, context=None):
        return make(**{"reward": jnp.zeros((3, 2)) + x[0], **changes})

    objective = objective or (lambda x, response, *context: jnp.sum(response.policy[:, 0]))
    return sb.BilevelProblem(follower, objective, contexts, weights)


def minimize(x0=(0.5,), **arguments):
    changes = arguments.pop("problem", {})
    return sb.minimize(problem(**changes), np.asarray(x0), num_steps=2, **arguments)


TABLE = {
    # The tables of an MDP.
    "a row that sums to 0.9": (
        lambda: make(rows_with((2, 1), [0.25, 0.5, 0.15])),
        r"transition: each row P\[s, a, :\] must sum to 1, got 0.9.* at index \[2, 1\]",
    ),
    "every row sums to 2": (lambda: make(2 * P), r"must sum to 1, got 2.0 .*\(and 5 more\)"),
    "a negative probability": (
        lambda: make(rows_with((0, 0), [-0.5, 1.0, 0.5])),
        r"transition: probabilities must not be negative, got -0.5 at index \[0, 0, 0\]",
    ),
    "a NaN probability": (
        lambda: make(rows_with((0, 1, 2), np.nan)),
        r"transition: must be finite, got nan at index \[0, 1, 2\]",
    ),
    "a transition table of two axes": (
        lambda: make(np.eye(3)),
        r"transition: expected shape \(S, A, S\), got \(3, 3\)",
    ),
    "transitions to more states than there are": (
        lambda: make(np.full((3, 2, 4), 0.25)),
        r"transition: expected shape \(S, A, S\), got \(3, 2, 4\)",
    ),
    "no states at all": (
        lambda: make(np.zeros((0, 2, 0))),
        r"transition: expected shape \(S, A, S\), got \(0, 2, 0\)",
    ),
    "a NaN reward": (
        lambda: make(reward=np.array([[0, 1], [np.nan, 0], [0, 0]])),
        r"reward: must be finite, got nan at index \[1, 0\]",
    ),
    "a reward of another shape": (
        lambda: make(reward=np.zeros((2, 3))),
        r"reward: expected shape \(3,\) or \(3, 2\) or \(3, 2, 3\), got \(2, 3\)",
    ),
    "a discount of 1, episodes that never end": (
        lambda: make(discount=1.0),
        r"discount: must lie in \[0, 1\), got 1.0",
    ),
    "a discount of 1 in one state": (
        lambda: make(discount=np.array([0.9, 1.0, 0.0])),
        r"discount: must lie in \[0, 1\), got 1.0 at index \[1\]",
    ),
    "a temperature of 0": (lambda: make(temperature=0), "temperature: must be positive, got 0"),
    "a negative temperature": (
        lambda: make(temperature=-0.1),
        "temperature: must be positive, got -0.1",
    ),
    "an initial distribution of other states": (
        lambda: make(initial=np.ones(2) / 2),
        r"initial: expected shape \(3,\), got \(2,\)",
    ),
    "a successor that is no state": (
        lambda: sb.SuccessorList(np.full((3, 2, 1), 3), np.ones((3, 2, 1))),
        r"successors: states are 0 to 2, got 3 at index \[0, 0, 0\]",
    ),
    # The parts of a bilevel problem.
    "contexts of different sizes": (
        lambda: problem(contexts=(np.zeros(2), np.zeros(3))),
        r"contexts: every array needs the same leading axis, .* got leading axes \[\(2,\), \(3,",
    ),
    "no contexts": (
        lambda: problem(contexts=np.zeros(0)),
        "contexts: every array needs the same leading axis",
    ),
    "weights of other contexts": (
        lambda: problem(contexts=np.zeros(2), weights=np.ones(3)),
        r"weights: expected shape \(2,\), got \(3,\)",
    ),
    "negative weights": (
        lambda: problem(contexts=np.zeros(2), weights=[2.0, -1.0]),
        r"weights: must not be negative, got -1.0 at index \[1\]",
    ),
    "an objective that is no function": (
        lambda: sb.BilevelProblem(lambda x: make(), 3.0),
        "objective: expected a function, got float",
    ),
    "an objective of many numbers": (
        lambda: minimize(problem={"objective": lambda x, response: response.value}),
        r"objective: must return one number to minimize, got shape \(3,\)",
    ),
    "a follower that is no MDP": (
        lambda: sb.minimize(sb.BilevelProblem(lambda x: x, lambda x, r: x[0]), np.ones(1)),
        "follower: must return a SoftMDP for Exact, got ArrayImpl",
    ),
    "solving what is no MDP": (
        lambda: sb.solve(sb.Dense(P)),
        "mdp: expected a SoftMDP, or a lower level with a method solve; got Dense",
    ),
    "a follower with a discount of 1": (
        lambda: minimize(problem={"discount": 1.0}),
        r"discount: must lie in \[0, 1\), got 1.0",
    ),
    # What is asked for.
    "an x of NaN": (lambda: minimize([np.nan]), "x0: must be finite"),
    "an x of whole numbers": (lambda: minimize([1]), "x0: expected floating-point arrays, got int"),
    "a negative tolerance": (
        lambda: minimize(tolerance=-1.0),
        "tolerance: must not be negative, got -1.0",
    ),
    "bounds of another shape": (
        lambda: minimize(projection=sb.box(np.zeros(2), np.ones(2))),
        "projection: the bounds do not go with x",
    ),
    "a policy of other actions": (
        lambda: sb.policy_return(make(), np.ones((3, 3)) / 3),
        r"policy: expected shape \(3, 2\), got \(3, 3\)",
    ),
}


@pytest.mark.parametrize("mistake", TABLE)
def test_mistakes(mistake):
    make_it, message = TABLE[mistake]
    with pytest.raises(sb.InvalidInputError, match=message) as error:
        make_it()
    assert "\n" not in str(error.value)


def test_absorbing_and_unreachable_states_are_no_mistake():
    """State 1 keeps itself for ever, and nothing leads to state 2."""
    rows = np.zeros((3, 2, 3))
    rows[0, :, 1] = rows[1, :, 1] = rows[2, :, 0] = 1.0
    mdp = make(rows, reward=np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]), initial=[1.0, 0, 0])
    solution = sb.solve(mdp)
    expected = (0.5 + 0.1 * np.log(2)) / (1 - 0.9)
    np.testing.assert_allclose(solution.value[1], expected, rtol=1e-12)
    assert np.isfinite(solution.value).all()
    visits = sb.occupancy(mdp, solution.policy).sum(axis=1)
    np.testing.assert_allclose(visits, [1.0, 0.9 / 0.1, 0.0], rtol=1e-12, atol=1e-14)
