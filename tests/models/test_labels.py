"""Several labels: the task, its predictions, one fit a label, calibration and threshold by label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.split import k_fold
from bedside.errors import DataError, IntegrityError
from bedside.models import catalogue
from bedside.models.conformance import example, task_of
from bedside.models.example_tables import with_labels
from bedside.models.per_label import PerLabel, load
from bedside.models.pipeline import Pipeline
from bedside.models.predictions import Predictions
from bedside.models.task import Classify, Multilabel, task_from_json


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return with_labels(example(480, seed=2))


def run(folder: Path) -> Run:
    return Run(folder, seed=1, threads=1)


def parts(cohort: Cohort) -> tuple[Cohort, Cohort]:
    return cohort.take(np.arange(240)), cohort.take(np.arange(240, 480))


def test_a_task_is_read_from_the_cohort(cohort: Cohort) -> None:
    task = Multilabel.of(cohort, ["bleed", "ache"], {"ache": "no"})
    assert task.targets == ("bleed", "ache") and [each.positive for each in task.labels] == ["true", "no"]
    assert list(task.columns) == ["p:bleed", "p:ache"]
    assert task_from_json(task.to_json()) == task
    truth = task.truth(cohort)
    assert set(np.unique(truth)) == {-1, 0, 1}
    assert ((truth[:, 0] < 0) == cohort["bleed"].is_null().to_numpy()).all()
    assert ((truth[:, 1] == 1) == (cohort["ache"] == "no").fill_null(False).to_numpy()).all()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["bleed"], "two or more"),
        (["bleed", "bleed"], "two or more"),
        (["bleed", "ward"], "'ward' holds 3 classes"),
        (["bleed", "constant"], "'constant' holds one class"),
    ],
)
def test_labels_have_two_values(cohort: Cohort, names: list[str], told: str) -> None:
    from bedside.cohort.schema import Field

    wider = cohort.with_columns({"constant": pl.Series(["x"] * len(cohort))}, [Field("constant", "category")])
    with pytest.raises(DataError, match=told):
        Multilabel.of(wider, names)


def test_predictions_are_those_of_each_label(cohort: Cohort) -> None:
    task = task_of("labels")
    assert isinstance(task, Multilabel)
    p = np.random.default_rng(0).random((len(cohort), 2))
    made = Predictions.of_probabilities(task, cohort["row_id"], p)
    pieces = [made.of_label(name) for name in task.targets]
    assert [piece.task for piece in pieces] == list(task.labels)
    assert (pieces[1].score == p[:, 1]).all()
    assert Predictions.of_labels(task, pieces).digest == made.digest
    with pytest.raises(DataError, match="no label is called 'event'"):
        made.of_label("event")
    with pytest.raises(DataError, match="a score of its own"):
        _ = made.score
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        Predictions.of_probabilities(task, cohort["row_id"], p + 0.5)


def test_one_fit_a_label_is_that_fit_on_the_rows_that_know_it(cohort: Cohort, tmp_path: Path) -> None:
    """LightGBM after `encode`, which learns the same of all rows and of those: equal to a fit of that label alone."""
    train, test = parts(cohort)
    task = task_of("labels")
    assert isinstance(task, Multilabel)
    spec = {"name": "lightgbm", "rounds": 20}
    both = Pipeline(spec, ["encode"], "none", 0.3).fit(train, None, None, task=task, run=run(tmp_path))
    whole = both.predict(test)
    for label in task.labels:
        known = train.take(np.flatnonzero(train[label.target].is_not_null().to_numpy()))
        alone = Pipeline(spec, ["encode"], "none", 0.3).fit(known, None, None, task=label, run=run(tmp_path))
        mine = whole.of_label(label.target)
        assert (mine.score == alone.predict(test).score).all()
        assert (mine.calls == (mine.score >= 0.3)).all()


def test_each_label_has_its_own_calibration_and_threshold(cohort: Cohort, tmp_path: Path) -> None:
    train, test = parts(cohort)
    pipeline = Pipeline("naive_bayes", calibration="isotonic", threshold={"sensitivity": 0.8})
    pipeline.fit(train, None, test, task=task_of("labels"), run=run(tmp_path))
    labels = pipeline.fitted.labels
    assert set(labels) == {"bleed", "ache"} and labels["bleed"] != labels["ache"]
    assert labels["ache"].calibration.n_rows == test["ache"].is_not_null().sum()
    (tmp_path / "saved").mkdir()
    pipeline.save(tmp_path / "saved")
    again = Pipeline.load(tmp_path / "saved")
    assert again.fitted.labels == labels and again.predict(test).digest == pipeline.predict(test).digest


def test_too_few_of_a_label_to_calibrate_on_names_it(cohort: Cohort, tmp_path: Path) -> None:
    train, test = parts(cohort)
    few = test.take(np.arange(30))
    with pytest.raises(DataError, match=r"label '(bleed|ache)': calibration by sigmoid needs 10 rows"):
        Pipeline("naive_bayes", calibration="sigmoid").fit(train, None, few, task=task_of("labels"), run=run(tmp_path))
    automatic = Pipeline("naive_bayes", calibration="auto", threshold=0.5)
    automatic.fit(train, None, few, task=task_of("labels"), run=run(tmp_path))
    skipped = [item.values["label"] for item in automatic.findings() if item.id == "calibration_skipped"]
    assert skipped and set(skipped) <= {"bleed", "ache"}


def test_a_changed_file_of_one_label_is_found(cohort: Cohort, tmp_path: Path) -> None:
    train, _ = parts(cohort)
    model = PerLabel(catalogue.build("majority")).fit(train, None, task=task_of("labels"), run=run(tmp_path))
    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    kind = type(catalogue.build("majority"))
    assert load(kind, folder).predict(train).digest == model.predict(train).digest
    (folder / "1" / "model.json").write_bytes((folder / "0" / "model.json").read_bytes())
    with pytest.raises(IntegrityError):
        load(kind, folder)


def test_a_search_minds_every_label(cohort: Cohort, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    train, test = parts(cohort)
    pipeline = Pipeline("logistic", calibration="none", threshold=0.5, tuning={"trials": 2, "folds": 2})
    pipeline.fit(train, None, None, task=task_of("labels"), run=run(tmp_path))
    tuned = pipeline.fitted.tuned
    assert tuned is not None and tuned.loss == "log_loss" and len(tuned.table) == 3
    assert len(pipeline.predict(test)) == len(test)


def test_the_catalogue_says_who_can() -> None:
    can = {entry.name for entry in catalogue.entries() if "multilabel" in entry.tasks}
    assert {"logistic", "lightgbm", "random_forest", "majority"} <= can
    assert all("classify" in entry.tasks for entry in catalogue.entries() if entry.name in can)


def test_folds_balance_combinations_and_spread_a_rare_label() -> None:
    """Subjects whole, every combination's share within one subject a fold, and 6 of a rare label over 3 folds."""
    rng = np.random.default_rng(0)
    n = 600
    both = rng.random(n // 2) < 0.3
    a = np.repeat(both, 2)
    b = np.repeat(np.where(both, rng.random(n // 2) < 0.6, rng.random(n // 2) < 0.1), 2)
    rare = np.zeros(n, dtype=bool)
    rare[np.arange(6) * 80] = True
    columns = {"a": a, "b": [None if u else bool(v) for u, v in zip(rng.random(n) < 0.1, b, strict=True)], "rare": rare}
    from bedside.cohort.schema import Field

    fields = [Field(name, "boolean", ("target",)) for name in columns]
    cohort = Cohort.of(columns, fields, subject=[f"s{i // 2}" for i in range(n)])
    split = k_fold(cohort, folds=3, tune=0.0, stratify=["a", "b", "rare"], seed=4)
    counts = [int(rare[fold.test].sum()) for fold in split.folds]
    assert counts == [2, 2, 2]
    for fold in split.folds:
        assert len(fold.test) == pytest.approx(n / 3, abs=4)
        assert a[fold.test].mean() == pytest.approx(a.mean(), abs=0.02)
        assert not set(cohort["subject"][fold.test]) & set(cohort["subject"][fold.train])
    with pytest.raises(DataError, match="'rare: true' has 6 subjects, too few for 8 folds"):
        k_fold(cohort, folds=8, stratify=["a", "b", "rare"])


def test_a_label_of_a_plain_task_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    train, _ = parts(cohort)
    pipeline = Pipeline("majority", calibration="none", threshold=0.5)
    pipeline.fit(train.take(np.flatnonzero(train["ache"].is_not_null().to_numpy())), None, None,
                 task=Classify("ache", ("no", "yes"), "yes"), run=run(tmp_path))  # fmt: skip
    with pytest.raises(DataError, match="labels: none"):
        pipeline.of_label("ache")
