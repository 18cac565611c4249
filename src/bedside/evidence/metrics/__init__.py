"""Metrics and interval maths: pure functions, arrays in, values with intervals out; the patient is the unit.

Every function takes one entry a row, and `subject`, integer codes in order of first appearance, wherever rows cluster
in patients; without it every row is a subject. It returns an `Interval` (value, low, high, se, method) or raises
ValueError with the reason why nothing can be known; it never returns a nan. `METHODS` explains each method id.

`ranking` AUROC and paired differences · `precision_recall` average precision · `calls` sensitivity and its kin ·
`binary` Brier and log loss · `calibration`, `calibration_curve`, `calibration_error` · `utility` decision curves ·
`multiclass` · `regression` · `proportions` Wilson and its kin · `bootstrap`, `ranked_bootstrap` · `samplesize` ·
`multiplicity` · `drift` ·
`panel` all of one event's metrics, overall and by group, over one sort.
"""

from bedside.evidence.metrics.interval import METHODS, Interval, Refused
from bedside.evidence.metrics.panel import Panel, Part, binary_panel

__all__ = ["METHODS", "Interval", "Panel", "Part", "Refused", "binary_panel"]
