"""The API reference: a page for every layer, made from `sobirl.__all__`, so that none is missing.

A public name without a docstring fails the build.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Collection
from types import ModuleType

from docstrings import public_members, undocumented
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

import sobirl
from sobirl.experiments.registry import EXPERIMENTS

# Names are sorted by the layer that defines them; a layer without a title here has its own name.
TITLES = {
    "bilevel": "Bilevel problems",
    "hypergrad": "Methods",
    "mdp": "Soft MDPs",
    "solvers": "Solving and evaluating",
    "estimation": "Discrete choice",
    "problems": "Published problems",
    "core": "Responses and errors",
}
# Layers whose names are not, or not all, at the top level: their modules have the others.
FURTHER = {
    "experience": "Experience",
    "prefs": "Preferences",
    "deep": "Deep followers",
    "runs": "Run directories",
    "experiments": "Experiments",
    "sweeps": "Sweeps",
    "bench": "The benchmark",
    "testing": "Conformance suites",
}


def on_config(config, **_):
    """Check the docstrings, and put the pages into the navigation."""
    further = [module for layer in FURTHER for module in _modules(layer)]
    modules = (sobirl, *_problems(), *further)
    missing = [f"{m.__name__}.{name}" for m in modules for name in undocumented(m)]
    if missing:
        raise PluginError(f"without a docstring: {', '.join(missing)}")
    section = next(entry for entry in config.nav if "API reference" in entry)
    section["API reference"] = [{_title(layer): _path(layer)} for layer in _layers()]
    return config


def on_files(files, config, **_):
    """Add the pages."""
    for layer, names in _layers().items():
        files.append(File.generated(config, _path(layer), content=_page(layer, names)))
    return files


def _modules(layer: str) -> list[ModuleType]:
    """The modules of a layer that define public names, where they define them.

    Folders of commands are left out: their pages and their help say what they are.
    """
    package = importlib.import_module(f"sobirl.{layer}")
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    names = (module.name for module in found)
    commands = tuple(".".join(kind.__module__.split(".")[:3]) for kind in EXPERIMENTS.values())
    public = (
        name
        for name in names
        if not any(p[0] == "_" for p in name.split(".")) and not name.startswith(commands)
    )
    modules = [importlib.import_module(name) for name in public]
    return [module for module in modules if public_members(module)]


def _problems() -> list[ModuleType]:
    """The modules of the problems that the command line has by the same name."""
    names = (name.replace("-", "_") for name in EXPERIMENTS)
    return [getattr(sobirl.problems, name) for name in names if hasattr(sobirl.problems, name)]


def _layers() -> dict[str, list[str]]:
    """Layer -> the names at the top level that it defines."""
    layers: dict[str, list[str]] = {layer: [] for layer in (*TITLES, *FURTHER)}
    for module, names in sobirl._PUBLIC.items():
        layers.setdefault(module.split(".")[1], []).extend(sorted(names))
    layers["problems"].append("problems")
    return layers


def _module_of(name: str) -> str:
    """Where a public name comes from."""
    return next(module for module, names in sobirl._PUBLIC.items() if name in names)


def _title(layer: str) -> str:
    return (TITLES | FURTHER).get(layer, layer.capitalize())


def _path(layer: str) -> str:
    return f"reference/{layer}.md"


def _page(layer: str, names: list[str]) -> str:
    """What mkdocstrings reads."""
    package = importlib.import_module(f"sobirl.{layer}")
    parts = [f"# {_title(layer)}", package.__doc__.splitlines()[0]]
    for name in names:
        thing = getattr(sobirl, name)
        if thing is sobirl.problems:
            parts += [_members(thing, "sobirl.problems", level=2)]
            parts += [_module(module, module.__name__) for module in _problems()]
        elif inspect.ismodule(thing):
            parts += [_module(thing, thing.__name__, names)]
        else:
            where = getattr(thing, "__module__", None) or _module_of(name)
            parts += [f"::: {where}.{name}\n    options:\n      heading: sobirl.{name}"]
    if layer in FURTHER:
        modules = [m for m in _modules(layer) if not {*public_members(m)} <= {*names}]
        parts += [_module(module, module.__name__, names) for module in modules]
    return "\n\n".join(parts)


def _module(module: ModuleType, path: str, without: Collection[str] = ()) -> str:
    """A module's members, but for those that stand elsewhere."""
    heading = f"## {path} {{ #{path} }}"
    members = _members(module, path, level=3, without=without)
    return "\n\n".join([heading, inspect.getdoc(module), members])


def _members(module: ModuleType, path: str, level: int, without: Collection[str] = ()) -> str:
    return "\n\n".join(
        f"::: {path}.{member}\n    options:\n      heading_level: {level}"
        for member in public_members(module)
        if member not in without
    )
