"""Evidence on a million predictions: performance, calibration and 20 groups, every interval, against scikit-learn.

    python benchmarks/evidence_million.py [--rows 1000000] [--groups 20] [--replicates 1000] [--peer-replicates 3]

Ours is one call of `binary_panel`. The peer is the usual loop: for all rows and for each group, draw rows with
replacement and call scikit-learn's metrics, `replicates` times. The peer is timed on a few replicates and scaled to
all of them; it gets no calibration in the large, no flexible curve and no ICI, which scikit-learn has not. Times are
CPU seconds of one process; the exit code is 1 when a point value differs by more than 1e-12.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.panel import Part, binary_panel

THRESHOLD = 0.2


def simulate(rows: int, groups: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, slightly miscalibrated risks, and a group code a row."""
    rng = np.random.default_rng(seed)
    lp = rng.normal(-2.2, 1.2, rows)
    y = rng.random(rows) < 1 / (1 + np.exp(-(0.1 + 0.9 * lp)))
    return y.astype(np.int64), 1 / (1 + np.exp(-lp)), rng.integers(0, groups, rows)


def peer(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """scikit-learn's metrics of one set of rows; one confusion matrix serves all metrics of calls."""
    call = p >= THRESHOLD
    tn, fp, fn, tp = metrics.confusion_matrix(y, call).ravel()
    lp = np.log(p / (1 - p))
    logistic = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=100).fit(lp[:, None], y)
    observed, expected = calibration_curve(y, p, n_bins=10, strategy="quantile")
    edges = np.percentile(p, np.linspace(0, 100, 11))[1:-1]
    mass = np.bincount(np.searchsorted(edges, p), minlength=10) / len(p)
    return {
        "auroc": metrics.roc_auc_score(y, p),
        "average_precision": metrics.average_precision_score(y, p),
        "brier": metrics.brier_score_loss(y, p),
        "log_loss": metrics.log_loss(y, p),
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
        "ppv": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "accuracy": (tp + tn) / len(y),
        "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
        "f1": 2 * tp / (2 * tp + fp + fn),
        "mcc": metrics.matthews_corrcoef(y, call),
        "calibration_slope": float(logistic.coef_[0, 0]),
        "oe_ratio": float(y.mean() / p.mean()),
        "ece": float(np.sum(mass * np.abs(observed - expected))),
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result and its CPU seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def differences(part: Part, expected: dict[str, float]) -> dict[str, float]:
    """|ours - peer's| by metric."""
    found = {}
    for name, value in expected.items():
        estimate = part.estimates[name]
        if not isinstance(estimate, Interval):
            raise SystemExit(f"{name}: refused, {estimate.reason}")
        found[name] = abs(estimate.value - value)
    return found


def main() -> int:
    """Run, print ours, the peer's and the ratio; 1 when a point value differs by more than 1e-12."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=lambda text: int(float(text)), default=1_000_000)
    options.add_argument("--groups", type=int, default=20)
    options.add_argument("--replicates", type=int, default=1000)
    options.add_argument("--peer-replicates", type=int, default=3)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    y, p, group = simulate(given.rows, given.groups, given.seed)
    small = slice(0, 2000)  # first calls import; neither side pays for it
    binary_panel(y[small], p[small], call=THRESHOLD, groups={"group": group[small]}, seed=given.seed, replicates=10)
    peer(y[small], p[small])

    panel, ours = timed(
        lambda: binary_panel(
            y, p, call=THRESHOLD, groups={"group": group}, seed=given.seed, replicates=given.replicates
        )
    )
    rng = np.random.default_rng(given.seed)
    sets = [np.arange(given.rows), *(np.flatnonzero(group == code) for code in range(given.groups))]

    def replicate() -> None:
        for rows in sets:
            drawn = rows[rng.integers(0, len(rows), len(rows))]
            peer(y[drawn], p[drawn])

    for_one = min(timed(replicate)[1] for _ in range(given.peer_replicates))
    theirs = for_one * given.replicates
    parts = [panel["overall"], *(panel["groups"]["group"][code] for code in range(given.groups))]
    worst: dict[str, float] = {}
    for part, rows in zip(parts, sets, strict=True):
        for name, gap in differences(part, peer(y[rows], p[rows])).items():
            worst[name] = max(gap, worst.get(name, 0.0))
    largest = max(worst, key=lambda name: worst[name])
    print(f"{given.rows} predictions, {given.groups} groups, {given.replicates} bootstrap replicates")
    print(f"ours   {ours:10.2f} CPU-s  ({len(parts[0].estimates)} metrics with intervals a set)")
    print(
        f"peer   {theirs:10.2f} CPU-s  ({len(worst)} metrics; the fastest of {given.peer_replicates} replicates, "
        f"{for_one:.2f} s, times {given.replicates})"
    )
    print(f"ratio  {theirs / ours:10.0f} x")
    print(f"largest difference of point values {worst[largest]:.1e} ({largest})")
    return 0 if worst[largest] <= 1e-12 else 1


if __name__ == "__main__":
    sys.exit(main())
