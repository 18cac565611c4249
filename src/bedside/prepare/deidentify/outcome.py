"""Outcome: a whole source de-identified, measured, judged, and told as a page and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bedside.cohort.atomic import atomic_write
from bedside.cohort.digest import canonical_json
from bedside.errors import DataError
from bedside.evidence.estimate import Evidence, join
from bedside.evidence.gates import Judgement
from bedside.evidence.report.data import ReportData
from bedside.evidence.report.page import render
from bedside.intake.dicom.quiet import needed
from bedside.intake.dicom.source import entries
from bedside.prepare.deidentify.apply import Applier
from bedside.prepare.deidentify.batch import Done, deidentify_files
from bedside.prepare.deidentify.evidence import CHECK, batch_evidence, judgements, planted_evidence
from bedside.prepare.deidentify.profile import Profile
from bedside.prepare.deidentify.pseudonyms import Pseudonyms


@dataclass(frozen=True)
class Deidentification:
    """What was done with the files, what is known of the residual risk, and the gates judged on it."""

    done: Done
    evidence: Evidence
    judgements: tuple[Judgement, ...]
    data: ReportData

    @property
    def exit_code(self) -> int:
        """0, or 3 when a gate did not pass or the re-scan found identity."""
        stopped = any(each.severity == "stop" for each in self.evidence.findings)
        return 3 if stopped or any(each.verdict != "pass" for each in self.judgements) else 0

    def write(self, folder: Path) -> Path:
        """Write report.html, report.json and evidence.json; returns the page's path."""
        atomic_write(folder / "evidence.json", canonical_json(self.evidence.to_json()))
        atomic_write(folder / "report.json", json.dumps(self.data.to_json(), ensure_ascii=False, indent=1).encode())
        atomic_write(folder / "report.html", render(self.data).encode())
        return folder / "report.html"


def deidentify_source(
    source: Path,
    out: Path,
    profile: Profile,
    key: bytes,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Deidentification:
    """De-identify a folder, ZIP, DICOMDIR or file into OUT/dicom and measure what may be left.

    Raises DataError when nothing could be de-identified, or OUT lies inside the source (it would be read again).
    """
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{out} lies inside {source}", "write the new files elsewhere with -o")
    needed()
    applier = Applier(profile, Pseudonyms(key))
    done = deidentify_files(entries(source), out, profile, key, workers=workers, progress=progress)
    if not done.files:
        why = f"; the first: {done.refused[0].why.what}" if done.refused else ""
        raise DataError(
            f"{source}: nothing could be de-identified ({len(done.refused)} refused, {done.passed_over} no DICOM){why}",
            "name a folder, ZIP or DICOMDIR of DICOM files",
        )
    evidence = join(CHECK, [planted_evidence(applier), batch_evidence(done, applier)])
    judged = tuple(judgements(evidence))
    facts = [
        ("deid_dates", profile.dates),
        ("deid_retain", profile.retain or "none"),
        ("deid_clean", profile.clean or "none"),
        ("deid_key", applier.pseudonyms.fingerprint),
    ]
    return Deidentification(done, evidence, judged, ReportData("DICOM", "deidentify", facts, (evidence,), judged))
