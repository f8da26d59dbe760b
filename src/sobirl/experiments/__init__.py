"""The commands, a folder each: options, run and figures; `registry` finds them."""
