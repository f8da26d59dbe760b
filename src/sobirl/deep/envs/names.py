"""What is said of an environment's name that no back end knows."""

import difflib
from collections.abc import Iterable

from sobirl.core.errors import InvalidInputError


def unknown_name(
    name: str, backend: str, names: Iterable[str], hint: str = ""
) -> InvalidInputError:
    """The error for a name that is not among `names`; it lists the closest ones."""
    names = {known.lower(): known for known in names}
    closest = [names[near] for near in difflib.get_close_matches(name.lower(), names, 5, 0.5)]
    advice = f"; the closest names are {', '.join(closest)}" if closest else ""
    return InvalidInputError(f"name: {backend} has no environment {name!r}{advice}{hint}")
