"""One HTML page for a comparison of runs: no script, no network, every figure within."""

import base64
import html

from sobirl.runs.saved import SavedRun

TITLE = "<title>sobirl report</title>"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
table { border-collapse: collapse; }
.wide { overflow-x: auto; }
th, td { border-bottom: 1px solid #8886; padding: .25rem .75rem; text-align: left; }
td { font-variant-numeric: tabular-nums; }
code { font-size: .9em; }
img { background: white; max-width: 100%; }
"""

Section = tuple[str, list[dict[str, str]], bytes, list[SavedRun]]


def page(sections: list[Section]) -> str:
    """The whole page.

    Args:
        sections: for every problem its name, the rows of its table, its curves as PNG, its runs.
    """
    body = "".join(_section(*section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"{TITLE}\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>sobirl report</h1>\n{body}"
        "</body>\n</html>\n"
    )


def _section(problem: str, rows: list[dict[str, str]], curves: bytes, runs: list[SavedRun]) -> str:
    return (
        f"<h2>{html.escape(problem)}</h2>\n{_table(rows)}\n"
        f"{_image(curves, f'curves of {problem}')}\n" + "".join(_run(run) for run in runs)
    )


def _table(rows: list[dict[str, str]]) -> str:
    """A line for every number, a column for every run."""
    head, *names = list(rows[0])
    lines = [_line("th", "", [row[head] for row in rows])]
    lines += [_line("td", name, [row[name] for row in rows]) for name in names]
    return f'<div class="wide"><table>\n{"".join(lines)}</table></div>'


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
