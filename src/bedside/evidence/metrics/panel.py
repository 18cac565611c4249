"""Every metric of one event's probabilities, overall and for each group, over one sort of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics import binary, calibration, calibration_error, calls
from bedside.evidence.metrics.interval import Interval, Refused
from bedside.evidence.metrics.precision_recall import average_precision_of
from bedside.evidence.metrics.ranked_bootstrap import RankedReplicates, ranked_replicates
from bedside.evidence.metrics.ranking import Ranking, auroc_of
from bedside.evidence.metrics.rows import Bools, Floats, Ints, Subjects, labels, probabilities, sample_weights

# What needs a call, and what does not, in the order of the report.
OF_PROBABILITIES = (
    "auroc",
    "average_precision",
    "brier",
    "scaled_brier",
    "log_loss",
    "calibration_in_the_large",
    "calibration_slope",
    "oe_ratio",
    "ece",
    "ici",
    "e50",
    "e90",
    "emax",
)
OF_CALLS: dict[str, Callable[[calls.Calls, float], Interval]] = {
    "sensitivity": calls.sensitivity_of,
    "specificity": calls.specificity_of,
    "ppv": calls.ppv_of,
    "npv": calls.npv_of,
    "accuracy": calls.accuracy_of,
    "balanced_accuracy": calls.balanced_accuracy_of,
    "f1": calls.f1_of,
    "mcc": calls.mcc_of,
}


@dataclass(frozen=True)
class Part:
    """The estimates of one set of rows by metric id; what cannot be known is `Refused` with the reason."""

    n_rows: int
    n_subjects: int
    n_events: int
    estimates: dict[str, Interval | Refused]


class Panel(TypedDict):
    """`overall`, and `groups[name][code]` for every code ≥ 0 that occurs."""

    overall: Part
    groups: dict[str, dict[int, Part]]


def binary_panel(
    y: ArrayLike,
    p: ArrayLike,
    *,
    call: float | ArrayLike | None = None,
    subject: ArrayLike | None = None,
    groups: Mapping[str, ArrayLike] | None = None,
    level: float = 0.95,
    group_level: float | None = None,
    seed: int,
    replicates: int = 1000,
    weights: ArrayLike | None = None,
) -> Panel:
    """Discrimination, losses, calibration and, with `call`, the metrics of calls; overall and by group.

    `y` 0/1 (rows,), `p` probabilities (rows,), `call` a threshold (called when p ≥ it) or 0/1 calls (rows,), `groups`
    integer codes (rows,) by name, a negative code for a row in no group. `subject` codes (rows,) make the patient the
    unit. `group_level` is the level of the groups' intervals (for multiplicity), `level` by default. Each metric is
    that of the function of its name in this folder. Raises ValueError for rows that no metric could take.
    """
    truth = labels(y)
    n = len(truth)
    ranking = Ranking.of(truth, probabilities(p, n), sample_weights(weights, n), Subjects.of(subject, n))
    called = None
    if call is not None:
        called = ranking.score >= float(call) if isinstance(call, (int, float)) else _calls(call, n)[ranking.order]
    overall = _Rows(ranking, calibration.logit(ranking.score), called)
    parts: dict[tuple[str, int], _Rows] = {}
    for name, group in (groups or {}).items():
        for code, rows in _split(np.asarray(group), name, ranking.order).items():
            parts[name, code] = overall.take(rows)
    everyone = [overall, *parts.values()]
    drawn = ranked_replicates([rows.ranking for rows in everyone], replicates=replicates, seed=seed)
    of_groups = level if group_level is None else group_level
    found: Panel = {"overall": _part(overall, level, replicates, seed, drawn[0]), "groups": {}}
    for name in groups or {}:
        found["groups"][name] = {}
    for (key, part), draws in zip(parts.items(), drawn[1:], strict=True):
        found["groups"][key[0]][key[1]] = _part(part, of_groups, replicates, seed, draws)
    return found


@dataclass(frozen=True)
class _Rows:
    ranking: Ranking
    lp: Floats
    call: Bools | None

    def take(self, rows: Ints) -> _Rows:
        return _Rows(self.ranking.take(rows), self.lp[rows], None if self.call is None else self.call[rows])


def _calls(call: ArrayLike, n: int) -> Bools:
    called = labels(call)
    if len(called) != n:
        raise ValueError(f"{len(called)} calls for {n} labels")
    return called


def _split(codes: np.ndarray, name: str, order: Ints) -> dict[int, Ints]:
    """Rows of the ranking by group code, each ascending."""
    if codes.shape != order.shape or codes.dtype.kind not in "iu":
        raise ValueError(f"group {name!r}: {len(order)} integer codes are needed, not {codes.dtype} of {codes.shape}")
    if codes.size and int(codes.max()) < 2**15 and int(codes.min()) >= -(2**15):
        codes = codes.astype(np.int16)  # short integers are sorted by radix
    sorted_codes = codes[order]
    by_code = np.argsort(sorted_codes, kind="stable").astype(np.int64)
    values, starts = np.unique(sorted_codes[by_code], return_index=True)
    ends = np.append(starts[1:], len(order))
    return {
        int(code): by_code[start:end] for code, start, end in zip(values, starts, ends, strict=True) if int(code) >= 0
    }


def _part(rows: _Rows, level: float, replicates: int, seed: int, drawn: RankedReplicates) -> Part:
    ranking = rows.ranking
    y, p, weights, subjects = ranking.y, ranking.score, ranking.weights, ranking.subjects
    n = len(y)
    risks = binary.Risks(y, p, weights, subjects)
    forecasts = calibration.Forecasts(y, p, rows.lp, weights, subjects)
    estimates: dict[str, Interval | Refused] = {}

    def put(name: str, estimate: Callable[[], Interval]) -> None:
        try:
            estimates[name] = estimate()
        except ValueError as why:
            estimates[name] = Refused(str(why), n, subjects.count)

    put("auroc", lambda: auroc_of(ranking, level))
    put("average_precision", lambda: average_precision_of(ranking, level, replicates, seed, drawn))
    put("brier", lambda: binary.brier_of(risks, level))
    put("scaled_brier", lambda: binary.scaled_brier_of(risks, level))
    put("log_loss", lambda: binary.log_loss_of(risks, level))
    put("calibration_in_the_large", lambda: calibration.calibration_in_the_large_of(forecasts, level))
    put("calibration_slope", lambda: calibration.calibration_slope_of(forecasts, level))
    put("oe_ratio", lambda: calibration.oe_ratio_of(forecasts, level))
    put("ece", lambda: calibration_error.ece_of(forecasts, level, 10, replicates, seed))
    try:
        estimates.update(calibration_error.calibration_errors_of(forecasts, level, None, replicates, seed))
    except ValueError as why:
        estimates.update({name: Refused(str(why), n, subjects.count) for name in ("ici", "e50", "e90", "emax")})
    if rows.call is not None:
        calls_made = calls.Calls(y, rows.call, weights, subjects)
        for name, metric in OF_CALLS.items():
            put(name, lambda metric=metric: metric(calls_made, level))  # type: ignore[misc]
    return Part(n, subjects.count, int(np.count_nonzero(y)), estimates)
