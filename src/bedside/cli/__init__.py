"""`bedside`: one verb a command.

Heavy work is imported inside the verb that needs it, so that `bedside --help` answers at once. Verbs are grouped by
what they work on: `start`, `intake`, `plans`, `predictions`, `releases`, `service`, `backups`, `workspace`.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from bedside.cli import backups, intake, plans, predictions, releases, service, start, workspace
from bedside.cli.app import app
from bedside.cli.harmless import harmless
from bedside.errors import BedsideError

__all__ = ["app", "backups", "intake", "main", "plans", "predictions", "releases", "service", "start", "workspace"]


def main() -> None:
    """Entry point: an error that a user can act on is printed without a traceback, with exit code 2."""
    try:
        app()
    except BedsideError as error:
        _refuse(error.what, error.way_out)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        named = f"{error.filename}: " if error.filename is not None else ""
        _refuse(f"{named}{error.strerror or type(error).__name__}", "check the path, the disk and your rights")


def _refuse(what: str, way_out: str) -> NoReturn:
    print(f"error: {harmless(what)}", file=sys.stderr)
    if way_out:
        print(f"    → {harmless(way_out)}", file=sys.stderr)
    sys.exit(2)
