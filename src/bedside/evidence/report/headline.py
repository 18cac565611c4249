"""The few numbers that everybody looks for first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.glossary import Lang, term, terms
from bedside.evidence.report.numbers import at_text, estimate_text

METRICS = (
    "auroc_macro",
    "sensitivity_macro",
    "specificity_macro",
    "brier_macro",
    "auroc",
    "auroc_hand_till",
    "average_precision",
    "r2",
    "mae",
    "rmse",
    "bias",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "balanced_accuracy",
    "f1_macro",
    "kappa",
    "brier",
    "scaled_brier",
    "brier_multiclass",
    "calibration_slope",
    "calibration_in_the_large",
    "oe_ratio",
    "ici",
    "prevalence",
)
_MOST = 12


def headline_estimates(evidence: Evidence | Sequence[Evidence]) -> list[Estimate]:
    """The first whole-part estimate of each headline metric, at the operating threshold at most; of several labels
    each one's, where all of them fit."""
    pieces = [evidence] if isinstance(evidence, Evidence) else list(evidence)
    out: list[Estimate] = []
    for metric in METRICS:
        found = _first(metric, pieces)
        if len(out) + len(found) <= _MOST:
            out += found
    return out


def headline(evidence: Evidence | Sequence[Evidence], lang: Lang = "en") -> list[tuple[str, str]]:
    """(name, formatted estimate) of the headline numbers, for a terminal: ("AUROC", "0.91 (0.88–0.94), n = 512")."""
    out = []
    for item in headline_estimates(evidence):
        name = term(item.metric).name(lang)
        if item.at is not None and "label" in item.at:
            name += f"（{item.at['label']}）" if lang == "zh" else f" ({item.at['label']})"
        if item.at is not None and "threshold" in item.at:
            shown = at_text(item.at["threshold"], lang)
            name += (
                f"（{term('at_threshold').zh} {shown}）" if lang == "zh" else f" ({term('at_threshold').en} {shown})"
            )
        out.append((name, estimate_text(item, terms()[item.metric], lang)))
    return out


def _first(metric: str, pieces: Iterable[Evidence]) -> list[Estimate]:
    for piece in pieces:
        found = [item for item in piece.estimates if item.metric == metric and _whole(item)]
        labels = [(item.at or {}).get("label") for item in found]
        # Several in one check are a table over thresholds, of which none is the one in use.
        if found and len(set(labels)) == len(labels):
            return found
    return []


def _whole(item: Estimate) -> bool:
    """Of all rows of a part that nothing was fitted on, not a difference, not one class or field among many."""
    if item.group is not None or item.versus is not None or item.part not in ("test", "external"):
        return False
    return set(item.at or {}) <= {"threshold", "label"}
