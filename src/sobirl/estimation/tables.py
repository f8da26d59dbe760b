"""Tables of estimates: for the terminal, for LaTeX, for pandas."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sobirl.core.errors import InvalidInputError

if TYPE_CHECKING:
    from sobirl.estimation.result import ChoiceResult

_WIDTH = 78
_ERRORS = {
    "hessian": "inverse Hessian",
    "opg": "outer product of scores",
    "sandwich": "sandwich",
    "cluster": "clustered by unit",
}
_FIRST = {
    "fixed": "taken as known",
    "murphy-topel": "Murphy-Topel",
    "joint": "estimated jointly",
}


def summary(result: "ChoiceResult", level: float) -> str:
    """A table as statsmodels prints it."""
    facts = [
        ("No. observations", f"{result.num_observations}"),
        ("Log-likelihood", f"{result.log_likelihood:.3f}"),
        ("No. units", f"{result.data.panel.num_units}"),
        ("AIC", f"{result.aic:.3f}"),
        ("States", f"{_states(result)}"),
        ("BIC", f"{result.bic:.3f}"),
        ("Discount factor", f"{result.model.discount:g}"),
        ("Converged", "yes" if result.found.newton.converged else "no"),
        ("Covariance", _ERRORS[result.cov_type]),
        ("Steps", f"{result.found.newton.steps}"),
        ("Transitions", _transitions(result)),
    ]
    if any(seen is not None for seen in result.data.seen):
        facts.append(("Joint log-lik.", f"{result.joint_log_likelihood:.3f}"))
    half = _WIDTH // 2 - 1
    cells = [f"{name}:{value:>{half - len(name) - 1}}" for name, value in facts]
    lines = [
        f"Dynamic discrete choice, {result.estimator.title}".center(_WIDTH).rstrip(),
        "=" * _WIDTH,
    ]
    for i in range(0, len(cells), 2):
        lines.append("  ".join(cells[i : i + 2]).rstrip())
    percent = 100 * (1 - level) / 2
    heads = ("coef", "std err", "z", "P>|z|", f"[{percent / 100:.3f}", f"{1 - percent / 100:.3f}]")
    width = max(16, *(len(name) + 1 for name in result.names))
    lines += ["=" * _WIDTH, " " * width + "".join(f"{head:>10}" for head in heads), "-" * _WIDTH]
    low, high = result.confidence_intervals(level).T
    columns = result.values, result.standard_errors, result.z_values, result.p_values, low, high
    for name, free, *row in zip(result.names, result.moving, *columns, strict=True):
        if not free:
            lines.append(f"{name:<{width}}{_number(row[0]):>10}     fixed")
            continue
        value, error, z, p, *interval = row
        numbers = [_number(value), _number(error), f"{z:.3f}", f"{p:.3f}", *map(_number, interval)]
        lines.append(f"{name:<{width}}" + "".join(f"{number:>10}" for number in numbers))
    lines += ["=" * _WIDTH, f"Identification: {result.identification}"]
    return "\n".join(lines)


def _states(result: "ChoiceResult") -> str:
    spaces = result.data.spaces.values()
    sizes = [len(space.values) for space in spaces]
    total = int(np.prod(sizes, dtype=np.int64))
    return f"{total}" if len(sizes) == 1 else f"{' x '.join(map(str, sizes))} = {total}"


def _transitions(result: "ChoiceResult") -> str:
    if all(seen is None for seen in result.data.seen):
        return "given"
    return f"{_FIRST[result.first_stage]}"


def _number(value: float) -> str:
    """Nine characters at most."""
    if not np.isfinite(value):
        return "nan"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}"
    return f"{value:.2e}" if abs(value) < 1e-3 or abs(value) >= 1e6 else f"{value:.1f}"


def latex(
    results: "Sequence[ChoiceResult]", caption: str | None = None, label: str | None = None
) -> str:
    r"""Estimates side by side, a column each, with standard errors in parentheses."""
    names = list(dict.fromkeys(name for result in results for name in result.names))
    lines = [rf"\begin{{tabular}}{{l{'r' * len(results)}}}", r"\toprule"]
    if len(results) > 1:
        heads = " & ".join(f"({i + 1})" for i in range(len(results)))
        lines += [rf" & {heads} \\", r"\midrule"]
    for name in names:
        values, errors = [], []
        for result in results:
            place = result.names.index(name) if name in result.names else None
            values.append("" if place is None else _number(result.values[place]))
            known = place is not None and bool(result.moving[place])
            errors.append(f"({_number(result.standard_errors[place])})" if known else "")
        lines += [rf"{_escaped(name)} & {' & '.join(values)} \\", rf" & {' & '.join(errors)} \\"]
    logs = " & ".join(f"{result.log_likelihood:.3f}" for result in results)
    counts = " & ".join(f"{result.num_observations}" for result in results)
    lines += [
        r"\midrule",
        rf"Log-likelihood & {logs} \\",
        rf"Observations & {counts} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if caption is None and label is None:
        return "\n".join(lines)
    around = [r"\begin{table}", r"\centering"]
    around += [rf"\caption{{{caption}}}"] * (caption is not None)
    around += [rf"\label{{{label}}}"] * (label is not None)
    return "\n".join([*around, *lines, r"\end{table}"])


def _escaped(text: str) -> str:
    for mark in ("\\", "_", "%", "&", "#", "$", "{", "}"):
        text = text.replace(mark, rf"\{mark}" if mark != "\\" else r"\textbackslash ")
    return text


def plain(result: "ChoiceResult", level: float) -> dict[str, Any]:
    """Plain numbers and text."""
    low, high = result.confidence_intervals(level).T
    return {
        "parameters": list(result.names),
        "estimates": result.values.tolist(),
        "standard_errors": result.standard_errors.tolist(),
        "z": result.z_values.tolist(),
        "p_values": result.p_values.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "level": level,
        "log_likelihood": result.log_likelihood,
        "joint_log_likelihood": result.joint_log_likelihood,
        "observations": result.num_observations,
        "units": result.data.panel.num_units,
        "cov_type": result.cov_type,
        "first_stage": result.first_stage,
        "identification": str(result.identification),
    }


def frame(result: "ChoiceResult", level: float):
    """A pandas frame, a row a parameter."""
    pandas = require_pandas()
    low, high = result.confidence_intervals(level).T
    return pandas.DataFrame(
        {
            "estimate": result.values,
            "std_error": result.standard_errors,
            "z": result.z_values,
            "p_value": result.p_values,
            "low": low,
            "high": high,
        },
        index=pandas.Index(result.names, name="parameter"),
    )


def require_pandas():
    """The package, or an error that says how to get it."""
    try:
        import pandas
    except ImportError:
        raise InvalidInputError(
            "to_frame: needs pandas; install it with pip install pandas"
        ) from None
    return pandas
