"""The programs of docs/estimation print what the pages say."""

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "estimation"


@pytest.mark.slow  # compiles the estimate and the counterfactual of 90 states
@pytest.mark.parametrize("page", ["index", "estimators", "errors", "counterfactuals"])
def test_the_programs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (PAGES / f"{page}.md").read_text()
    program = re.search(r'```python title="\w+.py"\n(.*?)```', text, re.DOTALL)[1]
    exec(compile(program, page, "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    shown = re.search(r"```text\n(.*?)```", text, re.DOTALL)[1].splitlines()
    steps = re.compile(r"Steps:.*")  # rounding may cost or save one
    assert [steps.sub("", line) for line in printed] == [steps.sub("", line) for line in shown]
