"""What comes from data or from other people's files is shown as text and does nothing to a terminal."""

from __future__ import annotations

from unicodedata import category

LONGEST = 4000
_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (such as right-to-left), surrogate, line and page ends


def harmless(text: str) -> str:
    """Text whose control characters (a name in a table may hold some) are written out; its first 4000 characters."""
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST} more characters)"
    return "".join(c if c == "\n" or category(c) not in _ACTING else _written_out(c) for c in shown)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()
