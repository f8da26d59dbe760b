"""A discrete-choice model as a TOML file.

    discount = 0.9999
    actions = ["keep", "replace"]

    [columns]                              # names in the data, where they are others
    unit = "Bus_ID"
    action = "decision"

    [states]
    state = 90                             # a number of levels, the levels, or { bins = [...] },
                                           # { width = 5000, count = 90 }, { quantiles = 10 }
    [transitions.state]
    increments = 3                         # or frequencies = true, with by_action, by_type,
    reset = ["replace"]                    # smoothing, toward
    column = "usage"

    [features.RC]                          # parameter -> action -> formula of the columns
    replace = "-1"
    [features.theta]
    keep = "-0.001 * state"

Formulas have numbers, columns, + - * / ** ( ), and sqrt, exp, log, abs, min, max; comparisons are 0
or 1; `period` is the period where there is a horizon.
"""

import ast
import operator
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import about, listed, read_text, shown, suggestion
from sobirl.estimation.frequencies import Frequencies
from sobirl.estimation.increments import Increments
from sobirl.estimation.levels import Bins, Quantiles
from sobirl.estimation.model import DiscreteChoice

_TOP = (
    "discount", "scale", "horizon", "actions", "columns", "states", "types", "transitions",
    "features", "available", "fit", "gaps",
)  # fmt: skip
_COLUMNS = ("unit", "period", "action", "first_period")
_FIT = ("start", "fixed")

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "abs": np.abs, "min": np.minimum,
    "max": np.maximum,
}  # fmt: skip
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def read_spec(path: str | Path) -> tuple[DiscreteChoice, dict[str, Any], dict[str, Any]]:
    """The model of a file, the arguments of `read`, and those of `fit`.

    Raises:
        InvalidInputError: there is no such file, it is no TOML, or says what no model can be; the
            message begins with the file.
    """
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"{path}: is no TOML: {error}") from None
    with about(path):
        return as_model(content)


def as_model(content: Mapping[str, Any]) -> tuple[DiscreteChoice, dict[str, Any], dict[str, Any]]:
    """The model that a TOML file's content says, the arguments of `read`, and those of `fit`.

    Raises:
        InvalidInputError: a key or a value that it cannot have.
    """
    _known("", content, _TOP)
    for name in ("actions", "states", "features"):
        if name not in content:
            raise InvalidInputError(f"{name}: is missing")
    columns = _table("columns", content)
    _known("columns.", columns, _COLUMNS)
    fit = _table("fit", content)
    _known("fit.", fit, _FIT)
    states, types = _spaces("states", content), _spaces("types", content)
    names = [*states, *types]
    horizon = content.get("horizon")
    features = {
        name: _formulas(f"features.{name}", table, names, horizon)
        for name, table in _table("features", content).items()
    }
    options: dict[str, Any] = {
        "states": states,
        "types": types,
        "actions": content["actions"],
        "features": features,
        "horizon": horizon,
        "transitions": _transitions(_table("transitions", content), list(states)),
    }
    for name in ("discount", "scale"):
        if name in content:
            options[name] = _number(name, content[name])
    if "available" in content:
        table = _table("available", content)
        options["available"] = _formulas("available", table, list(states), None)
    read = dict(columns) | ({"gaps": content["gaps"]} if "gaps" in content else {})
    return DiscreteChoice(**options), read, dict(fit)


def _spaces(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for column, spec in _table(name, content).items():
        where = f"{name}.{column}"
        if not column.isidentifier():
            raise InvalidInputError(f"{where}: formulas need a column name such as mileage")
        if isinstance(spec, Mapping):
            _known(f"{where}.", spec, ("bins", "quantiles", "width", "count", "start"))
            if "bins" in spec:
                spec = Bins(spec["bins"])
            elif "quantiles" in spec:
                spec = Quantiles(spec["quantiles"])
            elif {"width", "count"} <= set(spec):
                start, width = (_number(where, spec.get(k, 0)) for k in ("start", "width"))
                spec = Bins(start + width * np.arange(int(_number(where, spec["count"])) + 1))
            else:
                raise InvalidInputError(f"{where}: expected bins, quantiles, or width and count")
        found[column] = spec
    return found


def _transitions(table: Mapping[str, Any], states: list[str]) -> Any:
    """One law for all columns, or one for each."""
    if not table:
        return Frequencies()
    kinds = ("increments", "frequencies")
    if any(kind in table for kind in kinds):
        return _law("transitions", table)
    return {column: _law(f"transitions.{column}", spec) for column, spec in table.items()}


def _law(where: str, spec: Any) -> Any:
    """A law, or a list of known ones, one a type."""
    if not isinstance(spec, Mapping):
        raise InvalidInputError(f"{where}: expected a table, got {spec!r}")
    with about(where):
        if "increments" in spec:
            names = ("increments", "reset", "column", "by_type", "probabilities", "moves", "down")
            _known("", spec, names)
            chances = spec.get("probabilities")
            if isinstance(chances, list) and any(isinstance(row, list) for row in chances):
                return [_law(where, {**spec, "probabilities": row}) for row in chances]
            return Increments(spec["increments"], **{k: spec[k] for k in spec if k != "increments"})
        _known("", spec, ("frequencies", "by_action", "by_type", "smoothing", "toward"))
        return Frequencies(**{k: spec[k] for k in spec if k != "frequencies"})


def _formulas(where: str, table: Any, names: list[str], horizon: Any) -> dict[Any, Any]:
    if not isinstance(table, Mapping):
        raise InvalidInputError(f"{where}: expected action = formula, got {table!r}")
    return {
        action: formula(f"{where}.{action}", text, names, horizon is not None)
        for action, text in table.items()
    }


def formula(where: str, text: Any, names: list[str], with_period: bool = False) -> Any:
    """A formula as a function of the columns; a number as itself.

    Raises:
        InvalidInputError: it has something else than numbers, columns and what is known.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    if not isinstance(text, str):
        raise InvalidInputError(f"{where}: expected a formula in quotes, got {text!r}")
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise InvalidInputError(f"{where}: {shown(text)} is no formula") from None
    known = [*names, *(["period"] if with_period else [])]
    uses_period = with_period and any(
        isinstance(node, ast.Name) and node.id == "period" for node in ast.walk(tree)
    )
    _check(where, text, tree, known)

    def plain(*columns: Any) -> Any:
        return _value(tree, dict(zip(names, columns, strict=True)))

    def timed(*columns: Any, period: Any) -> Any:
        return _value(tree, {**dict(zip(names, columns, strict=True)), "period": period})

    return timed if uses_period else plain


def _check(where: str, text: str, node: ast.expr, known: list[str]) -> None:
    """Raise for what formulas do not have; nothing is evaluated."""
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return
        case ast.Name(id=name):
            if name not in known:
                raise InvalidInputError(
                    f"{where}: {shown(text)} has {shown(name)}, which is no column"
                    f"{suggestion(name, known)}; columns are {listed(known)}"
                )
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(where, text, left, known)
            _check(where, text, right, known)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            _check(where, text, operand, known)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            _check(where, text, left, known)
            _check(where, text, right, known)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            expected = 2 if name in ("min", "max") else 1
            if len(arguments) != expected:
                raise InvalidInputError(f"{where}: {name} takes {expected}, in {shown(text)}")
            for argument in arguments:
                _check(where, text, argument, known)
        case _:
            raise InvalidInputError(
                f"{where}: {shown(text)} has something else than numbers, columns, + - * / **, "
                f"comparisons and {', '.join(_FUNCTIONS)}"
            )


def _value(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    """The value of a checked formula."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return np.float64(value)
        case ast.Name(id=name):
            return np.asarray(columns[name], np.float64)
        case ast.BinOp(left=left, op=op, right=right):
            with np.errstate(all="ignore"):  # what is not finite is found later
                return _BINARY[type(op)](_value(left, columns), _value(right, columns))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, columns))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            holds = _COMPARE[type(op)](_value(left, columns), _value(right, columns))
            return np.asarray(holds, np.float64)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            with np.errstate(all="ignore"):
                return _FUNCTIONS[name](*(_value(argument, columns) for argument in arguments))
    raise AssertionError(node)


def _table(name: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, Mapping):
        raise InvalidInputError(f"{name}: expected a table, got {table!r}")
    return table


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(f"{name}: must be a number, got {value!r}")
    return float(value)


def _known(where: str, table: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for key in table:
        if key not in names:
            raise InvalidInputError(
                f"{where}{key}: has no meaning here{suggestion(str(key), names)}; known are "
                f"{', '.join(names)}"
            )
