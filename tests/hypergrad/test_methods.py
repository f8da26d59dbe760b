"""The table of methods, and the ways in which people name a method."""

import ast
import inspect
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import sobirl as sb
from estimators import INCENTIVES, PREFERENCES
from sobirl import hypergrad
from sobirl.hypergrad import METHODS, MethodEntry, Needs, as_method, methods, methods_for
from sobirl.hypergrad.budget import with_budget
from sobirl.testing import same_bits


@pytest.fixture
def as_for_users(monkeypatch):
    """Without the checks of types that only tests have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_the_table_loads_no_jax():
    """Nor do errors and statuses; a class does, once it is asked for."""
    code = """
import sys
from sobirl.core import InvalidInputError, Status
from sobirl.hypergrad import METHODS, methods_for
assert "exact" in methods_for("return") and METHODS["exact"].class_name == "Exact"
print("jax" in sys.modules, "numpy" in sys.modules)
from sobirl.hypergrad import Exact
print("jax" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.split() == ["False", "False", "True"], out.stderr


@pytest.mark.parametrize("name", METHODS)
def test_entries_are_what_they_say(name):
    entry = METHODS[name]
    cls, method = entry.load(), entry.make()
    assert cls is getattr(hypergrad, entry.class_name) is getattr(sb, entry.class_name)
    assert isinstance(method, cls) and method.needs == entry.needs
    assert all(getattr(method, option) == value for option, value in entry.options.items())
    # In the table it is one line, without a dot, below 80 columns with its name.
    assert "\n" not in entry.what and not entry.what.endswith(".") and len(entry.what) <= 80


def test_every_class_of_the_folder_is_in_the_table():
    """And type checkers are shown what the table loads."""
    found = {
        cls.__name__
        for cls in _subclasses(hypergrad.HypergradMethod)
        if not inspect.isabstract(cls) and cls.__module__.startswith("sobirl.hypergrad.")
    }
    assert found == {entry.class_name for entry in METHODS.values()}
    tree = ast.parse(inspect.getsource(methods))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and len(n.body) > 1]
    assert {alias.asname for node in block.body for alias in node.names} == found


def _subclasses(cls):
    return {cls, *(deeper for child in cls.__subclasses__() for deeper in _subclasses(child))}


def test_methods_for_what_a_problem_offers():
    anything = methods_for()
    assert {"exact", "m-sobirl", "amd", "pbrl"} <= set(anything)
    assert {"hpgd", "plug-in", "zero-order"} <= set(methods_for("return")) - set(anything)
    assert set(methods_for("loss")) - set(anything) == {"sobirl", "stoc-sobirl"}
    transition = methods_for("return", x_enters=("reward", "transition"))
    assert "hpgd" in transition and "plug-in" not in transition
    assert methods_for("return", x_enters=("temperature",)) == [
        "exact",
        "amd",
        "pbrl",
        "zero-order",
    ]


def test_a_method_by_its_name_its_class_and_itself():
    method = as_method("m-sobirl-normalized")
    assert isinstance(method, sb.MSoBiRL) and method.normalize
    assert as_method(method) is method
    assert isinstance(as_method(sb.PlugIn), sb.PlugIn)
    assert isinstance(as_method(None), sb.Exact)


@pytest.mark.parametrize("method", [sb.Exact, "exact", None])
def test_minimize_takes_a_name_and_a_class(method):
    problem, x = INCENTIVES.problem(), INCENTIVES.x0()
    ours = sb.minimize(problem, x, method, OPTIMIZER, num_steps=2, progress=False)
    theirs = sb.minimize(problem, x, sb.Exact(), OPTIMIZER, num_steps=2, progress=False)
    assert same_bits(ours.x, theirs.x)


OPTIMIZER = optax.sgd(0.1)


@pytest.mark.parametrize("method", [sb.MSoBiRL, "exact"])
def test_check_gradients_takes_a_name_and_a_class(method):
    check = sb.check_gradients(INCENTIVES.problem(), INCENTIVES.x0(), method, directions=1)
    assert check.ok == (method == "exact")
    assert ("Exact" if method == "exact" else "MSoBiRL") in check.verdict


class Unfinished:
    def init(self, problem, x, key):
        return ()


class Choosy(Unfinished):
    def __init__(self, rate):
        pass


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("exakt", "method: there is no 'exakt'; choose from exact, m-sobirl, "),
        (Choosy, "method: Choosy cannot be made without arguments .*rate.*; give an instance"),
        (Unfinished, "method: expected a method such as .*, got Unfinished, which has no estimate"),
        (3, "method: expected a method such as .*, got int, which has no init and no estimate"),
    ],
)
def test_what_is_no_method_is_refused(method, message, as_for_users):
    with pytest.raises(sb.InvalidInputError, match=message):
        sb.minimize(INCENTIVES.problem(), INCENTIVES.x0(), method, num_steps=1)


class Answers:
    """A method of which tests choose what it answers, from what would be right."""

    def __init__(self, answer, state=None):
        self.answer, self.state = answer, jnp.zeros(()) if state is None else state

    def init(self, problem, x, key):
        return self.state

    def estimate(self, problem, x, state, key):
        gradient = jax.grad(lambda x: problem.value(x, throw=False))(x)
        metrics = {"objective": jnp.zeros(()), "status": jnp.int32(0)}
        return self.answer(gradient, state, metrics)


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (lambda g, s, m: g, r"got \{pay: float64\[2\]\} alone"),
        (lambda g, s, m: (g, s), "got 2 things"),
        (lambda g, s, m: (g["pay"], s, m), r"got a hypergradient of float64\[2\] for x of \{pay"),
        (lambda g, s, m: (g, s[None], m), r"got a state of float64\[1\] after one of float64\[\]"),
        (lambda g, s, m: (g, s, s), r"got metrics that are float64\[\]"),
        (lambda g, s, m: (g, s, {}), "got metrics without `objective` and `status`"),
        (lambda g, s, m: (g, s, {"status": m["status"]}), "got metrics without `objective`$"),
        (lambda g, s, m: (g, s, {**m, "w": g["pay"]}), r"got a metric `w` of float64\[2\]"),
        (lambda g, s, m: (g, s, {**m, "status": s}), r"got a `status` of float64\[\]"),
    ],
)
def test_a_method_that_answers_something_else_gets_one_sentence(answer, got, as_for_users):
    sentence = r"^method: Answers\.estimate must return \(hypergradient, state, metrics\): .*; "
    with pytest.raises(sb.InvalidInputError, match=sentence + got):
        sb.minimize(INCENTIVES.problem(), INCENTIVES.x0(), Answers(answer), num_steps=1)


def test_a_state_that_is_no_array_gets_one_sentence(as_for_users):
    method = Answers(lambda *parts: parts, state="nothing yet")
    with pytest.raises(sb.InvalidInputError, match=r"Answers.init .* arrays, got 'nothing yet'"):
        sb.minimize(INCENTIVES.problem(), INCENTIVES.x0(), method, num_steps=1)


def test_a_method_that_is_no_module_works(as_for_users):
    """With the three things that the outer loop needs and nothing else."""
    method = Answers(lambda *parts: parts)
    problem, x = INCENTIVES.problem(), INCENTIVES.x0()
    result = sb.minimize(problem, x, method, OPTIMIZER, num_steps=2, progress=False)
    expected = sb.minimize(problem, x, "exact", OPTIMIZER, num_steps=2, progress=False)
    np.testing.assert_allclose(result.final_x["pay"], expected.final_x["pay"], rtol=1e-8)


def test_a_diverged_single_loop_names_what_converges():
    problem, x = INCENTIVES.problem(), {"pay": jnp.array([0.3, 0.2])}
    method = sb.MSoBiRL(adjoint_step_size=1e200)
    with pytest.warns(RuntimeWarning, match='adjoint_step="occupancy", normalize=True') as record:
        result = sb.minimize(problem, x, method, OPTIMIZER, num_steps=5, progress=False)
    assert result.status is sb.Status.NOT_FINITE
    for text in (result.advice, str(result), str(record[0].message)):
        assert "m-sobirl-normalized" in text and "Exact()" in text and "smaller steps" in text
    normalized = sb.MSoBiRL("occupancy", normalize=True)
    advice = methods.advice(normalized, sb.Status.NOT_FINITE)
    assert "Exact()" in advice and "normalize" not in advice
    for status in (sb.Status.CONVERGED, sb.Status.STEP_LIMIT):
        assert methods.advice(normalized, status) == status.advice
    assert methods.advice(Unfinished(), sb.Status.INVALID) == sb.Status.INVALID.advice


SAMPLING = [name for name, entry in METHODS.items() if entry.needs.samples]


@pytest.mark.parametrize("steps", [2, 100, 10_000])
@pytest.mark.parametrize("name", SAMPLING)
def test_a_budget_is_kept(name, steps):
    """The steps that the sizes come to, without a simulation."""
    method, problem = with_budget(name, INCENTIVES.problem(), steps)
    assert isinstance(method, METHODS[name].load())
    if METHODS[name].needs.objective == "loss":
        assert isinstance(problem.objective, sb.TrajectoryLoss)
        used = method.num_tuples * problem.objective.horizon
    else:
        assert problem.objective is not None and isinstance(problem.objective, sb.LeaderReturn)
        used = method.num_envs * method.rollout_steps * (2 if name == "zero-order" else 1)
    assert steps / 2 < used <= steps


def test_a_budget_leaves_options_and_losses_alone():
    method, _ = with_budget("zero-order", INCENTIVES.problem(), 1000, scale=0.5, num_envs=3)
    assert (method.scale, method.num_envs, method.rollout_steps) == (0.5, 3, 200)
    exact, problem = with_budget("exact", INCENTIVES.problem(), 1000, rtol=1e-8)
    assert exact.rtol == 1e-8 and isinstance(problem.objective, sb.LeaderReturn)
    problem = PREFERENCES.problem()
    assert with_budget("sobirl", problem, 1000)[1] is problem
    with pytest.raises(sb.InvalidInputError, match="steps: must be at least 1, got 0"):
        with_budget("hpgd", INCENTIVES.problem(), 0)
    with pytest.raises(sb.InvalidInputError, match="there is no 'q'"):
        with_budget("q", INCENTIVES.problem(), 10)


def test_an_entry_may_hold_a_class(monkeypatch):
    entry = MethodEntry(sb.HPGD, "as it is", Needs("return"), {"num_envs": 3})
    monkeypatch.setitem(METHODS, "mine", entry)
    assert entry.class_name == "HPGD" and as_method("mine").num_envs == 3
    assert "mine" in methods_for("return") and "mine" not in methods_for()
