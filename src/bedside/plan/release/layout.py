"""Where things lie in and beside a release's folder, and the name of the workspace's own key."""

from __future__ import annotations

from pathlib import Path

SIGNATURE = "signature.dsse.json"
APPROVALS = "approvals"
LOCAL_KEY = "local"
SERVING = "serving"
MARK = "ERASED.json"


def mark_of(folder: Path) -> Path:
    """Where the mark of a run or release lies: beside its folder, since a release's own files are signed."""
    folder = folder.resolve()
    return folder.parent / f"{folder.name}.{MARK}"
