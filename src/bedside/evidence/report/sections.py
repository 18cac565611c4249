"""Where in the report each piece of evidence stands: by its check, then by its metric; the unknown is "further"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bedside.evidence.estimate import Estimate, Evidence, Figure, Finding

ORDER = (
    "came_in",
    "discrimination",
    "calibration",
    "utility",
    "subgroups",
    "explanation",
    "missingness",
    "quality",
    "baselines",
    "sample_size",
    "further",
)
_CHECKS = {
    "read": "came_in",
    "clean": "came_in",
    "describe": "came_in",
    "split": "came_in",
    "performance": "discrimination",
    "optimism": "discrimination",
    "calibration": "calibration",
    "recalibration": "calibration",
    "utility": "utility",
    "thresholds": "utility",
    "consequences": "utility",
    "subgroups": "subgroups",
    "fairness": "subgroups",
    "explain": "explanation",
    "explanation": "explanation",
    "nearest": "explanation",
    "missingness": "missingness",
    "leakage": "quality",
    "quality": "quality",
    "duplicates": "quality",
    "drift": "quality",
    "deidentify": "quality",
    "baseline": "baselines",
    "baselines": "baselines",
    "comparison": "baselines",
    "compare": "baselines",
    "sample_size": "sample_size",
    "development_size": "sample_size",
    "shuffled_labels": "quality",
}
# What a reader looks for under calibration or utility, also when one check gave it with everything else.
_METRICS = {
    **dict.fromkeys(
        ("calibration_in_the_large", "calibration_slope", "oe_ratio", "ece", "ici", "e50", "e90"), "calibration"
    ),
    **dict.fromkeys(("net_benefit", "net_benefit_treat_all", "interventions_avoided"), "utility"),
}
_FIGURES = {"calibration_curve": "calibration", "decision_curve": "utility", "forest": "subgroups"}
_MOVABLE = ("discrimination", "further")


@dataclass
class Section:
    """The evidence of one section, in the order it came."""

    id: str
    estimates: list[Estimate] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.estimates or self.figures or self.findings)


def sections(evidence: Sequence[Evidence]) -> dict[str, Section]:
    """Every estimate, figure and finding in exactly one section."""
    out = {name: Section(name) for name in ORDER}
    for piece in evidence:
        home = _home(piece.check)
        for item in piece.estimates:
            out[_of_estimate(item, home)].estimates.append(item)
        for figure in piece.figures:
            out[_FIGURES.get(figure.id, home) if home in _MOVABLE else home].figures.append(figure)
        out[home].findings.extend(piece.findings)
    return out


def where(pointer: str, found: Mapping[str, Section]) -> str | None:
    """The section a pointer (`check:performance`, `metric:auroc`, `figure:roc`) leads to, or None."""
    kind, _, key = pointer.partition(":")
    for section in found.values():
        ids = {"metric": [each.metric for each in section.estimates], "figure": [each.id for each in section.figures]}
        if key in ids.get(kind, ()):
            return section.id
    return _home(key) if kind == "check" and found.get(_home(key)) else None


def _home(check: str) -> str:
    """A check's section: by its name, else by the part of it before a dot (`clean.units`, `explain.shap`)."""
    return _CHECKS.get(check) or _CHECKS.get(check.split(".")[0]) or "further"


def _of_estimate(item: Estimate, home: str) -> str:
    if home not in _MOVABLE:
        return home
    if item.versus is not None:
        return "baselines"
    return "subgroups" if item.group is not None else _METRICS.get(item.metric, home)
