"""`bedside`: one verb a command.

Heavy work is imported inside the verb that needs it, so that `bedside --help` answers at once. Verbs are grouped by
what they work on: `start`, `plans`, `predictions`, `releases`, `workspace`.
"""

from __future__ import annotations

import sys

from bedside.cli import plans, predictions, releases, start, workspace
from bedside.cli.app import app
from bedside.errors import BedsideError

__all__ = ["app", "main", "plans", "predictions", "releases", "start", "workspace"]


def main() -> None:
    """Entry point: an error that a user can act on is printed without a traceback, with exit code 2."""
    try:
        app()
    except BedsideError as error:
        print(f"error: {error.what}", file=sys.stderr)
        if error.way_out:
            print(f"    → {error.way_out}", file=sys.stderr)
        sys.exit(2)
