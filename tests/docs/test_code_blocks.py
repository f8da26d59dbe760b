"""Every code block of README.md and docs/: Python and commands run, make targets exist.

In the default run the options and input files of `sobirl run` are checked; it is carried out,
small, where what follows reads the run (every command has tests of its own), and sweeps have one
seed. With the slow marker all run as written.
A block with a title is a file, which commands after it may run.
"""

import contextlib
import dataclasses
import importlib.util
import io
import re
import runpy
import shlex
import sys
import textwrap
import traceback
from pathlib import Path

import pytest

from arguments import options_from
from sobirl.apps import cli
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.hypergrad import METHODS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Folders whose files commands and Python name.
FOLDERS = ("benchmarks", "examples", "src", "tests")
PRINTED = {
    "README.md": (
        "toll revenue 4.112",
        "Good: Exact's hyper-gradient agrees",
        "tolls in place 0: [0.177 0.206 0.149]",
    ),
    "docs/problems/your-own.md": ("toll 0.830, revenue 0.530", "minus the revenue"),
}

# Pages whose blocks the slow tests run: what they show has tests of its own.
DEAR = ("concepts", "four-rooms", "rlhf", "runs", "scale", "sobirl", "sweeps", "transitions")
EXECUTED = ("python",)
COMMANDS = ("bash", "console")
SHOWN = ("csv", "json", "text")

# What the default run appends to `sobirl run PROBLEM`, where the problem has such an option.
SMALL = {"num_steps": 3, "starts": 2, "points": 21, "walkers": 50}
SMALL_PANEL = {"buses": 60, "periods": 60}
ONE_SEED = re.compile(r"^seeds = \d+", flags=re.MULTILINE)
# Commands that read runs: those of their block are carried out.
READERS = re.compile(r"sobirl (show|resume|report)")
# Programs of others: not run.
SET_UP = ("git", "pip", "tensorboard")

# Scripts of these folders are run as they are; others only answer to --help.
EXAMPLES = (".", "examples")
TITLE = re.compile(r'(?:python|toml|bash) title="([\w-]+\.(?:py|toml|sbatch))"')

FENCE = re.compile(r"^( *)(`{3,})(.*?)\n(.*?)^\1\2 *$", flags=re.DOTALL | re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of the first line of code
    language: str
    code: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, match.start(4)) + 1,
            match[3].strip(),
            textwrap.dedent(match[4]),
        )
        for match in FENCE.finditer(text)
    ]


def commands(block: Block) -> list[tuple[int, list[str]]]:
    """The words of every command of a block, with its line; in a console those after a $."""
    prompt = r"^\$ " if block.language == "console" else "^"
    found = []
    for match in re.finditer(rf"{prompt}((?:.*\\\n)*.*)$", block.code, flags=re.MULTILINE):
        line = block.line + block.code.count("\n", 0, match.start())
        if words := shlex.split(match[1].replace("\\\n", " "), comments=True):
            found.append((line, words))
    return found


def run_command(words: list[str]) -> None:
    program, *arguments = words
    match Path(program).name:
        case "sobirl":
            run_sobirl(arguments)
        case "python":
            check_python(arguments)
        case "make":
            check_make(arguments)
        case name:
            assert name in SET_UP, f"{name}: this test does not know what to do with it"


def run_sobirl(arguments: list[str]) -> None:
    try:
        cli.main(arguments)
    except SystemExit as exit_:
        assert exit_.code in (0, None), f"exit code {exit_.code}"


def reductions(problem: str, options: list[str]) -> list[str]:
    """The options that make `sobirl run PROBLEM` small."""
    small = SMALL | (SMALL_PANEL if "--simulate" in options else {})
    offered = {field.name for field in dataclasses.fields(EXPERIMENTS[problem])}
    chosen = [(name.replace("_", "-"), size) for name, size in small.items() if name in offered]
    return [word for name, size in chosen for word in (f"--{name}", str(size))]


def check_python(arguments: list[str]) -> None:
    """An example runs; another script answers to --help and knows the options; a module exists."""
    script, *options = arguments
    if script == "-m":
        assert importlib.util.find_spec(options[0])
        return
    if str(Path(script).parent) in EXAMPLES:
        run_script(script, options)
        return
    printed = io.StringIO()
    with pytest.raises(SystemExit) as exit_, contextlib.redirect_stdout(printed):
        run_script(script, ["--help"])
    assert exit_.value.code in (0, None)
    for option in options:
        assert not option.startswith("--") or option in printed.getvalue(), option


def run_script(script: str, arguments: list[str]) -> None:
    """As `python SCRIPT ARGUMENTS`, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *arguments])
        patch.syspath_prepend(str(Path(script).parent.resolve()))
        runpy.run_path(script, run_name="__main__")


def check_make(arguments: list[str]) -> None:
    targets = [word for word in arguments if "=" not in word]
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"no target {target}"


def run_page(page: Path, small: bool = False) -> None:
    """All blocks of a page, in order, in one namespace and one directory."""
    namespace = {"__name__": "__main__"}
    for block in blocks(page):
        place = f"{page.relative_to(ROOT)}:{block.line}"
        if title := TITLE.fullmatch(block.language):
            Path(title[1]).write_text(
                ONE_SEED.sub("seeds = 1", block.code) if small else block.code
            )
            continue
        assert block.language in (*EXECUTED, *COMMANDS, *SHOWN), (
            f"{place}: a block of {block.language or 'no language'}"
        )
        if block.language in EXECUTED:
            # Empty lines before it give the traceback the page's own line numbers.
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, str(page), "exec"), namespace)
        if block.language in COMMANDS:
            for line, words in commands(block):
                try:
                    match words:
                        case ["sobirl", "run", problem, *options] if small:
                            run_small(problem, options, due=bool(READERS.search(block.code)))
                        # No cluster and no hour for a page.
                        case ["sobirl", "sweep", *_, "ray"] | ["sobirl", "bench", *_] if small:
                            run_command([*(w for w in words if w != "--dry-run"), "--dry-run"])
                        case _:
                            run_command(words)
                except BaseException as error:
                    error.add_note(f"{page.relative_to(ROOT)}:{line}: {shlex.join(words)}")
                    raise


def run_small(problem: str, options: list[str], due: bool) -> None:
    """`sobirl run` with sizes that take little time; or if that is not due, a check of options."""
    if due:
        run_sobirl(["run", problem, *options, *reductions(problem, options)])
    elif "--help" not in options:
        options_from(EXPERIMENTS[problem], options).validate()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty directory, but for the repository's folders; what pages add is undone."""
    for folder in FOLDERS:
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    kept = [(table, dict(table)) for table in (EXPERIMENTS, METHODS)]
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    for table, before in kept:
        table.clear()
        table.update(before)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def marked(page: Path):
    """The default run has one page of the methods', two of the problems', and none of sweeps'."""
    alike = name_of(page.parent) in ("docs/methods", "docs/problems")
    kept = ("docs/methods/sobirl.md", "docs/problems/four-rooms.md", "docs/problems/your-own.md")
    slow = (alike and name_of(page) not in kept) or page.stem in DEAR
    return pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_blocks(page, workplace, capsys):
    run_page(page, small=True)
    printed = capsys.readouterr().out
    for words in PRINTED.get(name_of(page), ()):
        assert words in printed


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if "sobirl run" in p.read_text()], ids=name_of)
def test_commands_as_written(page, workplace):
    run_page(page)


def test_a_block_with_a_title_is_a_file_that_runs(tmp_path, workplace, capsys):
    page = tmp_path / "page.md"
    code = "import sys\nprint(sys.argv[1:], __name__)\n"
    page.write_text(f'```python title="mine.py"\n{code}```\n\n```bash\npython mine.py a --b\n```\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "ROOT", tmp_path)
        run_page(page)
    assert capsys.readouterr().out == "['a', '--b'] __main__\n"


def test_blocks_are_found(tmp_path):
    """Also in lists; console output is no command; a comment is none either."""
    page = tmp_path / "page.md"
    page.write_text("a\n\n```python\nx = 1\n```\n\n* b\n\n  ```console\n  $ make x\n  out\n  ```\n")
    python, console = blocks(page)
    assert (python.line, python.language, python.code) == (4, "python", "x = 1\n")
    assert console.language == "console"
    assert commands(console) == [(10, ["make", "x"])]
    bash = Block(page, 7, "bash", "# nothing\n\nsobirl run x \\\n  --a 'b c' # d\nmake e\n")
    assert commands(bash) == [(9, ["sobirl", "run", "x", "--a", "b c"]), (11, ["make", "e"])]


@pytest.mark.parametrize(
    "block",
    [
        "```\nmake test\n```",
        "```fortran\nSTOP\n```",
        "```python\nx = 1 / 0\n```",
        "```bash\nmake nothing-of-the-kind\n```",
        "```bash\nrm -r .\n```",
        "```bash\nsobirl run chess\n```",
        "```bash\npython benchmarks/bench_four_rooms.py --nothing\n```",
        "```bash\npython missing.py\n```",
    ],
)
def test_bad_blocks_fail(block, tmp_path, workplace, monkeypatch):
    """And the failure names the page and the line."""
    page = tmp_path / "page.md"
    page.write_text(f"{block}\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "Makefile").write_text("test:\n")
    with pytest.raises((AssertionError, FileNotFoundError, ZeroDivisionError)) as error:
        run_page(page)
    assert re.search(
        r'page\.md(:|", line )[12]\b', "".join(traceback.format_exception(error.value))
    )
