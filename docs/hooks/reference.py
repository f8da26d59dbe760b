"""The API reference: a page for every layer, made from `sobirl.__all__`, so that none is missing.

A public name without a docstring fails the build.
"""

import importlib
import inspect
from pkgutil import iter_modules
from types import ModuleType

from docstrings import public_members, undocumented
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

import sobirl
from sobirl import deep

# Names are sorted by the layer that defines them; a layer without a title here has its own name.
TITLES = {
    "bilevel": "Bilevel problems",
    "hypergrad": "Methods",
    "mdp": "Soft MDPs",
    "solve": "Solving and evaluating",
    "problems": "Published problems",
    "core": "Responses and errors",
}
# Layers whose names are not at the top level: title, and the modules that have them.
FURTHER = {
    "experience": ("Experience", ("sobirl.experience", "sobirl.experience.replay")),
    "prefs": ("Preferences", ("sobirl.prefs",)),
    "deep": ("Deep followers", tuple(f"sobirl.deep.{m.name}" for m in iter_modules(deep.__path__))),
}


def on_config(config, **_):
    """Check the docstrings, and put the pages into the navigation."""
    further = [importlib.import_module(path) for _, paths in FURTHER.values() for path in paths]
    modules = (sobirl, *_problems(), *further)
    missing = [name for module in modules for name in undocumented(module)]
    if missing:
        raise PluginError(f"without a docstring: {', '.join(missing)}")
    section = next(entry for entry in config.nav if "API reference" in entry)
    section["API reference"] = [
        {title: _path(layer)}
        for layer, title in (
            *((layer, _title(layer)) for layer in _layers()),
            *((layer, title) for layer, (title, _) in FURTHER.items()),
        )
    ]
    return config


def on_files(files, config, **_):
    """Add the pages."""
    for layer, names in _layers().items():
        files.append(File.generated(config, _path(layer), content=_page(layer, names)))
    for layer, (title, paths) in FURTHER.items():
        parts = [f"# {title}", importlib.import_module(f"sobirl.{layer}").__doc__]
        parts += [_module(importlib.import_module(path), path) for path in paths]
        files.append(File.generated(config, _path(layer), content="\n\n".join(parts)))
    return files


def _problems() -> list[ModuleType]:
    return [sobirl.problems.load(name) for name in sobirl.problems.names()]


def _layers() -> dict[str, list[str]]:
    """Layer -> the public names that it defines."""
    layers = {layer: [] for layer in TITLES}
    for name in sobirl.__all__:
        thing = getattr(sobirl, name)
        module = thing.__name__ if inspect.ismodule(thing) else thing.__module__
        layers.setdefault(module.split(".")[1], []).append(name)
    return {layer: names for layer, names in layers.items() if names}


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
            parts += [_module(thing, f"sobirl.{name}")]
        else:
            parts += [f"::: sobirl.{name}"]
    return "\n\n".join(parts)


def _module(module: ModuleType, path: str) -> str:
    heading = f"## {path} {{ #{path} }}"
    return "\n\n".join([heading, inspect.getdoc(module), _members(module, path, level=3)])


def _members(module: ModuleType, path: str, level: int) -> str:
    return "\n\n".join(
        f"::: {path}.{member}\n    options:\n      heading_level: {level}"
        for member in public_members(module)
    )
