"""Environments behind one contract; the packages of a back end load when it is asked for."""

from sobirl.deep.envs.compiled import CompiledEnvironment, CompiledEnvironments, CompiledState
from sobirl.deep.envs.registry import default_backend, make
from sobirl.deep.envs.spec import Continuous, Discrete, EnvSpec, Step

__all__ = [
    "CompiledEnvironment",
    "CompiledEnvironments",
    "CompiledState",
    "Continuous",
    "Discrete",
    "EnvSpec",
    "Step",
    "default_backend",
    "make",
]
