"""What "Bedside has model X" means: the rules that every model of the catalogue keeps, runnable by a plug-in's author.

    from bedside.models.conformance import check_model
    check_model({"name": "my_model"}, folder=tmp_path)

A model is judged inside a pipeline with its default steps, on `example()`: 240 rows of 120 subjects with numbers, a
boolean, categories and missing values; one that can classify also on two labels, some of them unknown, since all that
classifies can learn those; a model of images on `example_images()`, by the rules of `conformance_images`.
Each rule raises NotConforming with what it found. `python -m bedside.models.conformance FOLDER …` is the fresh process
that a saved case is loaded in.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.errors import BedsideError, DataError, PlanError
from bedside.models import catalogue
from bedside.models.digest import folder_digest
from bedside.models.example_images import example_images, with_marks
from bedside.models.example_tables import IMAGE_TARGETS, TARGETS, only, with_labels
from bedside.models.example_tables import example as example
from bedside.models.example_tables import task_of as task_of
from bedside.models.pipeline import Pipeline
from bedside.models.predictions import Predictions
from bedside.models.protocol import HasTerms, HasTrees, Model
from bedside.models.task import Classify, Multilabel, Regress
from bedside.models.verbatim import numbers_in

SEED = 20
_EXACT = 1e-12
_CLOSE = 1e-6  # one network asked in two ways


class NotConforming(BedsideError):
    """A model breaks a rule; the message says which and how."""


@dataclass(frozen=True)
class Case:
    """One model and one target of the example, with a folder of its own to work in."""

    spec: Any
    target: str
    folder: Path

    @cached_property
    def cohort(self) -> Cohort:
        """The example with this target only."""
        if self.target == "marks":
            return with_marks(example_images())
        if self.target in IMAGE_TARGETS:
            return only(example_images(), self.target, IMAGE_TARGETS)
        if self.target == "labels":
            return with_labels(example())
        return only(example(), self.target, TARGETS)

    @property
    def train(self) -> Cohort:
        """The first two thirds, whole subjects."""
        return self.cohort.take(np.arange(len(self.cohort) * 2 // 3))

    @property
    def test(self) -> Cohort:
        """The last third."""
        return self.cohort.take(np.arange(len(self.cohort) * 2 // 3, len(self.cohort)))

    @cached_property
    def fitted(self) -> Pipeline:
        """The pipeline fitted on train."""
        return self.fit(self.train)

    @cached_property
    def predictions(self) -> Predictions:
        """Its predictions for the test rows."""
        return self.fitted.predict(self.test)

    def fit(self, train: Cohort, spec: Any = None, run: Run | None = None) -> Pipeline:
        """A pipeline of this model (or another) without calibration, fitted on a cohort."""
        run = Run(self.folder, seed=SEED, threads=1) if run is None else run
        pipeline = Pipeline(self.spec if spec is None else spec, calibration="none", threshold=0.5)
        return pipeline.fit(train, None, None, task=task_of(self.target), run=run)

    def saved(self, name: str, pipeline: Pipeline) -> Path:
        """A folder into which the pipeline is saved, made once."""
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir(parents=True)
            pipeline.save(folder)
        return folder


def describes_itself(case: Case) -> None:
    """It keeps the protocol, says what it is in two languages, and is listed in the catalogue."""
    model = catalogue.build(case.spec)
    if not isinstance(model, Model):
        raise NotConforming(f"'{type(model).__name__}' lacks a member of bedside.models.protocol.Model")
    if model.name not in [entry.name for entry in catalogue.entries()]:
        raise NotConforming(f"'{model.name}' is not the name of an entry point of bedside.models")
    if len(model.summary) != 2 or not all(model.summary):
        raise NotConforming(f"'{model.name}' needs a summary in English and in Chinese")


def beats_majority(case: Case) -> None:
    """On a learnable task its loss on new rows is lower than that of predicting everyone the same."""
    if case.fitted.model.name == "majority":
        return
    mine, theirs = _loss(case, case.predictions), _loss(case, case.fit(case.train, "majority").predict(case.test))
    if not mine < theirs:
        raise NotConforming(f"loss {mine:.4f}, majority {theirs:.4f}")


def loads_equal(case: Case) -> None:
    """Saved and loaded it predicts the same, on the test rows and on golden rows, and saves the same bytes again."""
    folder = case.saved("fitted", case.fitted)
    loaded = Pipeline.load(folder)
    for cohort in (case.test, case.fitted.golden(64, seed=1)):
        same(loaded.predict(cohort), case.fitted.predict(cohort), _EXACT, "after loading")
    if folder_digest(case.saved("again", loaded)) != folder_digest(folder):
        raise NotConforming("saved again after loading, its files differ")


def loads_in_a_fresh_process(case: Case) -> None:
    """A process that has never seen it loads it, predicts the same, and fits it again to the same digest."""
    found = in_fresh_process([case])[0]
    same(found.predictions, case.predictions, _EXACT, "in a fresh process")
    if found.digest != folder_digest(case.saved("fitted", case.fitted)):
        raise NotConforming("fitted in a fresh process with the same seed and threads, its digest differs")


def same_seed_same_digest(case: Case) -> None:
    """Fitted again with the same seed and threads, its files are the same."""
    again = case.saved("refitted", case.fit(case.train))
    if folder_digest(again) != folder_digest(case.saved("fitted", case.fitted)):
        raise NotConforming("fitted again with the same seed and threads, its digest differs")


def row_order_is_nothing(case: Case) -> None:
    """Rows in another order, in training or in use, give each row the same prediction."""
    order = np.random.default_rng(1).permutation(len(case.test))
    same(case.fitted.predict(case.test.take(order)), case.predictions.take(order), _EXACT, "for permuted rows")
    shuffled = case.train.take(np.random.default_rng(2).permutation(len(case.train)))
    again = case.saved("shuffled", case.fit(shuffled))
    if folder_digest(again) != folder_digest(case.saved("fitted", case.fitted)):
        raise NotConforming("trained on permuted rows, its digest differs")


def takes_missing_and_unseen(case: Case) -> None:
    """A row with nothing known and a category never seen gets a finite prediction."""
    inputs = case.fitted.input_schema.names
    blank = case.test.frame.with_columns([pl.lit(None, dtype=case.test.frame.schema[n]).alias(n) for n in inputs])
    unseen = case.test.frame.with_columns(pl.lit("never seen").alias("ward"))
    for frame in (blank, unseen):
        case.fitted.predict(case.test.derive(frame))


def three_rows(case: Case) -> None:
    """Three rows are learnt from, or refused as data."""
    rows = case.train.frame[task_of(case.target).targets[0]].arg_unique().to_list()[:3]
    rows += [i for i in range(3) if i not in rows][: 3 - len(rows)]
    with suppress(DataError):
        case.fit(case.train.take(rows)).predict(case.test)


def one_class_is_refused(case: Case) -> None:
    """One class only is refused as data; one value only is refused or predicted."""
    target = task_of(case.target).targets[-1]
    first = case.train.frame[target].drop_nulls()[0]
    same = case.train.derive(case.train.frame.with_columns(pl.lit(first).alias(target)))
    try:
        case.fit(same).predict(case.test)
    except DataError as error:
        if target not in str(error):
            raise NotConforming(f"'{target}' has one class, and the error names another: {error}") from None
        return
    if case.target != "stay":
        raise NotConforming("one class was learnt from without complaint")


def constant_column(case: Case) -> None:
    """An input that never varies, or is never there, does no harm."""
    constant = case.train.frame.with_columns(pl.lit(1.0).alias("noise"))
    absent = case.train.frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("noise"))
    for frame in (constant, absent):
        case.fit(case.train.derive(frame)).predict(case.test)


def leaves_its_input_alone(case: Case) -> None:
    """Neither fitting nor predicting changes the cohort."""
    train, test = case.train, case.test
    before = [Cohort(item.schema, item.frame.clone()).digest for item in (train, test)]
    case.fit(train).predict(test)
    if [Cohort(item.schema, item.frame).digest for item in (train, test)] != before:
        raise NotConforming("fitting or predicting changed its input")


def refuses_an_unknown_parameter(case: Case) -> None:
    """A parameter it does not have is an error of the plan, at the latest when fitted."""
    name, parameters = catalogue.named(case.spec)
    try:
        case.fit(case.train, {name: {**parameters, "no_such_parameter": 1}})
    except PlanError as error:
        if "no_such_parameter" not in str(error):
            raise NotConforming(f"the unknown parameter is not named: {error}") from None
        return
    raise NotConforming("an unknown parameter was taken without complaint")


def explanations_add_up(case: Case) -> None:
    """Terms or SHAP values, where it has them, add up to its score on the scale it names."""
    task = task_of(case.target)
    if isinstance(task, Multilabel):
        for name in task.targets:
            _explained(case.fitted.of_label(name), case)
    else:
        _explained(case.fitted, case)


def labels_are_fitted_alone(case: Case) -> None:
    """Of several labels, each is answered as by `of_label`, rows that know none are refused, and a row that knows one
    tells nothing of the others."""
    task = task_of(case.target)
    if not isinstance(task, Multilabel):
        return
    for name in task.targets:
        same(case.fitted.of_label(name).predict(case.test), case.predictions.of_label(name), _CLOSE, f"for '{name}'")
    nothing = case.train.frame.with_columns([pl.lit(None, case.train.frame.schema[n]).alias(n) for n in task.targets])
    try:
        case.fit(case.train.derive(nothing))
    except DataError:
        return
    raise NotConforming("rows that know no label were learnt from without complaint")


def _explained(fitted: Pipeline, case: Case) -> None:
    model, task, predictions = fitted.model, fitted.task, fitted.predict(case.test)
    prepared = fitted.prepare(case.test)
    if isinstance(model, HasTerms) and (isinstance(task, Regress) or task.binary):
        names, parts, base = model.terms(prepared)
        _adds_up(names, parts, base, _on_scale(predictions, "link"))
    if isinstance(model, HasTrees) and (isinstance(task, Regress) or task.binary):
        names, parts, base = model.contributions(prepared)
        _adds_up(names, parts, base, _on_scale(predictions, getattr(model, "contribution_scale", "link")))


def keeps_no_row(case: Case) -> None:
    """Unless it says `keeps_rows`: no value of a training row stands in its files, and no smallest or largest value of
    an input in those of the whole pipeline.

    Looked for are values of continuous fields (nearly all distinct), as given and as the steps made them, in double
    and in single precision; for a number also the target. A median or a fifth smallest value may be a patient's own,
    so steps and ranges are searched for extremes only.
    """
    pipeline = case.fitted
    if pipeline.keeps_rows:
        return
    folder = case.saved("fitted", pipeline)
    everything = {**_continuous(case.train), **_continuous(pipeline.prepare(case.train))}
    learnt = _continuous(case.train.keeping(task_of(case.target).targets), target=True)
    stored = numbers_in(folder / "model")
    for name, values in {**everything, **learnt}.items():
        if (count := _found(values, stored)) > 0:
            raise NotConforming(f"{count} values of '{name}' of training rows stand in its files")
    stored = numbers_in(folder)
    for name, values in everything.items():
        if _found(np.array([values.min(), values.max()]), stored) > 0:
            raise NotConforming(f"the smallest or largest value of '{name}' stands in the files of the pipeline")


RULES: dict[str, Callable[[Case], None]] = {
    rule.__name__: rule
    for rule in (
        describes_itself,
        beats_majority,
        loads_equal,
        loads_in_a_fresh_process,
        same_seed_same_digest,
        row_order_is_nothing,
        takes_missing_and_unseen,
        three_rows,
        one_class_is_refused,
        constant_column,
        leaves_its_input_alone,
        refuses_an_unknown_parameter,
        explanations_add_up,
        labels_are_fitted_alone,
        keeps_no_row,
    )
}


def targets_of(spec: Any) -> list[str]:
    """The example's targets that a model can learn."""
    model = catalogue.build(spec)
    if model.modality == "image":
        return list(IMAGE_TARGETS)
    wanted = {"classify": ["event", "grade"], "regress": ["stay"], "multilabel": ["labels"]}
    return [target for kind in catalogue.tasks_of(model) for target in wanted.get(kind, [])]


def rules_of(spec: Any) -> dict[str, Callable[[Case], None]]:
    """The rules that a model of its modality keeps, by name."""
    if catalogue.build(spec).modality == "image":
        from bedside.models import conformance_images

        return conformance_images.RULES
    return RULES


def check_model(spec: Any, targets: Iterable[str] | None = None, *, folder: Path) -> list[str]:
    """Put every rule to a model; returns what was checked, raises NotConforming naming model, target and rule."""
    done = []
    for target in targets_of(spec) if targets is None else targets:
        case = Case(spec, target, folder / target)
        case.folder.mkdir(parents=True, exist_ok=True)
        for name, rule in rules_of(spec).items():
            try:
                rule(case)
            except BedsideError as error:
                raise NotConforming(f"{spec} on {target} breaks '{name}': {error.what}", error.way_out) from error
            done.append(f"{target}: {name}")
    return done


@dataclass(frozen=True)
class Fresh:
    """What another process found: predictions of the loaded pipeline, and the digest of one fitted there."""

    predictions: Predictions
    digest: str


def in_fresh_process(cases: Sequence[Case]) -> list[Fresh]:
    """Load, predict and fit again every case in one new process (several, because starting one takes seconds)."""
    wanted = [case for case in cases if not (case.folder / "fresh.json").exists()]
    for case in wanted:
        case.saved("fitted", case.fitted)
        (case.folder / "case.json").write_text(json.dumps({"spec": case.spec, "target": case.target}))
    if wanted:
        command = [sys.executable, "-m", "bedside.models.conformance", *(str(case.folder) for case in wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own module)
        if done.returncode != 0:
            raise NotConforming(f"the fresh process failed: {done.stderr.strip()[-2000:]}")
    return [_read_fresh(case) for case in cases]


def _read_fresh(case: Case) -> Fresh:
    digest = json.loads((case.folder / "fresh.json").read_text())["digest"]
    return Fresh(Predictions(task_of(case.target), pl.read_parquet(case.folder / "fresh.parquet")), digest)


def _main(folders: Sequence[str]) -> None:
    for name in folders:
        folder = Path(name)
        case = Case(**json.loads((folder / "case.json").read_text()), folder=folder)
        Pipeline.load(folder / "fitted").predict(case.test).frame.write_parquet(folder / "fresh.parquet")
        digest = folder_digest(case.saved("fresh", case.fit(case.train)))
        (folder / "fresh.json").write_text(json.dumps({"digest": digest}))


def _continuous(cohort: Cohort, *, target: bool = False) -> dict[str, NDArray[np.float64]]:
    """The known values of the numeric inputs (or targets) of which nine in ten are distinct and not whole, by name."""
    found = {}
    for item in cohort.schema.with_role("target") if target else cohort.schema.inputs:
        if item.kind == "number":
            values = cohort[item.name].drop_nulls().to_numpy().astype(np.float64)
            values = values[values != np.round(values)]
            if len(np.unique(values)) >= max(20, 0.9 * len(cohort[item.name].drop_nulls())):
                found[item.name] = values
    return found


def _found(values: NDArray[np.float64], stored: NDArray[np.float64]) -> int:
    """How many values stand among the stored numbers, in double or in single precision."""
    with np.errstate(over="ignore"):  # a number that is too large for single precision is no value of a patient
        single = stored.astype(np.float32)
    # A number of more digits than single precision has was never one: that it rounds to a patient's is chance.
    single = single[(single == stored) | (np.array([float(f"{each:.9g}") for each in stored]) == stored)]
    return int((np.isin(values, stored) | np.isin(values.astype(np.float32), single)).sum())


def _loss(case: Case, predictions: Predictions) -> float:
    """Brier score (which, unlike the log loss, forgives an uncalibrated 0) or mean squared error on the test rows."""
    task = task_of(case.target)
    y = task.truth(case.test)
    if isinstance(task, Multilabel):
        return float(((predictions.probabilities - y) ** 2)[y >= 0].mean())
    if isinstance(task, Classify):
        truth = np.eye(len(task.classes))[y.astype(np.int64)]
        return float(((predictions.probabilities - truth) ** 2).sum(axis=1).mean())
    return float(((predictions.score - y) ** 2).mean())


def same(found: Predictions, wanted: Predictions, tolerance: float, when: str) -> None:
    """Raise NotConforming unless two predictions name the same rows and differ by no more than the tolerance."""
    if found.frame["row_id"].to_list() != wanted.frame["row_id"].to_list():
        raise NotConforming(f"rows come back in another order {when}")
    columns = list(wanted.task.columns)
    gap = np.abs(found.frame.select(columns).to_numpy() - wanted.frame.select(columns).to_numpy()).max()
    if not gap <= tolerance:
        raise NotConforming(f"predictions differ by {gap:.2g} {when}")


def _on_scale(predictions: Predictions, scale: str) -> Any:
    score = predictions.score
    if isinstance(predictions.task, Regress) or scale == "probability":
        return score
    return np.log(score) - np.log1p(-score)


def _adds_up(names: list[str], parts: Any, base: float, wanted: Any) -> None:
    if parts.shape != (len(wanted), len(names)):
        raise NotConforming(f"{len(names)} names and contributions of shape {parts.shape}")
    gap = float(np.abs(parts.sum(axis=1) + base - wanted).max())
    if not gap < 1e-6:
        raise NotConforming(f"contributions miss the score by {gap:.2g}")


if __name__ == "__main__":
    _main(sys.argv[1:])
