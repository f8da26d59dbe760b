"""One small problem, as two CSV files and as the arrays of an `.npz`.

A worker who is rested or tired works (hard or not) or, when tired, sleeps; work may end the week.
"""

import numpy as np

TRANSITIONS = """state,action,next_state,probability
rested,work,rested,0.5
rested,work,tired,0.25
rested,work,weekend,0.25
rested,hurry,tired,0.5
rested,hurry,weekend,0.5
tired,work,tired,1
tired,sleep,rested,0.9
tired,sleep,tired,0.1
"""

# Rows for a state, for an action, for a step, and for a step by whatever action.
REWARDS = """state,action,next_state,reward,leader_reward,wage,rest
rested,,,1,,,
rested,work,,,0.5,1,
rested,hurry,weekend,,4,2,
rested,,tired,-2,,,
tired,work,,,1,1,
tired,sleep,,0.25,,,3
"""

STATES, ACTIONS, FEATURES = (
    ("rested", "tired", "weekend"),
    ("work", "hurry", "sleep"),
    ("wage", "rest"),
)
PROBABILITIES = np.array(
    [
        [[0.5, 0.25, 0.25], [0, 0.5, 0.5], [0, 0, 0]],
        [[0, 1, 0], [0, 0, 0], [0.9, 0.1, 0]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    ]
)
AVAILABLE = PROBABILITIES.any(axis=-1)
REWARD = np.array([[1 - 2 * 0.25, 1 - 2 * 0.5, 0], [0, 0, 0.25], [0, 0, 0]])
LEADER_REWARD = np.array([[0.5, 4 * 0.5, 0], [1, 0, 0], [0, 0, 0]])
WAGE = np.array([[1, 2 * 0.5, 0], [1, 0, 0], [0, 0, 0]])
REST = np.array([[0, 0, 0], [0, 0, 3], [0, 0, 0]])

ARRAYS = {
    "transition": PROBABILITIES,
    "features": np.stack([WAGE, REST], axis=-1),
    "leader_reward": LEADER_REWARD,
    "reward": REWARD,
    "terminal": np.array([0, 0, 1]),
    "available": AVAILABLE,
    "states": np.array(STATES),
    "actions": np.array(ACTIONS),
    "feature_names": np.array(FEATURES),
}


def write_tables(folder, transitions=TRANSITIONS, rewards=REWARDS):
    """The paths of the two files with these contents, text or bytes."""
    paths = folder / "transitions.csv", folder / "rewards.csv"
    for path, content in zip(paths, (transitions, rewards), strict=True):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8", newline="")
    return paths


def write_arrays(folder, **changes):
    """The path of an `.npz` with other arrays, None for those that it lacks."""
    arrays = {name: array for name, array in (ARRAYS | changes).items() if array is not None}
    path = folder / "problem.npz"
    np.savez(path, **arrays)
    return path
