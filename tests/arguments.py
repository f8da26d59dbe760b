"""The options that command-line arguments give, without running anything."""

import cyclopts

from sobirl.apps.parameters import command_for, new_app


def options_from(kind, arguments):
    """As `sobirl run NAME ARGUMENTS` parses them."""
    found = []
    app = new_app(name="test")
    app.default(command_for(kind, lambda options, cache: found.append(options)))
    app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    return found[0]


ParseError = cyclopts.CycloptsError
