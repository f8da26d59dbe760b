"""One HTML page for a comparison of runs: no script, no network, every figure within."""

import base64
import html
from typing import NamedTuple

from sobirl.runs.saved import SavedRun

TITLE = "<title>sobirl report</title>"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
table { border-collapse: collapse; margin-bottom: 1.5rem; table-layout: fixed; width: 100%; }
th, td { border-bottom: 1px solid #8886; overflow-wrap: anywhere; padding: .25rem .75rem;
  text-align: left; vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
code { font-size: .9em; }
img { background: white; max-width: 100%; }
"""

_BESIDE = 4  # runs that fit beside one another on a page of 72rem


class Section(NamedTuple):
    """What the page says of a problem.

    Attributes:
        problem: its name.
        rows: one a run, of the table.
        curves: the figure as PNG.
        runs: the runs.
    """

    problem: str
    rows: list[dict[str, str]]
    curves: bytes
    runs: list[SavedRun]


def page(sections: list[Section]) -> str:
    """The whole page."""
    body = "".join(map(_section, sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"{TITLE}\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>sobirl report</h1>\n{body}"
        "</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    return (
        f"<h2>{html.escape(section.problem)}</h2>\n{_tables(section.rows)}\n"
        f"{_image(section.curves, f'curves of {section.problem}')}\n"
        + "".join(map(_run, section.runs))
    )


def _tables(rows: list[dict[str, str]]) -> str:
    """A line for every number, a column for every run, as many as fit beside one another."""
    head, *names = list(rows[0])
    tables = []
    for first in range(0, len(rows), _BESIDE):
        beside = rows[first : first + _BESIDE]
        lines = [_line("th", "", [row[head] for row in beside])]
        lines += [_line("td", name, [row[name] for row in beside]) for name in names]
        tables.append(f"<table>\n{''.join(lines)}</table>")
    return "\n".join(tables)


def _line(kind: str, name: str, entries: list[str]) -> str:
    cells = "".join(f"<{kind}>{html.escape(entry)}</{kind}>" for entry in entries)
    return f"<tr><th>{html.escape(name)}</th>{cells}</tr>\n"


def _run(run: SavedRun) -> str:
    figures = "".join(
        _image(path.read_bytes(), f"{path.stem} of {run.path}")
        for path in sorted((run.path / "figures").glob("*.png"))
    )
    title = html.escape(str(run.path))
    return f"<h3>{title}</h3>\n<p><code>{html.escape(run.command)}</code></p>\n{figures}\n"


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<p><img alt="{html.escape(alt)}" src="data:image/png;base64,{data}"></p>'
