"""ReportData: everything a report shows, as plain values; and its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bedside.errors import DataError
from bedside.evidence.estimate import Evidence, Scalar
from bedside.evidence.gates import Judgement, StageDecision

ReportKind = Literal["run", "assess", "validate", "compare", "deidentify", "intake"]
FORMAT = 1


@dataclass(frozen=True)
class ReportData:
    """What a report is of.

    `facts` are (glossary id, value) in the order shown; a value that is itself an id is looked up as `<fact>_<value>`
    (identity, row → identity_row), and 64 hexadecimal digits are a digest, shown under provenance. `overrides` have
    the keys gate (its id), by, reason, and optionally key (the key's id) and stage. `tripod` are the rows that
    `bedside.checks.tripod` gives. `notes` and `watermark` (drawn over every page) are glossary ids or plain text.
    """

    title: str
    kind: ReportKind
    facts: Sequence[tuple[str, Scalar | Sequence[Scalar]]] = ()
    evidence: Sequence[Evidence] = ()
    judgements: Sequence[Judgement] = ()
    stage: StageDecision | None = None
    overrides: Sequence[Mapping[str, str | None]] = ()
    tripod: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    watermark: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object (`format` 1): the report without its looks."""
        stage = None
        if self.stage is not None:
            reasons = [list(reason) for reason in self.stage.reasons]
            stage = {"reached": self.stage.stage, "asked": self.stage.asked, "reasons": reasons}
        return {
            "format": FORMAT,
            "title": self.title,
            "kind": self.kind,
            "facts": [[key, list(value) if isinstance(value, list | tuple) else value] for key, value in self.facts],
            "evidence": [item.to_json() for item in self.evidence],
            "judgements": [item.to_json() for item in self.judgements],
            "stage": stage,
            "overrides": [dict(item) for item in self.overrides],
            "tripod": [dict(item) for item in self.tripod],
            "notes": list(self.notes),
            "watermark": self.watermark,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReportData:
        """The inverse of `to_json`; raises DataError for another format."""
        if data.get("format") != FORMAT:
            raise DataError(f"report format {data.get('format')!r} is not known", "read it with a newer bedside")
        stage = data["stage"]
        if stage is not None:
            stage = StageDecision(stage["reached"], stage["asked"], tuple((a, b) for a, b in stage["reasons"]))
        return cls(
            title=data["title"],
            kind=data["kind"],
            facts=tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in data["facts"]),
            evidence=tuple(Evidence.from_json(item) for item in data["evidence"]),
            judgements=tuple(Judgement.from_json(item) for item in data["judgements"]),
            stage=stage,
            overrides=tuple(data["overrides"]),
            tripod=tuple(data["tripod"]),
            notes=tuple(data["notes"]),
            watermark=data["watermark"],
        )
