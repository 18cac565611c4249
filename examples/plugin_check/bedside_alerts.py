"""A check in one file: how many alerts a clinician must look at for each true one (Romero-Brufau et al. 2015)."""

from typing import ClassVar

from bedside.checks.rows import known_rows
from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.metrics.proportions import proportion
from bedside.models.predictions import Predictions
from bedside.models.task import Classify

# The glossary has every id that evidence uses: its names, its definition, and which direction is good.
TERMS = {
    "number_needed_to_evaluate": {
        "kind": "metric",
        "en": "number needed to evaluate",
        "zh": "需评估人数",
        "definition_en": "Alerts looked at for each true one: 1 / positive predictive value.",
        "definition_zh": "每发现一例真阳性需查看的报警数：阳性预测值的倒数。",
        "direction": "lower",
        "source": "Romero-Brufau et al., Critical Care 2015;19:285",
    },
    "why_no_true_alert": {"kind": "word", "en": "no alert was true", "zh": "没有真阳性报警"},
}


class Alerts:
    """1 / PPV at the operating threshold; its interval is that of the PPV (by subject), turned over."""

    name: ClassVar[str] = "alerts"
    needs: ClassVar[str] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = ("number_needed_to_evaluate",)
    looks_at: ClassVar[str] = "outcome"

    def __call__(
        self, predictions: Predictions, cohort: Cohort, *, task: Classify, seed: int, level: float = 0.95, **_: object
    ) -> Evidence:
        rows = known_rows(predictions, cohort, task)
        alert = rows.of(predictions.calls) == 1
        counts = {**rows.counts(alert), "n_events": int(rows.event.sum()), "level": level}
        (metric,) = self.metrics
        if not (alert & rows.event).any():
            return Evidence(self.name, (Estimate(metric, None, why_not="why_no_true_alert", **counts),))
        ppv = proportion(rows.event[alert], level=level, subject=rows.subjects[alert])
        found = Estimate(metric, 1 / ppv.value, 1 / ppv.high, 1 / ppv.low, method=ppv.method, unit="1", **counts)
        return Evidence(self.name, (found,))
