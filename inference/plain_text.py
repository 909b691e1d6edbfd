"""Words from strangers, shown as text: no escape sequence, no invisible or reversing character, no markup."""

from __future__ import annotations

__all__ = ["html_text", "printable", "rich_text"]

import html
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (bidi, zero width), surrogates, line and paragraph ends
_JOINERS = "\u200c\u200d"  # which Persian, Indic scripts and emoji are spelt with


def printable(value: Any, *, lines: bool = False) -> str:
    r"""`value` as text in which a terminal, a page or a picture finds nothing but characters.

    Control characters, those that reverse or hide text, and halves of characters (which no file can be written with)
    become their escapes, such as ``\x1b`` or ``\u202e``.

    Args:
        value: whatever is shown; its ``str`` is taken.
        lines: whether ends of lines and tabs stay.

    Example:
        >>> print(printable(chr(27) + "[31mred"))
        \x1b[31mred
    """
    text = str(value)
    if text.isprintable():
        return text
    kept = _JOINERS + ("\n\t" if lines else "")
    return "".join(
        c if c.isprintable() or c in kept or unicodedata.category(c) not in _HIDDEN else _escape(c) for c in text
    )


def rich_text(value: Any, style: str = "", *, lines: bool = False) -> Text:
    """The same for rich, which reads ``[red]`` in a plain string as markup."""
    from rich.text import Text

    return Text(printable(value, lines=lines), style=style)


def html_text(value: Any) -> str:
    """The same for a page, with its ends of lines."""
    return html.escape(printable(value, lines=True))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
