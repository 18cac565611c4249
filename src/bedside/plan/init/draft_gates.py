"""The gates of a first plan, each with what it means and the n that it takes to decide it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bedside.checks.groups import grouping
from bedside.cohort.cohort import Cohort
from bedside.evidence.metrics import samplesize
from bedside.models.task import Classify, Task
from bedside.plan.init.draft import Size
from bedside.plan.init.names import plain

AUROC, TRUE_AUROC = 0.75, 0.80
SENSITIVITY, TRUE_SENSITIVITY = 0.80, 0.90
SLOPE = (0.8, 1.2)
WORST_AUROC = 0.65
FEWEST_OF_GROUP = 10  # subjects of each class: the check refuses a group with fewer


def gates(cohort: Cohort, task: Task, size: Size, model: str, *, risk: str, groups: Sequence[str]) -> list[str]:
    """The block `gates`; what is judged, and how much of it there will be, follows from the size and its split."""
    out = [
        "# What must hold, declared beforehand. A gate is judged on the interval: pass when all of it is on the good",
        "# side, fail when all is on the bad side, else not enough evidence. Put in numbers that you would act on.",
        "gates:",
    ]
    if not isinstance(task, Classify):
        return [
            *out,
            "  # The share of the variance that is explained; 0 is guessing the mean.",
            "  r2: {at_least: 0.2}",
        ]
    if not task.binary:
        return [
            *out,
            "  # Each class told from the rest, averaged over the classes.",
            "  auroc_macro: {at_least: 0.75}",
        ]
    rows, events = size.judged(size.rows), size.judged(round(size.prevalence * size.rows))
    share = size.prevalence
    out += ["  # The chance that a patient with the event has the higher risk of two."]
    out += _needs(lambda: samplesize.n_for_auroc(AUROC, TRUE_AUROC, share), rows, f"rows if it is {TRUE_AUROC:.2f}")
    out += [f"  auroc: {{at_least: {AUROC}}}"]
    if risk == "high":
        out += ["  # The share of events that are called."]
        needed = f"events if it is {TRUE_SENSITIVITY:.2f}"
        out += _needs(lambda: samplesize.n_for_proportion(SENSITIVITY, TRUE_SENSITIVITY), events, needed)
        out += [f"  sensitivity: {{at_least: {SENSITIVITY}}}"]
    out += ["  # 1 is right; below 1 high risks are too high and low ones too low."]
    out += _needs(lambda: n_for_slope(share), rows, "rows if it is 1")
    out += [f"  calibration_slope: {{between: [{SLOPE[0]}, {SLOPE[1]}]}}"]
    if groups:
        out += _worst_group(cohort, task, size, groups)
    if model != "logistic":
        out += ["  # Better than the baseline on the same rows, if that is what you want to claim:"]
        out += ["  # beats: {auroc: logistic}"]
    return out


def _worst_group(cohort: Cohort, task: Classify, size: Size, groups: Sequence[str]) -> list[str]:
    """The gate on groups; only a comment where a group is too small to be judged, since it could not pass."""
    truth, subjects = task.truth(cohort), cohort.subject_codes
    small: list[tuple[int, str]] = []
    for name in groups:
        made = grouping(cohort, name)
        for code in range(len(made.labels)):
            members = made.members(code)
            least = min(np.unique(subjects[members & (truth == label)]).size for label in (0, 1))
            small.append((size.judged(int(least)), f"{plain(name)} {plain(made.labels[code][0])}"))
    least, group = min(small)
    out = ["  # No group may lie below this; each is judged on an interval that holds for all groups at once."]
    if least >= FEWEST_OF_GROUP:
        return [*out, f"  worst_group: {{auroc: {WORST_AUROC}}}"]
    return [
        *out,
        f"  # Of the group {group} only {least} patients of the rarer class will be judged, so it could not pass now:",
        f"  # worst_group: {{auroc: {WORST_AUROC}}}",
    ]


def _needs(work: Callable[[], int], there: int, of: str) -> list[str]:
    """What deciding takes and whether there is so much; nothing where no n decides."""
    try:
        needed = work()
    except ValueError:
        return []
    verdict = "enough" if there >= needed else "most likely too few"
    return [f"  # To decide takes about {needed:,} {of}; {there:,} will be judged: {verdict}."]


def n_for_slope(prevalence: float, c_statistic: float = TRUE_AUROC) -> int:
    """Rows for a calibration slope's interval to be as wide as its gate, when the slope is 1 and risks are spread so.

    Source: Riley et al., Statistics in Medicine 2021;40:4230.
    """
    risks = binormal_logits(prevalence, c_statistic)
    return samplesize.validation_size(prevalence, c_statistic, risks, slope_width=SLOPE[1] - SLOPE[0]).slope


def binormal_logits(prevalence: float, c_statistic: float, rows: int = 10_000) -> NDArray[np.float64]:
    """Logits of calibrated risks with this prevalence and c-statistic, shape (rows,): two normal classes, one variance.

    With variance s² the log likelihood ratio has mean ±s²/2 in the classes, and c = Φ(s/√2).
    """
    from scipy.special import ndtri

    s = float(np.sqrt(2) * ndtri(c_statistic))
    events = max(1, round(prevalence * rows))
    z = [ndtri((np.arange(n) + 0.5) / n) for n in (rows - events, events)]
    logits = np.concatenate([s * z[0] - s * s / 2, s * z[1] + s * s / 2])
    return np.asarray(logits + np.log(prevalence / (1 - prevalence)))
