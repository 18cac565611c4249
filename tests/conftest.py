"""Shared fixtures: where the real data lies, and a workspace of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout (BEDSIDE_SHARED_DATA, else ../shared/data)."""
    folder = Path(os.environ.get("BEDSIDE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not present: {folder}")
    return folder
