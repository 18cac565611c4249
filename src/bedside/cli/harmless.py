"""What comes from data or from other people's files is shown as text and does nothing to a terminal."""

from __future__ import annotations

LONGEST = 4000


def harmless(text: str) -> str:
    """Text whose control characters (a name in a table may hold some) are written out; its first 4000 characters."""
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST} more characters)"
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in shown)
