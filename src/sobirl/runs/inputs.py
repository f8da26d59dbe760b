"""Options that name a file: by its path, or as FILE.py:function."""

import re
from pathlib import Path
from typing import Any

_FUNCTION = re.compile(r"(.+\.py):(\w+)")


def file_in(value: Any) -> Path | None:
    """The file that an option's value names, if it names one."""
    if isinstance(value, str) and (match := _FUNCTION.fullmatch(value)):
        return Path(match[1])
    return value if isinstance(value, Path) else None


def moved(value: Any, path: Path | str) -> Path | str:
    """The value with another path in the place of its file's."""
    match = _FUNCTION.fullmatch(value) if isinstance(value, str) else None
    return path if match is None else f"{path}:{match[2]}"
