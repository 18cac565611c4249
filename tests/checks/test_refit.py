"""Checks that carry the procedure out again: optimism and shuffled labels."""

from __future__ import annotations

import numpy as np
import pytest

from bedside.checks.optimism import resampled
from bedside.checks.shuffled_labels import with_shuffled_target
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.models.predictions import Predictions
from bedside.models.task import Classify


def noise(n: int, fields: int, seed: int = 0) -> tuple[Cohort, Classify]:
    """Inputs that have nothing to do with the outcome."""
    rng = np.random.default_rng(seed)
    columns = {f"x{i}": rng.normal(size=n) for i in range(fields)}
    cohort = Cohort.of(
        {**columns, "y": rng.choice(["no", "yes"], n)},
        [*(Field(name, "number") for name in columns), Field("y", "category", ("target",))],
        subject=[f"s{i // 2}" for i in range(n)],
    )
    return cohort, Classify.of(cohort, "y")


class Fitted:
    """scikit-learn's logistic regression on the number inputs."""

    def __init__(self, cohort: Cohort, task: Classify) -> None:
        from sklearn.linear_model import LogisticRegression

        if len(np.unique(task.truth(cohort))) < 2:
            raise DataError("one class")
        self.task = task
        self.model = LogisticRegression(C=1e6, max_iter=500).fit(self.x(cohort), task.truth(cohort))

    def x(self, cohort: Cohort) -> np.ndarray:
        return cohort.frame.select([item.name for item in cohort.schema.inputs]).to_numpy()

    def predict(self, cohort: Cohort, *, out=None) -> Predictions:
        return Predictions.of_probabilities(self.task, cohort["row_id"], self.model.predict_proba(self.x(cohort)))


def ask(spec, cohort: Cohort, task: Classify, fit):
    from bedside.checks import run_checks

    return run_checks([spec], None, cohort, task=task, seed=3, fit=fit)[0]


def test_optimism_of_a_model_of_noise_takes_its_performance_away():
    cohort, task = noise(200, 20)
    fits = []

    def fit(sample, seed):
        fits.append((len(sample), seed))
        return Fitted(sample, task)

    found = ask({"optimism": 30}, cohort, task, fit)
    apparent = found.find("auroc_corrected").value + found.find("auroc_optimism").value
    assert apparent > 0.62  # it has learnt the noise by heart
    assert found.find("auroc_corrected").value == pytest.approx(0.5, abs=0.08)
    assert found.find("brier_optimism").value < 0 < found.find("auroc_optimism").value
    assert found.find("calibration_slope_corrected").value < 0.5
    corrected = found.find("auroc_corrected")
    assert corrected.method == "location_shift" and corrected.low < corrected.value < corrected.high
    assert len(fits) == 31 and len({seed for _, seed in fits}) == 31
    assert found.digest == ask({"optimism": 30}, cohort, task, fit).digest


def test_a_bootstrap_sample_keeps_patients_whole_and_row_ids_apart():
    cohort, _ = noise(200, 1)
    sample = resampled(cohort, np.random.default_rng(0))
    assert sample["row_id"].n_unique() == len(sample) == 200
    times = sample.frame.group_by("subject").len()["len"]
    assert set(times) <= set(range(0, 40, 2))  # each patient has two rows
    assert set(sample["subject"]) < set(cohort["subject"])


def test_samples_that_cannot_be_fitted_are_counted():
    cohort, task = noise(200, 2)
    calls = iter(range(100))

    def fit(sample, seed):
        if next(calls) % 10 == 5:
            raise DataError("no")
        return Fitted(sample, task)

    found = ask({"optimism": 20}, cohort, task, fit)
    assert [dict(item.values) for item in found.findings if item.id == "optimism_samples_failed"] == [
        {"n": 2, "of": 20}
    ]
    assert found.find("auroc_corrected").value is not None


def test_a_sound_procedure_finds_nothing_in_shuffled_labels(make_binary):
    case = make_binary(600)
    cohort = case.cohort.keeping(["age", "died"])
    found = ask("shuffled_labels", cohort, case.task, lambda sample, seed: Fitted(sample, case.task))
    item = found.find("auroc_shuffled_labels")
    assert item.level == 0.999 and item.low <= 0.5 <= item.high
    assert [each.id for each in found.findings] == ["shuffled_labels_sound"]


def test_a_procedure_that_peeks_is_caught():
    cohort, task = noise(600, 2)

    class Peeks(Fitted):
        """Reads the target of the row that it predicts."""

        def predict(self, cohort, *, out=None):
            p = 0.4 + 0.2 * task.truth(cohort)
            return Predictions.of_probabilities(task, cohort["row_id"], np.column_stack([1 - p, p]))

    found = ask("shuffled_labels", cohort, task, lambda sample, seed: Peeks(sample, task))
    assert [(each.id, each.severity) for each in found.findings] == [("shuffled_labels_signal", "stop")]


def test_shuffling_keeps_the_classes_and_moves_the_targets():
    cohort, _ = noise(200, 1)
    shuffled = with_shuffled_target(cohort, "y", np.random.default_rng(0))
    assert sorted(shuffled["y"]) == sorted(cohort["y"])
    assert (shuffled["y"] != cohort["y"]).sum() > 50
    # A target that is one a patient stays so: runs of two move together.
    constant = cohort.with_columns({"y": cohort["y"].gather(np.arange(200) // 2 * 2)})
    again = with_shuffled_target(constant, "y", np.random.default_rng(0))
    assert (again["y"].to_numpy()[::2] == again["y"].to_numpy()[1::2]).all()


def test_refitting_checks_need_a_fit():
    from bedside.checks.optimism import Optimism
    from bedside.checks.shuffled_labels import ShuffledLabels

    cohort, task = noise(20, 1)
    for check in (Optimism(), ShuffledLabels()):
        with pytest.raises(PlanError, match="fit the procedure again"):
            check(None, cohort, task=task, seed=0)
    with pytest.raises(PlanError, match="at least 2"):
        Optimism(1)(None, cohort, task=task, seed=0, fit=lambda sample, seed: Fitted(sample, task))
