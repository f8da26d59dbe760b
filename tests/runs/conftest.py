"""Runs that several tests read."""

import contextlib
import io
import json
import shutil

import pytest

from sobirl.apps import cli

SMALL = ("run", "random-mdp", "--states", "4", "--dimension", "3", "--num-steps", "12", "--quiet")


def sobirl(*args):
    """Exit code, standard output and standard error of a command in this process."""
    printed, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            cli.main([str(arg) for arg in args])
        except SystemExit as exit_:
            code = exit_.code or 0
    return code, printed.getvalue(), errors.getvalue()


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def change_options(run, **options):
    config = json.loads((run / "config.json").read_text())
    edit(run / "config.json", options=config["options"] | options)


@pytest.fixture(scope="session")
def ended_run(tmp_path_factory):
    """A complete run; not to be changed."""
    path = tmp_path_factory.mktemp("ended") / "ended"
    assert sobirl(*SMALL, "--checkpoint-seconds", 0, "--out", path)[0] == 0
    return path


@pytest.fixture
def stopped_run(ended_run, tmp_path):
    """A run that was killed before it could write its summary; a copy for every test."""
    path = tmp_path / "stopped"
    shutil.copytree(ended_run, path)
    (path / "summary.json").unlink()
    return path
