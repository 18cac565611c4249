"""Values: what stands in place of an original one: dummies by VR, shifted dates, cleaned text."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable

REMOVED = b"REMOVED"
DUMMIES = {
    **dict.fromkeys(("LO", "SH", "ST", "LT", "UT", "UC", "CS", "AE"), REMOVED),
    "PN": b"REMOVED^",
    "DA": b"19000101",
    "TM": b"000000",
    "DT": b"19000101000000",
    "AS": b"000Y",
    "UR": b"urn:removed",
    "DS": b"0",
    "IS": b"0",
}
_ZEROS = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "UV": 8, "SV": 8, "AT": 4}

_DATE = re.compile(rb"(\d{4})\.?(\d\d)?\.?(\d\d)?(.*)", re.DOTALL)
_IDENTIFYING = re.compile(
    rb"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # e-mail
    rb"|https?://\S+"
    rb"|\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b"  # date
    rb"|\b\d{1,2}\.? ?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?,? ?\d{2,4}\b"
    rb"|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,2},? \d{2,4}\b"
    rb"|\b(?:dr|mr|mrs|ms|miss|prof|doctor|nurse|patient|pt|name)\b[.:]?\s+[a-z][\w'-]*(?:[ ,^]+(?-i:[A-Z])[\w'-]*)*"
    rb"|\+?\d[\d ().-]{5,}\d"  # phone
    rb"|[A-Za-z]{0,4}\d{5,}\w*",  # number of a person, an order, a device
    re.IGNORECASE,
)
_SPACES = re.compile(rb" {2,}")


def dummy(vr: str) -> bytes:
    """A value of a VR that says nothing, of odd or even length."""
    return DUMMIES.get(vr, bytes(_ZEROS.get(vr, 2)))


def shifted(value: bytes, vr: str, days: int) -> bytes:
    """The dates of a DA or DT value `days` earlier, each with the precision it had; a TM stays. What is no date of
    the calendar becomes empty."""
    if vr == "TM":
        return value
    return b"\\".join(_earlier(each.strip(b" \0"), days) for each in value.split(b"\\"))


def _earlier(value: bytes, days: int) -> bytes:
    found = _DATE.fullmatch(value)
    if found is None:
        return b""
    year, month, day, rest = found.groups()
    try:
        moved = datetime.date(int(year), int(month or 1), int(day or 1)) - datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return b""
    text = b"%04d%02d%02d" % (moved.year, moved.month, moved.day)
    whole = 8 if day else 6 if month else 4
    if whole < 8:
        rest = b""
    return text[:whole] + rest if re.fullmatch(rb"[\d.]*(?:[+-]\d{4})?", rest) else text[:whole]


def cleaned(value: bytes, own: re.Pattern[bytes] | None) -> bytes:
    """A description without what identifies: the header's `own` identifiers, dates, numbers of persons, phones, mails,
    names after a title. Text outside ASCII cannot be judged by these rules and becomes empty."""
    if not value.isascii() or b"\x1b" in value:
        return b""
    if own is not None:
        value = own.sub(b" ", value)
    return _SPACES.sub(b" ", _IDENTIFYING.sub(b" ", value)).strip(b" ,;\0")


def pattern_of(identifiers: Iterable[bytes], shortest: int = 4) -> re.Pattern[bytes] | None:
    """A pattern that finds any of these identifiers of at least `shortest` bytes, or None when there is none."""
    wanted = sorted({each for each in identifiers if len(each) >= shortest}, key=lambda each: (-len(each), each))
    return re.compile(b"|".join(map(re.escape, wanted)), re.IGNORECASE) if wanted else None


def words_of(value: bytes) -> list[bytes]:
    """An identifier and its parts: the whole value, and the components of a name."""
    plain = value.strip(b" \0")
    return [plain, *re.split(rb"[\^= \\,]+", plain)]
