"""Taken in: a source read into a cohort of its own folder, with the card of what came in and what was refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.cohort import plugins
from bedside.cohort.atomic import atomic_write
from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import canonical_json
from bedside.cohort.manifest import manifests
from bedside.cohort.quarantine import Refused
from bedside.cohort.store import Store
from bedside.errors import DataError
from bedside.evidence.estimate import Estimate, Evidence, Finding
from bedside.evidence.report.data import ReportData
from bedside.evidence.report.page import render
from bedside.intake.dicom.reader import Dicom
from bedside.intake.dicom.source import entries, is_candidate
from bedside.intake.protocol import SetsAside
from bedside.prepare.card import describe
from bedside.prepare.deidentify.batch import refused_by_reason

_LOOKED_AT = 50


@dataclass(frozen=True)
class TakenIn:
    """The cohort, what was refused, and what is known of both."""

    cohort: Cohort
    refused: tuple[Refused, ...]
    evidence: tuple[Evidence, ...]
    reader: str

    @property
    def reasons(self) -> dict[str, int]:
        """How many files were refused for each reason, numbers in the reason aside."""
        return refused_by_reason(self.refused)

    def write(self, folder: Path) -> Path:
        """Write the cohort into FOLDER/store, and cohort.json, evidence.json and report.html; returns the page."""
        digest = Store(folder / "store").put_cohort(self.cohort)
        facts = [("intake_reader", self.reader), ("cohort", digest)]
        page = render(ReportData(self.cohort.schema.name, "intake", facts, self.evidence))
        about = {"format": 1, "cohort": digest, "schema": self.cohort.schema.to_json()}
        atomic_write(folder / "cohort.json", canonical_json(about))
        told = json.dumps([each.to_json() for each in self.evidence], ensure_ascii=False, indent=1)
        atomic_write(folder / "evidence.json", told.encode())
        atomic_write(folder / "report.html", page.encode())
        return folder / "report.html"


def take_in(
    source: Path,
    reader: str | None,
    parameters: Mapping[str, Any],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> TakenIn:
    """The cohort of a source by a reader (default: dicom where DICOM files lie, else images for a folder, else tables).

    A reader that can leave out what it cannot read does so. Raises DataError as the reader does.
    """
    name = reader if reader is not None else _guess(source)
    made = plugins.build("readers", {"name": name, **_leaving_out(name, parameters)})
    refused: Sequence[Refused] = ()
    if isinstance(made, Dicom) and progress is not None:
        cohort, refused = made.read_watched(source, progress)
    elif isinstance(made, SetsAside):
        cohort, refused = made.read_setting_aside(source)
    else:
        cohort = made.read(source)
    return TakenIn(cohort, tuple(refused), (_told(cohort, refused), describe(cohort)), name)


def _guess(source: Path) -> str:
    if not source.exists():
        raise DataError(f"{source}: no such file or folder", "check the path")
    if any(is_candidate(each) for each in entries(source)[:_LOOKED_AT]):
        return Dicom.name
    return "images" if source.is_dir() else "tables"


def _leaving_out(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    kind = plugins.load("readers", name)
    known = getattr(kind, "__dataclass_fields__", {})
    return {**({"unreadable": "quarantine"} if "unreadable" in known else {}), **parameters}


def _told(cohort: Cohort, refused: Sequence[Refused]) -> Evidence:
    exact = Estimate("intake_refused", float(len(refused)), n_rows=len(refused), part="cohort", unit="1", exact=True)
    reasons = list(refused_by_reason(refused).items())[:30]
    findings = [Finding("intake_refused_because", "caution", {"count": n, "reason": why}) for why, n in reasons]
    repairs: Counter[str] = Counter()
    if "volume" in cohort.schema:
        for each in manifests(cohort, "volume").values():
            repairs.update(re.sub(r"\d[\d,.]*", "N", how) for how in (each.geometry or {}).get("repaired", ()))
    findings += [Finding("intake_repaired", "caution", {"count": n, "how": how}) for how, n in repairs.most_common()]
    return Evidence("read", (exact,), findings=tuple(findings))
