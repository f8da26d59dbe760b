"""The methods of the documentation, from the table `METHODS`: the index page and the navigation."""

from sobirl.hypergrad.methods import EVERYTHING, METHODS, MethodEntry

MARK = "<!-- the table of methods -->"
_SYMBOLS = {"initial": r"$\rho$", "transition": "transitions"}


def on_config(config, **_):
    """Put the methods' pages into the navigation, in the order of the table."""
    section = next(entry for entry in config.nav if "Methods" in entry)
    pages = dict.fromkeys(page(name, entry) for name, entry in METHODS.items())
    section["Methods"] = [f"methods/{stem}.md" for stem in ("index", *pages, "your-own")]
    return config


def on_page_markdown(markdown, **_):
    """Put the table where it is asked for."""
    return markdown.replace(MARK, table())


def page(name: str, entry: MethodEntry) -> str:
    """The file name of a method's page, without its ending."""
    return entry.page or name


def table() -> str:
    """All methods: name, class, what it is and what it needs."""
    head = ["name", "class", "what it is", "objective", "$x$ may enter", "transition law"]
    rows = [head, ["---"] * len(head)]
    for name, entry in METHODS.items():
        needs = entry.needs
        enters = ", ".join(_SYMBOLS.get(place, place) for place in needs.x_enters)
        rows.append(
            [
                f"`{name}`",
                f"[`{entry.class_name}`]({page(name, entry)}.md)",
                entry.what,
                needs.objective,
                "everything" if {*needs.x_enters} == {*EVERYTHING} else enters,
                "simulated" if needs.samples else "known",
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
