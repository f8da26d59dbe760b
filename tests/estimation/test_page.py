"""The quick start of docs/estimation.md prints what the page says."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "estimation.md"


@pytest.mark.slow  # compiles the estimate and the counterfactual of 90 states
def test_the_quick_start(capsys):
    text = PAGE.read_text()
    program = re.search(r'```python title="zurcher.py"\n(.*?)```', text, re.DOTALL)[1]
    exec(compile(program, str(PAGE), "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    shown = re.search(r"```text\n(.*?)```", text, re.DOTALL)[1].splitlines()
    steps = re.compile(r"Steps:.*")  # rounding may cost or save one
    assert [steps.sub("", line) for line in printed] == [steps.sub("", line) for line in shown]
