"""The conformance suite: it passes a stranger's method, and names what is wrong with another."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from estimators import INCENTIVES
from sobirl.hypergrad import METHODS, MethodEntry, Needs
from sobirl.testing import ConformanceError, check_method, methods, same_bits


class Shrink(eqx.Module):
    """A stranger's method: it computes next to nothing, but keeps to the contract."""

    rate: float = 1.0

    def init(self, problem, x, key):
        return jnp.zeros((), jnp.int32)

    def estimate(self, problem, x, state, key):
        gradient = jax.tree.map(lambda leaf: self.rate * leaf, x)
        objective = problem.average(
            problem.each_context(lambda context: self.look(problem, x, context))
        )
        return gradient, state + 1, {"objective": objective, "status": jnp.int32(0)}

    def look(self, problem, x, context):
        lower = problem.lower(x, context)
        return jnp.zeros(()) + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(lower) if leaf.ndim)


def test_passes_a_method_by_itself_and_by_name(monkeypatch):
    assert check_method(Shrink()) is None
    monkeypatch.setitem(METHODS, "shrink", MethodEntry(Shrink, "towards 0"))
    assert check_method("shrink", INCENTIVES.problem(), {"pay": jnp.array([0.3, 0.2])}) is None


class Forgetful(Shrink):
    def estimate(self, problem, x, state, key):
        gradient, state, metrics = super().estimate(problem, x, state, key)
        return gradient, state / 2, metrics


class Blind(Shrink):
    def look(self, problem, x, context):
        return jnp.sum(problem.lower(x).reward)


class Concrete(Shrink):
    def init(self, problem, x, key):
        return jnp.full((), int(jax.tree.leaves(x)[0].sum() > 0), jnp.int32)


class Branching(Shrink):
    def estimate(self, problem, x, state, key):
        return Shrink(self.rate if self.rate > 0 else 1.0).estimate(problem, x, state, key)


class Crashing(Shrink):
    def look(self, problem, x, context):
        return jnp.sum(problem.lower(x, context).reward)


class Endless(Shrink):
    def look(self, problem, x, context):
        return super().look(problem, x, context) + jnp.inf


class Unheard(Shrink):
    def estimate(self, problem, x, state, key):
        gradient, state, metrics = super().estimate(problem, x, state, key)
        return gradient, state, {**metrics, "status": jnp.int32(77)}


class Impure(Shrink):
    """Every call has a look at a clock."""

    def look(self, problem, x, context):
        clock = jax.ShapeDtypeStruct((), jnp.float64)
        calls.append(0.0)
        return super().look(problem, x, context) + jax.pure_callback(
            _tick, clock, jax.tree.leaves(x)[0], vmap_method="sequential"
        )

    def estimate(self, problem, x, state, key):
        gradient, state, metrics = super().estimate(problem, x, state, key)
        return jax.tree.map(lambda g: g + metrics["objective"], gradient), state, metrics


calls = []


def _tick(_):
    calls.append(0.0)
    return np.float64(len(calls))


class Boastful(Shrink):
    """Its objective and gradient are not those of φ."""

    objective_is_exact = True


class Steep(Boastful):
    def estimate(self, problem, x, state, key):
        objective, gradient = jax.value_and_grad(lambda x: problem.value(x, throw=False))(x)
        gradient = jax.tree.map(lambda g: 2 * g, gradient)
        return gradient, state + 1, {"objective": objective, "status": jnp.int32(0)}


class Restless(Shrink):
    """It says that it samples, and does not."""

    needs = Needs(samples=True)


class Loose(Shrink):
    """It says that it needs x in the reward, and does not look."""

    needs = Needs(x_enters=("reward",))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            Forgetful(),
            r"method: Forgetful.estimate must return .* got a state of float.* after one of int32",
        ),
        (Blind(), "on a problem with contexts: it raised TypeError"),
        (Concrete(), "init must work inside jit and under vmap: it raised ConcretizationTypeErr"),
        (Branching(), "outer steps under vmap over starts failed: it raised TracerBoolConversion"),
        (Crashing(), "must work with a follower that is no SoftMDP, or refuse it .* AttributeErro"),
        (Endless(), "the metric `objective` is not finite"),
        (Unheard(), r"`status` must be a sobirl.Status, got \[\[77"),
        (Impure(), "the same seed must give the same bits"),
        (Boastful(), r"`objective_is_exact`, but its objective is .* where φ is"),
        pytest.param(
            Steep(),
            "`objective_is_exact`, but its hyper-gradient .* is not that of finite differ",
            marks=pytest.mark.slow,  # a wrong objective is above
        ),
        (Restless(), "its `needs` say that it samples, but another seed gives the same estimate"),
        (Loose(), "its `needs` exclude a follower with x in its temperature, but `init` does not"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_names_what_is_violated(method, message):
    with pytest.raises(ConformanceError, match=f"^{type(method).__name__}: .*{message}"):
        check_method(method)


def test_what_is_not_in_a_checkpoint_is_missed(monkeypatch):
    monkeypatch.setattr(methods, "_through_a_file", lambda start, halfway, rows: start)
    with pytest.raises(ConformanceError, match="resumed from a checkpoint must equal"):
        check_method(Shrink())


def test_problem_and_x_go_together():
    with pytest.raises(sb.InvalidInputError, match="problem and x: give both or none"):
        check_method(Shrink(), INCENTIVES.problem())


def test_same_bits():
    tree = {"a": jnp.array([1.0, jnp.nan]), "key": jax.random.key(0)}
    assert same_bits(tree, dict(tree))
    assert not same_bits(tree, {**tree, "key": jax.random.key(1)})
    assert not same_bits(tree, {**tree, "a": jnp.array([1.0 + 1e-15, jnp.nan])})
