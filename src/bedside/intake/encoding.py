"""Text encodings: told from all the bytes, transcoded to UTF-8 as a stream."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from bedside.errors import DataError
from bedside.intake.source import CHUNK, Source, bom

KNOWN = ("utf-8", "utf-8-sig", "utf-16", "gb18030", "cp1252", "latin-1")

_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_C1 = re.compile(rb"[\x80-\x9f]")


def tell_encoding(source: Source, declared: str | None, head: bytes | None = None) -> str:
    """The encoding of a table, told from all its bytes, or from its first ones when `head` gives them.

    A byte order mark decides; else UTF-8 when every byte agrees; else GB18030 when all decodes as it and the high bytes
    come in pairs, as Chinese text has them; else cp1252 or latin-1. Raises DataError for NUL bytes and for bytes that
    are not in the declared (or marked) encoding.
    """
    if declared is not None and not _is_text_encoding(declared):
        raise DataError(f"encoding '{declared}' is not known", f"one of {', '.join(KNOWN)}")
    whole = head is None

    def pieces() -> Iterator[bytes]:
        return source.pieces() if head is None else iter([head])

    marked = declared or bom(next(pieces(), b""))
    wide = marked is not None and re.fullmatch(r"(?i)utf[-_]?(16|32).*", marked) is not None
    line = _first_undecodable(_without_nul(source, pieces(), wide), marked or "utf-8", whole)
    if line is None:
        return marked or "utf-8"
    if marked is not None:
        raise DataError(f"{source.label}: line {line} is not {marked}", "declare another `encoding`")
    odd, runs, c1 = 0, 0, False
    for piece in pieces():
        lengths = [len(run) for run in _HIGH_RUN.findall(piece)]
        runs += len(lengths)
        odd += sum(length % 2 for length in lengths)
        c1 = c1 or _C1.search(piece) is not None
    if odd <= 0.1 * runs and _first_undecodable(pieces(), "gb18030", whole) is None:
        return "gb18030"
    return "cp1252" if c1 and _first_undecodable(pieces(), "cp1252", whole) is None else "latin-1"


def _is_text_encoding(name: str) -> bool:
    try:
        return bool(codecs.lookup(name)._is_text_encoding) and name.isascii()
    except (LookupError, ValueError):
        return False


def _without_nul(source: Source, pieces: Iterator[bytes], wide: bool) -> Iterator[bytes]:
    lines = 0
    for piece in pieces:
        if not wide and b"\0" in piece:
            raise DataError(
                f"{source.label}: NUL byte in line {lines + piece[: piece.index(0)].count(10) + 1}",
                "the file is damaged or no text; export it again",
            )
        lines += piece.count(b"\n")
        yield piece


def _first_undecodable(pieces: Iterator[bytes], encoding: str, whole: bool) -> int | None:
    """The first line that is not in the encoding, or None; a character cut off at the end counts only when `whole`."""
    decoder, lines = codecs.getincrementaldecoder(encoding)(), 0
    try:
        for piece in pieces:
            decoder.decode(piece)
            lines += piece.count(b"\n")
        decoder.decode(b"", whole)
    except UnicodeDecodeError as error:
        return lines + error.object[: error.start].count(10) + 1
    except UnicodeError:
        return lines + 1
    return None


class Utf8Stream(io.RawIOBase):
    """A stream re-encoded as UTF-8 without byte order mark, followed by `tail` on a line of its own."""

    def __init__(self, stream: BinaryIO, encoding: str, tail: bytes) -> None:
        plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")
        self._stream = stream
        self._decoder = None if plain else codecs.getincrementaldecoder(encoding)()
        self._tail: bytes | None = tail
        self._start, self._last = True, b""
        self._waiting = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer only at the end; all when negative."""
        pieces, length = [self._waiting], len(self._waiting)
        while size < 0 or length < size:
            piece = self._next()
            if piece is None:
                break
            pieces.append(piece)
            length += len(piece)
        whole = b"".join(pieces)
        out = whole if size < 0 else whole[:size]
        self._waiting = whole[len(out) :]
        return out

    def _next(self) -> bytes | None:
        if self._tail is None:
            return None
        piece = self._stream.read(CHUNK)
        if not piece:
            end = b"" if self._decoder is None else self._decoder.decode(b"", True).encode()
            separator = b"" if (end or self._last).endswith((b"\n", b"\r")) else b"\n"
            out, self._tail = end + separator + self._tail + b"\n", None
            return out
        if self._decoder is not None:
            piece = self._decoder.decode(piece).encode("utf-8", "replace")
        if self._start and piece:
            piece, self._start = piece.removeprefix(b"\xef\xbb\xbf"), False
        self._last = piece[-1:] or self._last
        return piece
