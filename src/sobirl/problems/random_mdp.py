"""The synthetic random MDP of Yang, Gao, Yuan (2025), and a harder variant of it."""

import dataclasses
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from sobirl.bilevel import BilevelProblem
from sobirl.core.errors import InvalidInputError
from sobirl.mdp import Dense, SoftMDP
