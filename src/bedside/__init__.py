"""Bedside: from hospital data to bedside AI, with the evidence attached.

    import bedside

    cohort = bedside.from_pandas(table, subject="patient_id")
    outcome = bedside.run({"name": "sepsis", "task": {"classify": "died"}, "model": "lightgbm"}, cohort)

Research use: nothing here is a cleared medical device.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Loaded on first use, so that `import bedside` costs nothing.
_PUBLIC = {
    "Cohort": "bedside.cohort.cohort",
    "Field": "bedside.cohort.schema",
    "assess": "bedside.plan.assess",
    "from_pandas": "bedside.intake.frames",
    "from_polars": "bedside.intake.frames",
    "open_release": "bedside.plan.release.opened",
    "run": "bedside.plan.api",
    "verify_release": "bedside.plan.release.verify",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'bedside' has no attribute '{name}'")
    return getattr(import_module(_PUBLIC[name]), name)
