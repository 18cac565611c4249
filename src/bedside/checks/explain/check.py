"""The check `explain`: global importance with interval, dependence, single rows, additivity and stability."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bedside.checks.assemble import attempt, estimate, exact, finding
from bedside.checks.explain import figures, heat_maps
from bedside.checks.explain.contributions import Contributions, contributions
from bedside.checks.explain.permutation import permutation_importance
from bedside.checks.explain.stability import stability
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Evidence, Finding
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.mean import mean
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

METHODS = ("auto", "contributions", "permutation", *heat_maps.METHODS)
TOLERANCE = 1e-6
MOST_PERMUTED = 100


class Explain:
    """Importance of each field: mean |contribution| where the model's contributions add up exactly, else permutation;
    of a network on images, heat maps (Grad-CAM where no other is asked for), put to the test.

    `rows` at most are looked at (drawn with the seed), `shown` fields reported, `single` rows explained one by one.
    Contributions that do not add up to the prediction within 1e-6 stop. Stability is the rank correlation of the
    importances with those of `bootstraps` samples of subjects.

    Heat maps are of at most `images` images, fewer where all their tests would cost more than `passes` passes through
    the network; `of` is the class explained in each, "called" the one that the model calls. `pictures` images are shown
    with their heat map: they are patients', and go wherever the evidence goes, so none is unless asked for.
    """

    name: ClassVar[str] = "explain"
    needs: ClassVar[Needs] = "model"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")
    metrics: ClassVar[tuple[str, ...]] = (
        "mean_contribution",
        "permutation_importance",
        "importance_stability",
        "additivity_error",
        *heat_maps.METRICS,
        *heat_maps.MASK_METRICS,
    )
    looks_at: ClassVar[LooksAt] = "inputs"
    main: ClassVar[str] = "method"

    def __init__(
        self,
        method: str = "auto",
        rows: int = 2000,
        shown: int = 20,
        single: int = 12,
        repeats: int = 10,
        bootstraps: int = 200,
        images: int = 48,
        pictures: int = 0,
        of: str = heat_maps.CALLED,
        passes: int = 10_000,
    ) -> None:
        if method not in METHODS:
            raise PlanError(f"explain: unknown method '{method}'", f"one of {', '.join(METHODS)}")
        self.method = method
        self.rows = rows
        self.shown = shown
        self.single = single
        self.repeats = repeats
        self.bootstraps = bootstraps
        self.images = images
        self.pictures = pictures
        self.of = str(of)
        self.passes = passes

    def refuse_model(self, model: Any) -> None:
        """Raise PlanError for a model, fitted or not, that this method cannot explain."""
        if self.method in heat_maps.METHODS and not heat_maps.has_network(model):
            raise PlanError(
                f"explain: {self.method} is for networks on images, and this model is none",
                "use method: permutation, or leave it out",
            )

    def __call__(
        self,
        predictions: Predictions,
        cohort: Cohort,
        *,
        task: Task,
        seed: int,
        level: float = 0.95,
        model: Model | None = None,
        fit: Fit | None = None,
        reference: dict[str, Predictions] | None = None,
    ) -> Evidence:
        """Estimates a field, figures and findings. Raises PlanError without a model that suits the method."""
        if model is None:
            raise PlanError("explain needs a model", "it cannot be asked of predictions alone")
        self.refuse_model(model)
        if self.method in heat_maps.METHODS or (self.method == "auto" and heat_maps.has_network(model)):
            method = heat_maps.GradCAM.name if self.method == "auto" else self.method
            asked = heat_maps.Asked(method, self.of, self.images, self.pictures, self.passes)
            choose = lambda most: self._positions(cohort, seed, most)  # noqa: E731
            return heat_maps.heat_maps(model, cohort, choose, task, asked, level=level, seed=seed, check=self.name)
        positions = self._positions(cohort, seed, self.rows)
        seen = cohort.take(positions)
        found = None if self.method == "permutation" else contributions(model, seen, task)
        if found is not None:
            return self._additive(found, seen, positions, level, seed)
        if self.method == "contributions":
            raise PlanError("explain: this model has no contributions that add up", "use method: permutation")
        return self._permuted(model, seen, task, level, seed)

    def _positions(self, cohort: Cohort, seed: int, most: int) -> NDArray[np.int64]:
        """At most so many rows looked at, ascending; which ones does not depend on their order."""
        order = cohort.frame["row_id"].arg_sort().to_numpy().astype(np.int64)
        if len(order) <= most:
            return np.arange(len(order))
        return np.sort(np.random.default_rng(seed).choice(order, most, replace=False))

    def _additive(
        self, found: Contributions, seen: Cohort, positions: NDArray[np.int64], level: float, seed: int
    ) -> Evidence:
        size = np.abs(found.values)
        subjects = seen.subject_codes
        order = np.argsort(-size.mean(axis=0), kind="stable")[: self.shown]
        estimates = []
        for i in order:
            more = {"at": {"field": found.fields[i]}, "otherwise": {"n_rows": len(seen), "n_subjects": seen.n_subjects}}
            estimates.append(
                attempt("mean_contribution", lambda i=i: _size(size[:, i], subjects, level), level, **more)
            )
        shown = [figures.importance(estimates)]
        shown += [figure for i in order[:6] if (figure := figures.dependence(found, seen, found.fields[i])) is not None]
        shown.append(figures.single_rows(found, positions, self.single, 8))
        steady = stability(size, subjects, self.bootstraps, level, seed)
        counts = {"n_rows": len(seen), "n_subjects": seen.n_subjects}
        estimates += [exact("additivity_error", found.error, method="formula", **counts), *steady]
        said: list[Finding] = [
            finding(f"explained_by_{found.method}", "info", rows=len(seen)),
            finding(f"contributions_{found.scale}"),
        ]
        if not found.error <= TOLERANCE:
            said.append(finding("explanation_not_additive", "stop", error=found.error))
        return Evidence(self.name, tuple(estimates), tuple(shown), tuple(said))

    def _permuted(self, model: Model, seen: Cohort, task: Task, level: float, seed: int) -> Evidence:
        names = [item.name for item in seen.schema.inputs if "target" not in item.roles]
        said = [finding("explained_by_permutation", "info", rows=len(seen), repeats=self.repeats)]
        if len(names) > MOST_PERMUTED:
            said.append(finding("explain_fields_left_out", "caution", n=len(names) - MOST_PERMUTED, fields=len(names)))
            names = names[:MOST_PERMUTED]
        try:
            losses = permutation_importance(model, seen, task, names, repeats=self.repeats, seed=seed, level=level)
        except ValueError:
            return Evidence(self.name, findings=(*said, finding("not_estimable", "caution")))
        unit = None if isinstance(task, Classify) else task.unit
        ranked = sorted(zip(names, losses, strict=True), key=lambda pair: (-pair[1].value, pair[0]))[: self.shown]
        estimates = [
            estimate("permutation_importance", loss, level, at={"field": name}, unit=unit) for name, loss in ranked
        ]
        return Evidence(self.name, tuple(estimates), (figures.importance(estimates),), tuple(said))


def _size(sizes: NDArray[np.float64], subjects: NDArray[np.int64], level: float) -> Interval:
    """The mean of sizes (rows,), whose interval has no negative end."""
    found = mean(sizes, level=level, subject=subjects)
    return replace(found, low=max(found.low, 0.0))
