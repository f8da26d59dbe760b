"""Formulas become MathML while the site is built: browsers show it without script or network.

A formula that the converter does not know fails the build.
"""

import html
import importlib.metadata
import itertools
import re
import xml.etree.ElementTree as ElementTree

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

# What pymdownx.arithmatex leaves of $...$ and $$...$$.
_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', flags=re.DOTALL
)
_NAMESPACE = ' xmlns="http://www.w3.org/1998/Math/MathML"'  # HTML needs none
_LEFTOVER = re.compile(r"[\\{}&$_]")
# The measures of a font made for formulas; not all systems have one. SIL Open Font License.
_FONT = "STIXTwoMath-Regular.ttf"


def on_files(files, config, **_):
    """Put the font next to the stylesheet that names it."""
    source = importlib.metadata.distribution("ziamath").locate_file(f"ziamath/fonts/{_FONT}")
    files.append(File.generated(config, f"stylesheets/{_FONT}", abs_src_path=str(source)))
    return files


def on_page_content(content: str, page, **_) -> str:
    """The page with every formula as MathML."""

    def replace(match: re.Match) -> str:
        latex = html.unescape(match[2]).strip()
        try:
            return to_mathml(latex, display=match[1] == "div")
        except ValueError as error:
            raise PluginError(f"{page.file.src_path}: {error}") from error

    return _FORMULA.sub(replace, content)


def to_mathml(latex: str, display: bool = False) -> str:
    """A LaTeX formula as MathML.

    Raises:
        ValueError: the converter does not know all of it.
    """
    try:
        mathml = convert(latex, display="block" if display else "inline")
        tree = ElementTree.fromstring(mathml.replace(_NAMESPACE, ""))
    except Exception as error:
        raise ValueError(f"cannot convert the formula {latex!r}: {error!r}") from error
    for element in tree.iter():
        text = element.text or ""
        # Unknown commands pass through the converter as text.
        if _LEFTOVER.search(text) and (element.tag, text) not in (("mo", "{"), ("mo", "}")):
            raise ValueError(f"cannot convert {text!r} in the formula {latex!r}")
        # Browsers draw no other variant than this one.
        if element.get("mathvariant", "normal") != "normal":
            raise ValueError(f"no browser draws the font of {text!r} in the formula {latex!r}")
        _improve(element)
    return ElementTree.tostring(tree, encoding="unicode")


def _improve(element: ElementTree.Element) -> None:
    """Repair what the converter leaves to browsers, which do not know TeX's habits."""
    if element.tag == "mo" and element.text in ("|", "‖"):
        # Bars enclose; they grow only where \left and \right say so.
        element.attrib.update(lspace="0em", rspace="0em")
        element.attrib.setdefault("stretchy", "false")
    if element.tag == "mover" and element[-1].text == "^":
        element[-1].text = "\N{MODIFIER LETTER CIRCUMFLEX ACCENT}"
    children = list(element)
    for child, following in itertools.zip_longest(children, children[1:]):
        # log, max and the like are spaced as operators, but not before a parenthesis.
        if child.tag in ("mi", "mo") and len(child.text or "") > 1 and child.text.isalpha():
            opening = following is not None and "".join(following.itertext()).startswith("(")
            child.tag = "mo"
            child.attrib.update(lspace="0.17em", rspace="0em" if opening else "0.17em")
