"""The documentation as a whole: docstrings, links, formulas, and a build without warnings."""

import dataclasses
import functools
import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

import sobirl
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.hypergrad import METHODS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def hook(name: str) -> types.ModuleType:
    """A module of docs/hooks."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def problems() -> list[types.ModuleType]:
    """The modules of the problems that have a command."""
    names = (name.replace("-", "_") for name in EXPERIMENTS)
    return [getattr(sobirl.problems, name) for name in names if hasattr(sobirl.problems, name)]


@pytest.mark.parametrize("module", [sobirl, *problems()])
def test_public_names_are_documented(module):
    assert hook("docstrings").undocumented(module) == []


class Documented:
    """Some text."""

    number = 3

    def method(self):
        """Some text."""

    @property
    def size(self):
        """Some text."""

    def _private(self):
        pass


class Partly(Documented, dict):
    """Some text, an override without any, and a base that is not ours."""

    def method(self):
        pass

    @property
    def shape(self):
        return ()

    @functools.cached_property
    def kept(self):
        return ()

    @classmethod
    def make(cls):
        pass


@dataclasses.dataclass
class Record:
    x: int = 0


def bare():
    pass


def test_undocumented_names_are_reported():
    package = types.ModuleType("package", "Some text.")
    inner = types.ModuleType("inner")
    inner.bare, inner._hidden, inner.Path = bare, bare, Path
    members = {"Documented": Documented, "Partly": Partly, "Record": Record, "inner": inner}
    vars(package).update(members, __all__=list(members))
    for thing in (Documented, Partly, Record, bare):
        thing.__module__ = "package"
    bare.__module__ = "inner"
    assert hook("docstrings").undocumented(package) == [
        "package.Partly.kept",
        "package.Partly.make",
        "package.Partly.method",
        "package.Partly.shape",
        "package.Record",
        "package.inner",
        "package.inner.bare",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target and not target.startswith("reference/"):  # written by the build
            assert (page.parent / target).exists(), target


@pytest.fixture
def to_mathml():
    return hook("mathematics").to_mathml


@pytest.mark.parametrize(
    "latex",
    [r"\frac{1}{1 - \gamma}", r"\sum_{t=0}^\infty \gamma^t", r"\{ x < 1 \}", r"w^\top \hat{q}"],
)
def test_formulas_become_mathml(to_mathml, latex):
    mathml = to_mathml(latex, display=True)
    assert mathml.startswith('<math display="block">')
    assert "\\" not in mathml


@pytest.mark.parametrize(
    "latex", [r"\nonsense x", r"\frac{1}{", r"\begin{aligned} a &= b \end{aligned}", r"\mathbb E"]
)
def test_formulas_that_cannot_be_shown_are_refused(to_mathml, latex):
    with pytest.raises(ValueError, match="formula"):
        to_mathml(latex)


def test_functions_have_spaces_and_bars_keep_their_size(to_mathml):
    assert '<mo lspace="0.17em" rspace="0.17em">log</mo>' in to_mathml(r"\log \pi")
    assert '<mo lspace="0.17em" rspace="0em">exp</mo>' in to_mathml(r"\exp(Q)")
    assert to_mathml(r"\lVert V \rVert").count('stretchy="false"') == 2


def test_the_site_builds(tmp_path):
    """Strictly: a warning fails it."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert '<math display="block">' in (tmp_path / "mathematics.html").read_text()
    reference = "".join(page.read_text() for page in tmp_path.glob("reference/*.html"))
    headings = re.findall(r"doc-symbol-heading[^>]*></code>\s*(sobirl\.\S+)", reference)
    for name in sobirl.__all__:
        if not isinstance(getattr(sobirl, name), types.ModuleType):
            assert headings.count(f"sobirl.{name}") == 1, name
    places = re.findall(r'id="(sobirl[^"]*)"', reference)
    assert len(places) > 500
    assert sorted(places) == sorted(set(places))


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        "<img alt='x' src='http://example/x.png'>",
        "<style>@import 'https://example/x.css';</style>",
        "<style>a { background: url(https://example/x.png) }</style>",
    ],
)
def test_pages_that_load_from_elsewhere_are_refused(tmp_path, text):
    check = hook("offline").on_post_build
    config = types.SimpleNamespace(site_dir=str(tmp_path))
    page = tmp_path / "page.html"
    page.write_text('<a href="https://example">a link</a> <img src="x.png">')
    check(config)
    page.write_text(text)
    with pytest.raises(PluginError, match=r"page\.html loads from another host"):
        check(config)


def test_every_method_has_its_row_and_its_page():
    """In the order of the table, each page once; the index asks for the table."""
    methods = hook("methods")
    config = types.SimpleNamespace(nav=[{"Methods": []}])
    pages = methods.on_config(config).nav[0]["Methods"]
    assert len(pages) == len(set(pages))
    assert set(pages) == {f"methods/{page.name}" for page in (ROOT / "docs/methods").glob("*.md")}
    text = (ROOT / "docs/methods/index.md").read_text()
    shown = methods.on_page_markdown(text)
    assert text.count(methods.MARK) == 1 and methods.MARK not in shown
    for name, entry in METHODS.items():
        (row,) = [line for line in shown.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"[`{entry.class_name}`]({methods.page(name, entry)}.md)" in row
        assert entry.what in row and row.count("|") == 7


def test_every_problem_has_its_row_and_its_page():
    """Those without a place of their own in the menu stand under Problems, each once."""
    problems = hook("problems")
    config = types.SimpleNamespace(nav=[{"Problems": []}])
    entries = problems.on_config(config).nav[0]["Problems"]
    pages = [page for e in entries for page in (e.values() if isinstance(e, dict) else [e])]
    assert len(pages) == len(set(pages))
    assert set(pages) == {f"problems/{page.name}" for page in (ROOT / "docs/problems").glob("*.md")}
    text = (ROOT / "docs/problems/index.md").read_text()
    shown = problems.on_page_markdown(text)
    assert text.count(problems.MARK) == 1 and problems.MARK not in shown
    for name in EXPERIMENTS:
        assert (ROOT / "docs" / problems.page(name)).is_file()
        (row,) = [line for line in shown.splitlines() if line.startswith(f"| [`{name}`](")]
        assert row.count("|") == 3
