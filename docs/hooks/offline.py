"""The built site loads nothing from another host: what does fails the build."""

import re
from pathlib import Path

from mkdocs.exceptions import PluginError

_ELSEWHERE = r"""["'\s(]*(?:https?:)?//[^"'\s)>]+"""
_LOADED = re.compile(
    rf"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\s(?:src|srcset)={_ELSEWHERE}"
    rf"|<link\b[^>]*\shref={_ELSEWHERE}"
    rf"|url\({_ELSEWHERE}"
    rf"|@import{_ELSEWHERE}"
)


def on_post_build(config, **_) -> None:
    """Look through every page and every stylesheet."""
    site = Path(config.site_dir)
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css"):
            for found in _LOADED.findall(path.read_text()):
                raise PluginError(f"{path.relative_to(site)} loads from another host: {found}")
