"""The plan and what carries it out.

`file` is the Plan file, `memo` what is remembered, `actions` the single pieces of work, `release` what passes its
stage, `conduct` a whole run of them, `init` how a first plan is written; arrows point from the last to the first.
Beside them lie verbs of their own: `api` (the same in Python), `assess`, `compare`, `demo`, `doctor`, `erase`,
`render_again`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "Conductor": "bedside.plan.conduct",
    "Opened": "bedside.plan.release",
    "Outcome": "bedside.plan.conduct",
    "Plan": "bedside.plan.file",
    "Verification": "bedside.plan.release",
    "load_plan": "bedside.plan.file",
    "open_release": "bedside.plan.release",
    "parse_plan": "bedside.plan.file",
    "run": "bedside.plan.api",
    "verify_release": "bedside.plan.release",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NAMES[name]), name)
