"""The problems of the documentation, from the registry `EXPERIMENTS`: the index and the menu."""

from sobirl.experiments.registry import EXPERIMENTS

MARK = "<!-- the table of problems -->"
_ELSEWHERE = {"incentives": "incentives.md", "rlhf": "rlhf.md"}  # with places of their own


def on_config(config, **_):
    """Put the problems' pages into the menu, by name."""
    section = next(entry for entry in config.nav if "Problems" in entry)
    pages = [{name: page(name)} for name in EXPERIMENTS if name not in _ELSEWHERE]
    section["Problems"] = ["problems/index.md", *pages, "problems/your-own.md"]
    return config


def on_page_markdown(markdown, **_):
    """Put the table where it is asked for."""
    return markdown.replace(MARK, table())


def page(name: str) -> str:
    """Where a problem's page is, from docs on."""
    return _ELSEWHERE.get(name, f"problems/{name}.md")


def table() -> str:
    """All problems: the name, and the first line of its help."""
    rows = ["| name | what it is |", "| --- | --- |"]
    for name, kind in EXPERIMENTS.items():
        target = f"../{_ELSEWHERE[name]}" if name in _ELSEWHERE else f"{name}.md"
        rows.append(f"| [`{name}`]({target}) | {(kind.__doc__ or '').splitlines()[0]} |")
    return "\n".join(rows)
