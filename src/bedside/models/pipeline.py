"""Pipeline: steps, model, calibration and threshold, fitted and saved as one; it predicts like a model."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import RESERVED, Schema, physical_type
from bedside.errors import DataError, MissingExtra, PlanError
from bedside.evidence.estimate import Finding
from bedside.models import catalogue, per_label
from bedside.models.calibrate import Calibration, fit_calibration, method_of
from bedside.models.digest import check_files, file_digests, read_listing, write_listing
from bedside.models.observed import draw, observe, outside
from bedside.models.predictions import Predictions
from bedside.models.protocol import SpendsMinutes
from bedside.models.rows import in_row_order, row_weights, target
from bedside.models.saved import not_fitted
from bedside.models.task import Classify, Multilabel, Task, task_from_json
from bedside.models.threshold import Threshold, choose, rule_of
from bedside.models.tuning import Tuned, Tuning, tune
from bedside.prepare import steps as steps_of
from bedside.prepare.protocol import Step

if TYPE_CHECKING:
    from bedside.cohort.store import Store

LISTING = "pipeline.json"
_NEVER = frozenset({"target", "event"})


@dataclass(frozen=True)
class Operating:
    """How one label is answered: its calibration, and its threshold."""

    calibration: Calibration
    threshold: Threshold | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "calibration": self.calibration.to_json(),
            "threshold": None if self.threshold is None else self.threshold.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Operating:
        """The inverse of `to_json`."""
        threshold = None if data["threshold"] is None else Threshold.from_json(data["threshold"])
        return cls(Calibration.from_json(data["calibration"]), threshold)


@dataclass(frozen=True)
class Fitted:
    """What fitting leaves: the parts of the pipeline, and what is known of the rows it was fitted on.

    `observed` is `observed.observe` of train, `schema` that of train with all its fields, `n_rows` and `n_subjects`
    count train. `calibration` is "none" and `threshold` None for a number; `threshold` is None for three classes too.
    Of several labels each has its own, under its name in `labels`.
    """

    task: Task
    schema: Schema
    observed: Mapping[str, Any]
    n_rows: int
    n_subjects: int
    steps: Sequence[Step]
    model: Any
    tuned: Tuned | None = None
    calibration: Calibration = Calibration("none")  # noqa: RUF009 (frozen)
    threshold: Threshold | None = None
    findings: tuple[Finding, ...] = ()
    labels: Mapping[str, Operating] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object, without what steps and model save themselves."""
        parameters = self.model.parameters() if hasattr(self.model, "parameters") else {}
        labels = {name: each.to_json() for name, each in self.labels.items()}
        return {
            "task": self.task.to_json(),
            "schema": self.schema.to_json(),
            "observed": {name: dict(seen) for name, seen in self.observed.items()},
            "n_rows": self.n_rows,
            "n_subjects": self.n_subjects,
            "steps": [step.name for step in self.steps],
            "model": {"name": self.model.name, "parameters": parameters},
            "tuned": None if self.tuned is None else self.tuned.to_json(),
            "calibration": self.calibration.to_json(),
            "threshold": None if self.threshold is None else self.threshold.to_json(),
            "findings": [item.to_json() for item in self.findings],
            **({"labels": labels} if labels else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], steps: Sequence[Step], model: Any) -> Fitted:
        """The inverse of `to_json`, given the steps and the model."""
        return cls(
            task=task_from_json(data["task"]),
            schema=Schema.from_json(data["schema"]),
            observed=data["observed"],
            n_rows=data["n_rows"],
            n_subjects=data["n_subjects"],
            steps=steps,
            model=model,
            tuned=None if data["tuned"] is None else Tuned.from_json(data["tuned"]),
            calibration=Calibration.from_json(data["calibration"]),
            threshold=None if data["threshold"] is None else Threshold.from_json(data["threshold"]),
            findings=tuple(Finding.from_json(item) for item in data["findings"]),
            labels={name: Operating.from_json(each) for name, each in data.get("labels", {}).items()},
        )


class Pipeline:
    """What is released: a model with the steps before it and the calibration and threshold after it.

    `model`, each of `steps` (None: the model's own), `calibration` and `threshold` are specs. `tuning` (None: none)
    searches the model's parameters inside train. Raises PlanError for a spec that cannot be read.
    """

    name: ClassVar[str] = "pipeline"

    def __init__(
        self,
        model: Any,
        steps: Sequence[Any] | None = None,
        calibration: Any = "sigmoid",
        threshold: Any = "youden",
        tuning: Any = None,
    ) -> None:
        unfitted = catalogue.build(model)
        self.asked = {
            "model": model,
            "steps": list(unfitted.default_steps if steps is None else steps),
            "calibration": "none" if calibration is None else calibration,
            "threshold": threshold,
            "tuning": tuning,
        }
        method_of(calibration)
        rule_of(threshold)
        for step in self.asked["steps"]:
            steps_of.build(step)
        self.fitted_: Fitted | None = None

    def fit(self, train: Cohort, search: Cohort | None, calibrate: Cohort | None, *, task: Task, run: Run) -> Self:
        """Learn: steps and model on train (search for early stopping), calibration and threshold on calibrate.

        Raises DataError for data that cannot be learnt from, PlanError when a part is missing that a spec needs.
        """
        train = in_row_order(train)
        search = None if search is None or len(search) == 0 else search
        unfitted, tuned = catalogue.build(self.asked["model"]), None
        model = per_label.for_task(unfitted, task)
        target(train, task, model.name)  # a missing target or a single class is refused before anything is fitted
        if self.asked["tuning"] is not None:
            tuning = Tuning.of(self.asked["tuning"], run)
            tuned = tune(self.asked["model"], self.asked["steps"], train, search, task=task, run=run, tuning=tuning)
            model = per_label.for_task(type(unfitted)(**tuned.best), task)
        steps = steps_of.fit_all(self.asked["steps"], train, run)
        aside = None if search is None else steps_of.apply_all(steps, search)
        model.fit(steps_of.apply_all(steps, train), aside, task=task, run=run)
        findings = (*steps_of.findings(steps), *(model.findings() if hasattr(model, "findings") else ()))
        fitted = Fitted(
            task, train.schema, observe(train), len(train), train.n_subjects, steps, model, tuned, findings=findings
        )
        self.fitted_ = self._decided(fitted, task, calibrate)
        return self

    def _decided(self, fitted: Fitted, task: Task, calibrate: Cohort | None) -> Fitted:
        """With calibration and threshold, of each label its own from the rows that know it; a number needs none."""
        if isinstance(task, Classify):
            y, p, w = self._aside(fitted, calibrate, task)
            made, found = self._calibrated(y, p, w, task)
            findings = (*fitted.findings, *found)
            return replace(fitted, calibration=made.calibration, threshold=made.threshold, findings=findings)
        if not isinstance(task, Multilabel):
            return fitted
        ys, ps, weights = self._aside(fitted, calibrate, task)
        labels, findings = {}, fitted.findings
        for i, label in enumerate(task.labels):
            known = ys[:, i] >= 0
            event, w = ps[known, i], None if weights is None else weights[known]
            try:
                made, found = self._calibrated(ys[known, i], np.column_stack([1 - event, event]), w, label)
            except (DataError, PlanError) as error:
                raise type(error)(f"label '{label.target}': {error.what}", error.way_out) from None
            labels[label.target] = made
            said = (replace(item, values={**item.values, "label": label.target}) for item in found)
            findings = (*findings, *said)
        return replace(fitted, labels=labels, findings=findings)

    def _aside(self, fitted: Fitted, calibrate: Cohort | None, task: Classify | Multilabel) -> tuple[Any, Any, Any]:
        """Truth, raw probabilities and weights (or None) of the rows to calibrate on, without rows where none are."""
        if calibrate is None or len(calibrate) == 0:
            if isinstance(task, Classify):
                return np.zeros(0, dtype=np.int64), np.zeros((0, len(task.classes))), None
            return np.zeros((0, len(task.labels)), dtype=np.int64), np.zeros((0, len(task.labels))), None
        y = target(calibrate, task, "calibration", one_class=True).astype(np.int64)
        return y, fitted.model.predict(_prepared(fitted, calibrate)).probabilities, row_weights(calibrate)

    def _calibrated(self, y: Any, p: Any, w: Any, task: Classify) -> tuple[Operating, tuple[Finding, ...]]:
        rule, _ = rule_of(self.asked["threshold"])
        if len(y) == 0:
            if self.asked["calibration"] != "none":
                raise PlanError(
                    "there are no rows to calibrate on", "give the split a tune share, or calibration: none"
                )
            if task.binary and rule not in ("value", "cost"):
                raise PlanError(f"there are no rows to choose a threshold by {rule} on", "give the split a tune share")
        calibration, found = fit_calibration(self.asked["calibration"], p, y, task, w)
        threshold = choose(self.asked["threshold"], calibration.apply(p)[:, 1], y, task, w) if task.binary else None
        return Operating(calibration, threshold), found

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """Calibrated predictions, with `raw:<column>` before calibration, `call`, and `threshold` for two classes.

        Of several labels, each has its own `call:<label>` and `threshold:<label>`. Raises DataError naming the input
        fields that the cohort lacks or holds as another kind.
        """
        fitted = self.fitted
        raw: Predictions = self.model.predict(self.prepare(cohort), out=out)
        if isinstance(fitted.task, Classify):
            return _called(raw, fitted.task, Operating(fitted.calibration, fitted.threshold))
        if isinstance(fitted.task, Multilabel):
            pieces = [
                _called(raw.of_label(label.target), label, fitted.labels[label.target]) for label in fitted.task.labels
            ]
            return Predictions.of_labels(fitted.task, pieces)
        return raw

    def of_label(self, name: str) -> Pipeline:
        """The fitted pipeline of one label: of two classes, with the same steps. Raises DataError for a wrong name."""
        fitted = self.fitted
        labels = fitted.task.labels if isinstance(fitted.task, Multilabel) else ()
        label = next((each for each in labels if each.target == name), None)
        if label is None:
            known = ", ".join(each.target for each in labels) or "none"
            raise DataError(f"no label is called '{name}'", f"labels: {known}")
        alone = copy.copy(self)
        own = fitted.labels[name]
        alone.fitted_ = replace(
            fitted,
            task=label,
            model=fitted.model.of_label(name),
            calibration=own.calibration,
            threshold=own.threshold,
            labels={},
        )
        return alone

    def prepare(self, cohort: Cohort) -> Cohort:
        """The cohort as the model sees it: the fields it was fitted on (never the target), after all steps."""
        return _prepared(self.fitted, cohort)

    def without_clock(self) -> dict[str, Any]:
        """What was asked, with every budget in minutes as the trials or epochs that it came to here: `Pipeline(**…)`
        then does the same on other rows, however busy the machine."""
        asked = dict(self.asked)
        tuning, tuned = self.asked["tuning"], self.fitted.tuned
        if tuned is not None and isinstance(tuning, Mapping) and tuning.get("trials") is None:
            asked["tuning"] = {**{k: v for k, v in tuning.items() if k != "minutes"}, "trials": tuned.trials}
        name, parameters = catalogue.named(asked["model"])
        if isinstance(self.model, SpendsMinutes) and "minutes" in (parameters.get("budget") or {}):
            asked["model"] = {name: {**parameters, **self.model.spent()}}
        return asked

    @property
    def fitted(self) -> Fitted:
        """The fitted state; raises BedsideError before fit."""
        if self.fitted_ is None:
            raise not_fitted(self.name)
        return self.fitted_

    @property
    def model(self) -> Any:
        """The fitted model."""
        return self.fitted.model

    @property
    def task(self) -> Task:
        """What it predicts."""
        return self.fitted.task

    @property
    def input_schema(self) -> Schema:
        """The input fields as they were when fitted."""
        return replace(self.fitted.schema, fields=tuple(self.fitted.schema.inputs))

    @property
    def keeps_rows(self) -> bool:
        """Whether the model file holds training rows."""
        return bool(self.model.keeps_rows)

    def findings(self) -> tuple[Finding, ...]:
        """What was doubtful while fitting."""
        return self.fitted.findings

    def golden(self, n: int = 256, seed: int = 0) -> Cohort:
        """Invented rows that the served model must answer as this one does (drawn from training's marginals)."""
        return draw(self.input_schema.fields, self.fitted.observed, n, seed)

    def outside(self, cohort: Cohort) -> pl.DataFrame:
        """Where rows leave what training showed: row_id, field, why (below, above, unseen, missing)."""
        return outside(_accepted(self.fitted.schema, cohort), self.fitted.observed)

    def to_json(self) -> dict[str, Any]:
        """What was asked and what was learnt (`format` 1), but for the files of steps and model."""
        return {"format": 1, "asked": self.asked, "fitted": self.fitted.to_json()}

    def save(self, folder: Path) -> None:
        """Write pipeline.json, steps/ and model/ into an existing empty folder."""
        content = self.to_json()
        (folder / "steps").mkdir()
        steps_of.save_all(list(self.fitted.steps), folder / "steps")
        (folder / "model").mkdir()
        self.model.save(folder / "model")
        write_listing(folder / LISTING, {**content, "files": file_digests(folder)}, self.model.name)

    def served(self) -> Pipeline:
        """The same pipeline with its network in ONNX Runtime; itself where the model is no network of its own library.

        Raises BedsideError for a network that cannot be exported.
        """
        served = per_label.served(self.model)
        return self if served is self.model else self.with_model(served)

    def with_model(self, model: Any, calibrate: Cohort | None = None) -> Pipeline:
        """The same pipeline around another fitted model of the same inputs; with rows to calibrate on, calibration and
        threshold are learnt anew."""
        other = copy.copy(self)
        other.fitted_ = replace(self.fitted, model=model)
        if calibrate is not None:
            kept = tuple(item for item in self.fitted.findings if not item.id.startswith("calibration_"))
            other.fitted_ = self._decided(replace(other.fitted_, findings=kept), self.task, calibrate)
        return other

    @classmethod
    def load(cls, folder: Path) -> Pipeline:
        """The inverse of `save`; raises IntegrityError when any file was changed, is missing or does not belong."""
        data = read_listing(folder / LISTING)
        check_files(folder, data["files"], LISTING)
        kind = catalogue.saved(data["fitted"]["model"]["name"])
        if not catalogue.installed(kind.extra):
            raise MissingExtra(kind.extra, f"the model '{kind.name}'")
        pipeline = cls.__new__(cls)
        pipeline.asked = data["asked"]  # not built: what was asked may need more than what was learnt
        model = per_label.load(kind, folder / "model")
        pipeline.fitted_ = Fitted.from_json(data["fitted"], steps_of.load_all(folder / "steps"), model)
        return pipeline


def _called(raw: Predictions, task: Classify, operating: Operating) -> Predictions:
    """Raw probabilities calibrated, with the class called."""
    p = operating.calibration.apply(raw.probabilities)
    columns = {f"raw:{name}": raw.frame[name] for name in task.columns}
    index = p.argmax(axis=1)
    if operating.threshold is not None:
        index = (p[:, 1] >= operating.threshold.value).astype(np.int64)
        columns["threshold"] = pl.Series(np.full(len(raw), operating.threshold.value))
    columns["call"] = pl.Series([task.classes[i] for i in index], dtype=pl.String)
    return Predictions.of_probabilities(task, raw.frame["row_id"], p).with_columns(**columns)


def _prepared(fitted: Fitted, cohort: Cohort) -> Cohort:
    return steps_of.apply_all(fitted.steps, _accepted(fitted.schema, cohort))


def _accepted(schema: Schema, cohort: Cohort) -> Cohort:
    """The fields of the fitted schema that a prediction may look at, described as they were then."""
    lacking = [item.name for item in schema.inputs if item.name not in cohort.schema]
    if lacking:
        raise DataError(
            f"{len(lacking)} input fields are missing: {', '.join(lacking[:10])}",
            "give every field of the input schema; leave a cell empty where the value is unknown",
        )
    kept = tuple(item for item in schema.fields if item.name in cohort.schema and not _NEVER & set(item.roles))
    for item in kept:
        kind = cohort.schema[item.name].kind
        if physical_type(kind) != physical_type(item.kind):
            raise DataError(
                f"field '{item.name}' is a {kind}; the model learnt it as a {item.kind}",
                "declare its kind when reading the table",
            )
    described = replace(schema, fields=kept, identity=cohort.schema.identity, name=cohort.schema.name)
    return cohort.derive(cohort.frame.select([*RESERVED, *described.names]), described)
