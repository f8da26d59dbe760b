"""The API reference: a page for every layer, made from `sobirl.__all__`, so that none is missing.

A public name without a docstring fails the build.
"""

import importlib
import inspect
import pkgutil
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
    "problems": "Published problems",
    "core": "Responses and errors",
    "experiments": "Runs, read back",
}
# Layers whose names are not, or not all, at the top level: their modules have them.
FURTHER = {
    "experience": "Experience",
    "prefs": "Preferences",
    "deep": "Deep followers",
    "runs": "Run directories",
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
    section["API reference"] = [
        {title: _path(layer)}
        for layer, title in (
            *((layer, _title(layer)) for layer in _layers()),
            *((layer, title) for layer, title in FURTHER.items()),
        )
    ]
    return config


def on_files(files, config, **_):
    """Add the pages."""
    for layer, names in _layers().items():
        files.append(File.generated(config, _path(layer), content=_page(layer, names)))
    for layer, title in FURTHER.items():
        parts = [f"# {title}", importlib.import_module(f"sobirl.{layer}").__doc__]
        parts += [_module(module, module.__name__) for module in _modules(layer)]
        files.append(File.generated(config, _path(layer), content="\n\n".join(parts)))
    return files


def _modules(layer: str) -> list[ModuleType]:
    """The modules of a layer that define public names, where they define them."""
    package = importlib.import_module(f"sobirl.{layer}")
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    names = (module.name for module in found)
    public = (name for name in names if not any(p[0] == "_" for p in name.split(".")))
    modules = [importlib.import_module(name) for name in public]
    return [module for module in modules if public_members(module)]


def _problems() -> list[ModuleType]:
    """The modules of the problems that the command line has by the same name."""
    names = (name.replace("-", "_") for name in EXPERIMENTS)
    return [getattr(sobirl.problems, name) for name in names if hasattr(sobirl.problems, name)]


def _layers() -> dict[str, list[str]]:
    """Layer -> the public names that it defines."""
    layers = {layer: [] for layer in TITLES}
    for module, names in sobirl._PUBLIC.items():
        layers.setdefault(module.split(".")[1], []).extend(sorted(names))
    layers["problems"].append("problems")
    return {layer: names for layer, names in layers.items() if names and layer not in FURTHER}


def _module_of(name: str) -> str:
    """Where a public name comes from."""
    return next(module for module, names in sobirl._PUBLIC.items() if name in names)


def _title(layer: str) -> str:
    return TITLES.get(layer, layer.capitalize())


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
            parts += [_module(thing, thing.__name__)]
        else:
            where = getattr(thing, "__module__", None) or _module_of(name)
            parts += [f"::: {where}.{name}\n    options:\n      heading: sobirl.{name}"]
    return "\n\n".join(parts)


def _module(module: ModuleType, path: str) -> str:
    heading = f"## {path} {{ #{path} }}"
    return "\n\n".join([heading, inspect.getdoc(module), _members(module, path, level=3)])


def _members(module: ModuleType, path: str, level: int) -> str:
    return "\n\n".join(
        f"::: {path}.{member}\n    options:\n      heading_level: {level}"
        for member in public_members(module)
    )
