"""A small simulated cohort, and one finished run of it that several tests look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bedside
from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.evidence import glossary
from bedside.plan.conduct.outcome import Outcome
from bedside.plan.memo import provenance
from bedside.synth.admissions import simulate

PLAN: dict[str, Any] = {
    "name": "small",
    "task": {"classify": "died_in_hospital", "risk": "high"},
    "split": {"by": "subject", "test": 0.3, "seed": 3},
    "model": "logistic",
    "baseline": ["majority"],
    "threshold": {"choose": "sensitivity", "at_least": 0.8},
    "checks": ["performance", "calibration", {"subgroups": {"by": ["sex"]}}],
    "gates": {"auroc": {"at_least": 0.7}},
    "release": {"as": "small", "stage": "assist"},
}


def forget_plugins() -> None:
    """Forget which plug-ins were installed, and all that was worked out from it."""
    for each in (plugins.catalogue, glossary.terms, provenance.versions, provenance.plugin_digest):
        each.cache_clear()


@pytest.fixture(scope="session")
def admissions() -> Cohort:
    return simulate(2500, seed=5)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def outcome(admissions: Cohort, home: Path) -> Outcome:
    return bedside.run(PLAN, admissions, home=home, threads=1)


@pytest.fixture(scope="session")
def release(outcome: Outcome) -> Path:
    if outcome.release is None:
        pytest.fail(f"the small plan was refused: {outcome.decision}")
    return outcome.release
