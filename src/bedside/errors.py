"""Errors that a user can act on: each names what is wrong, where, and the way out."""

from __future__ import annotations


class BedsideError(Exception):
    """An error of the user's input or environment, printed without a traceback.

    `what` says what is wrong (naming file and field), `way_out` what to do about it.
    """

    def __init__(self, what: str, way_out: str = "") -> None:
        self.what = what
        self.way_out = way_out
        super().__init__(f"{what}\n  → {way_out}" if way_out else what)


class DataError(BedsideError):
    """Data that cannot be read or does not fit its schema."""


class LeakError(BedsideError):
    """The same patient (or a forbidden look at the test part) on both sides of a split."""


class PlanError(BedsideError):
    """A plan that does not say what it must, with the line."""


class IntegrityError(BedsideError):
    """Bytes that are not what their digest or signature says."""


class MissingExtra(BedsideError):
    """A pip extra that is not installed, by name."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the extra '{extra}'", f"pip install 'bedside[{extra}]'")
