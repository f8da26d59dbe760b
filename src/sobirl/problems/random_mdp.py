"""Random MDPs: the synthetic problem of Yang, Gao, Yuan (2025), and a harder one of ours.

`RandomMDP`, the paper's: r_x(s,a) = c(s,a) xᵀMx and f = ½‖x‖² + ½‖π‖². Its optimum is trivial
(x = 0, the uniform policy, f = S/(2A)); it shows rates and speed.

`TargetPolicy`, harder: r_x = Φx with Gaussian Φ and f = ½‖π - π̂‖² + ½·10⁻²‖x‖². The target π̂ is
deterministic, which no finite reward attains, and x has fewer entries than the policy has free
ones, so that the optimum is neither at x = 0 nor at π = π̂.

Transitions of both: from each (s,a), m ~ U{1..S-1} distinct successors with random weights.
"""

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.bilevel import BilevelProblem
from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import read_arrays
from sobirl.core.response import Response
from sobirl.mdp import Dense, SoftMDP

# What files, whose names are those of the authors' code, call the constants.
_IN_FILES = {
    "discount": "gamma",
    "temperature": "tau",
    "learning_rate": "beta",
    "adjoint_step_size": "zeta",
    "sweeps": "n_inner",
}


class RandomMDP(eqx.Module):
    """An instance of the paper's problem with the constants of its run.

    Attributes:
        transition: P (S,A,S).
        reward_coef: c (S,A).
        mat: M (n,n), not symmetric.
        x0: the leader's first x (n,).
        w0: the first adjoint of M-SoBiRL (S,).
        discount: discount γ.
        temperature: temperature τ.
        learning_rate: step size on x.
        adjoint_step_size: step size on the adjoint.
        sweeps: value sweeps N in an outer step.
        hypergrad_norm: ‖∇̂φ(x_k)‖ of the authors' code on this instance (K,), if known.
    """

    transition: np.ndarray
    reward_coef: np.ndarray
    mat: np.ndarray
    x0: np.ndarray
    w0: np.ndarray
    discount: float = 0.5
    temperature: float = 1.0
    learning_rate: float = 8e-3
    adjoint_step_size: float = 0.5
    sweeps: int = 10
    hypergrad_norm: np.ndarray | None = None

    @classmethod
    def generate(cls, states: int, actions: int, dimension: int, seed: int) -> "RandomMDP":
        """A random instance with S states, A actions and x in R^n."""
        rng = np.random.default_rng(seed)
        return cls(
            transition=random_transitions(rng, states, actions),
            reward_coef=rng.uniform(size=(states, actions)) * rng.uniform(size=(states, actions)),
            mat=rng.standard_normal((dimension, dimension)),
            x0=rng.standard_normal(dimension),
            w0=rng.standard_normal(states),
        )

    @classmethod
    def load(cls, path: Path) -> "RandomMDP":
        """An instance from an `.npz` whose arrays have the names of the authors' code.

        These are the names of the attributes, but gamma, tau, beta, zeta and n_inner for the
        discount, the temperature, the learning rate, the adjoint's step size and the sweeps.

        Raises:
            InvalidInputError: no such file, not an `.npz`, an array missing, of another shape, not
                finite, or made of objects.
        """
        names = [_IN_FILES.get(field.name, field.name) for field in dataclasses.fields(cls)]
        arrays = read_arrays(path, names, others_allowed=True)
        for name, array in arrays.items():
            if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
                raise InvalidInputError(f"{path}: {name} must be finite real numbers")
        for field in dataclasses.fields(cls):
            if field.default is dataclasses.MISSING and field.name not in arrays:
                raise InvalidInputError(f"{path}: has no array named {field.name}")
        states, actions = (*arrays["reward_coef"].shape, 0, 0)[:2]
        dimension = np.size(arrays["x0"])
        shapes = {
            "transition": (states, actions, states),
            "reward_coef": (states, actions),
            "mat": (dimension, dimension),
            "x0": (dimension,),
            "w0": (states,),
        }
        for name, array in arrays.items():
            wanted = shapes.get(name, array.shape[:1] if name == "hypergrad_norm" else ())
            if array.shape != wanted:
                raise InvalidInputError(
                    f"{path}: {name} should have shape {wanted}, has {array.shape}"
                )
        scalars = {name: array.item() for name, array in arrays.items() if not array.shape}
        found: dict[str, Any] = {**arrays, **scalars}
        positive = ("tau", "beta", "zeta", "n_inner")
        if not 0 <= found.get("gamma", 0) < 1 or any(found.get(p, 1) <= 0 for p in positive):
            raise InvalidInputError(
                f"{path}: gamma must lie in [0, 1) and {', '.join(positive)} must be positive"
            )
        fields = {field: found.pop(name) for field, name in _IN_FILES.items() if name in found}
        instance = cls(**found, **fields)
        instance.problem().lower(jnp.asarray(instance.x0))  # checks the transitions
        return dataclasses.replace(instance, sweeps=int(instance.sweeps))

    def problem(self) -> BilevelProblem:
        """The bilevel problem over x (n,)."""
        return BilevelProblem(self.follower, self.objective)

    def follower(self, x: Float[Array, "n"]) -> SoftMDP:
        """The soft MDP with reward c(s,a) xᵀMx."""
        states = len(self.transition)
        return SoftMDP(
            transition=Dense(self.transition),
            reward=self.reward_coef * (x @ self.mat @ x),
            discount=self.discount,
            temperature=self.temperature,
            initial=np.full(states, 1 / states),
        )

    def objective(self, x: Float[Array, "n"], response: Response) -> Float[Array, ""]:
        """½‖x‖² + ½‖π‖²."""
        return (jnp.sum(x**2) + jnp.sum(response.policy**2)) / 2


class TargetPolicy(eqx.Module):
    """The harder problem: come as close as possible to a policy that cannot be attained.

    Attributes:
        transition: P (S,A,S).
        features: Φ (S,A,n).
        target: π̂ (S,A), deterministic.
        x0: the leader's first x (n,).
        discount: discount γ.
        temperature: temperature τ.
    """

    transition: np.ndarray
    features: np.ndarray
    target: np.ndarray
    x0: np.ndarray
    discount: float = 0.5
    temperature: float = 1.0

    @classmethod
    def generate(
        cls, states: int = 100, actions: int = 5, dimension: int = 100, seed: int = 0
    ) -> "TargetPolicy":
        """A random instance with S states, A actions and x in R^n."""
        rng = np.random.default_rng(seed)
        return cls(
            transition=random_transitions(rng, states, actions),
            features=rng.standard_normal((states, actions, dimension)),
            target=np.eye(actions)[rng.integers(actions, size=states)],
            x0=rng.standard_normal(dimension) / np.sqrt(dimension),  # rewards of size 1
        )

    def problem(self) -> BilevelProblem:
        """The bilevel problem over x (n,)."""
        return BilevelProblem(self.follower, self.objective)

    def follower(self, x: Float[Array, "n"]) -> SoftMDP:
        """The soft MDP with reward Φx."""
        states = len(self.transition)
        return SoftMDP(
            transition=Dense(self.transition),
            reward=self.features @ x,
            discount=self.discount,
            temperature=self.temperature,
            initial=np.full(states, 1 / states),
        )

    def objective(self, x: Float[Array, "n"], response: Response) -> Float[Array, ""]:
        """½‖π - π̂‖² + ½·10⁻²‖x‖²."""
        return (jnp.sum((response.policy - self.target) ** 2) + 1e-2 * jnp.sum(x**2)) / 2


def random_transitions(rng: np.random.Generator, states: int, actions: int) -> np.ndarray:
    """P (S,A,S): from each (s,a), m ~ U{1..S-1} distinct successors with random weights."""
    transition = np.zeros((states, actions, states))
    for row in transition.reshape(-1, states):
        successors = rng.choice(states, size=rng.integers(1, max(states, 2)), replace=False)
        row[successors] = rng.uniform(size=len(successors))
    return transition / transition.sum(axis=-1, keepdims=True)
