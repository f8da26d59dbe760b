"""What an instance keeps for later is no tracer, also where it is first asked for inside `jit`."""

import jax
import jax.numpy as jnp
import pytest

from sobirl.problems.four_rooms import FourRooms
from sobirl.problems.goal_position import GoalPosition
from sobirl.problems.maze import Maze
from sobirl.problems.tax_design import TaxDesign


@pytest.mark.parametrize(
    ("instance", "name"),
    [
        (FourRooms(), "walk"),
        (GoalPosition(), "walker"),
        (Maze.generate(6, blocks=2, seed=1), "walk"),
        (TaxDesign(points=5), "households"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_is_made_outside_of_programs(instance, name):
    jax.eval_shape(lambda x: x + 0 * sum(map(jnp.sum, _arrays(instance, name))), 0.0)
    assert not any(isinstance(array, jax.core.Tracer) for array in _arrays(instance, name))


def _arrays(instance, name):
    return jax.tree.leaves(getattr(instance, name))
