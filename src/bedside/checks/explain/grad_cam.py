"""Heat maps as evidence: what they show, and whether they can be believed (randomisation, deletion, stability)."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.checks.assemble import attempt, column, finding
from bedside.checks.explain import cam
from bedside.checks.explain.contributions import inside
from bedside.checks.explain.figures import FEWEST
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Estimate, Evidence, Figure
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.mean import mean
from bedside.models.imaging.network import HasNetwork, as_network
from bedside.models.protocol import Model
from bedside.models.seeded import uniforms, with_threads
from bedside.models.task import Classify, Task

METRICS = ("cam_randomisation", "cam_stability", "cam_deletion", "cam_insertion", "cam_border")
NOISE = 0.1  # in spreads of the training pixels
BORDER = 0.1  # of each side
BORDER_AREA = 1 - (1 - 2 * BORDER) ** 2
STEPS = 10
RANDOM_ORDERS = 2
THUMBNAIL = 96  # pixels
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)


def has_network(model: Model) -> bool:
    """Whether the model (inside its pipeline) is a network."""
    return as_network(getattr(model, "model", model)) is not None


def heat_maps(
    model: Any,
    cohort: Cohort,
    positions: NDArray[np.int64],
    task: Task,
    *,
    pictures: int,
    level: float,
    seed: int,
    check: str,
) -> Evidence:
    """Grad-CAM of the class that the model calls, for the rows given; `positions` are theirs among the predictions.

    Shows the mean map of each class over its mean image, and `pictures` single images, which are patients'.
    Raises PlanError for a model that is no network, or a task without classes.
    """
    found = inside(model, cohort)
    network = as_network(found[0])
    if network is None or not isinstance(task, Classify):
        raise PlanError("explain: grad_cam needs a classifier that is a network", "use method: permutation")
    predictions = model.predict(cohort)
    with with_threads(1):  # evidence is the same on any machine
        maps = _Maps(network, found[1], predictions.calls, seed)
        values = dict(zip(METRICS, maps.tested(), strict=True))
    subjects = cohort.subject_codes
    more: dict[str, Any] = {"n_rows": len(cohort), "n_subjects": cohort.n_subjects}
    flat = int((np.ptp(maps.maps.reshape(len(cohort), -1), axis=1) == 0).sum())
    estimates = [_mean(name, each, subjects, level, more) for name, each in values.items()]
    said = [finding("explained_by_grad_cam", "info", rows=len(cohort), flat=flat)]
    by_name = {item.metric: item for item in estimates}
    if _at_least(by_name["cam_randomisation"], 0.5):
        said.append(finding("cam_ignores_weights", "caution"))
    if _at_least(by_name["cam_border"], BORDER_AREA):
        said.append(finding("cam_looks_at_border", "caution", share=by_name["cam_border"].value, area=BORDER_AREA))
    p = predictions.probabilities[np.arange(len(cohort)), maps.classes]
    figures = [figure for figure in (_mean_pictures(maps, p, task),) if figure is not None]
    if pictures > 0:
        figures.append(_pictures(maps, p, predictions.score, positions, task, pictures))
        said.append(finding("explain_shows_images", "caution", images=len(figures[-1].columns["row"])))
    return Evidence(check, tuple(estimates), tuple(figures), tuple(said))


class _Maps:
    """The maps of some rows and the five things they are tested by, each one number a row (NaN where undefined)."""

    def __init__(self, model: HasNetwork, cohort: Cohort, classes: NDArray[np.int64], seed: int) -> None:
        self.model = model
        self.classes = np.array(classes, dtype=np.int64)
        self.seed = seed
        self.row_ids = cohort["row_id"].to_list()
        self.x = model.inputs(cohort)
        self.maps = self._of(model.network(), self.x)

    def _of(self, network: Any, x: cam.Floats) -> NDArray[np.float64]:
        return cam.grad_cam(network, self.model.target_layer(), x, self.classes)

    def tested(self) -> tuple[NDArray[np.float64], ...]:
        """In the order of METRICS."""
        return (self._randomisation(), self._stability(), *self._removal(), self._border())

    def _randomisation(self) -> NDArray[np.float64]:
        forgotten = self._of(cam.randomised(self.model.network(), self.seed), self.x)
        return cam.rank_correlation(self.maps, forgotten)

    def _stability(self) -> NDArray[np.float64]:
        noise = np.stack([self._generator(i, 0).normal(0, NOISE, self.x.shape[1:]) for i in range(len(self.x))])
        return cam.rank_correlation(self.maps, self._of(self.model.network(), self.x + noise.astype(np.float32)))

    def _removal(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How much sooner than in random order the probability falls (deletion) or rises (insertion)."""
        n, shape = len(self.maps), self.maps.shape[1:]
        cells = int(np.prod(shape))
        tie = np.stack([self._generator(i, 1).permutation(cells) for i in range(n)])
        first = np.lexsort((tie, -self.maps.reshape(n, cells)), axis=1)
        random = [
            np.stack([self._generator(i, 2 + k).permutation(cells) for i in range(n)]) for k in range(RANDOM_ORDERS)
        ]
        soft = cam.blurred(self.x)

        def area(full: cam.Floats, empty: cam.Floats, order: NDArray[np.int64]) -> NDArray[np.float64]:
            return cam.removal_curve(
                lambda x: cam.probabilities(self.model.network(), x, self.classes), full, empty, order, shape, STEPS
            )

        deleted = np.mean([area(self.x, soft, order) for order in random], axis=0) - area(self.x, soft, first)
        inserted = area(soft, self.x, first) - np.mean([area(soft, self.x, order) for order in random], axis=0)
        return deleted, inserted

    def _border(self) -> NDArray[np.float64]:
        side_h, side_w = self.x.shape[2:]
        large = cam.enlarged(self.maps, side_h, side_w)
        top, left = round(BORDER * side_h), round(BORDER * side_w)
        inner = large[:, top : side_h - top, left : side_w - left].sum(axis=(1, 2))
        total = large.sum(axis=(1, 2))
        return np.divide(total - inner, total, out=np.full(len(total), np.nan), where=total > 0)

    def _generator(self, row: int, use: int) -> np.random.Generator:
        """A generator of the row's own, so that nothing depends on which rows stand beside it."""
        drawn = uniforms(2, self.seed, "grad_cam", use, self.row_ids[row])
        return np.random.default_rng([int(each * 2**53) for each in drawn])


def _mean(
    name: str, values: NDArray[np.float64], subjects: NDArray[np.int64], level: float, more: dict[str, Any]
) -> Estimate:
    known = ~np.isnan(values)

    def compute() -> Interval:
        found = mean(values[known], level=level, subject=subjects[known])
        floor = 0.0 if name == "cam_border" else -1.0
        return replace(found, low=max(found.low, floor), high=min(found.high, 1.0))

    return attempt(name, compute, level, otherwise=more)


def _at_least(item: Estimate, limit: float) -> bool:
    """Whether the whole interval lies above a limit."""
    return item.low is not None and item.low > limit


def _mean_pictures(maps: _Maps, p: NDArray[np.float64], task: Classify) -> Figure | None:
    """For each class called in at least 5 images, their mean with their mean map laid over it: no patient's."""
    columns: dict[str, list[Any]] = {"images": [], "explained_class": [], "probability": [], "heat_map": []}
    shown = maps.model.pictures(maps.x).astype(np.float64)
    peak = maps.maps.max(axis=(1, 2), keepdims=True)
    relative = np.divide(maps.maps, peak, out=np.zeros_like(maps.maps), where=peak > 0)
    for code, label in enumerate(task.classes):
        rows = np.flatnonzero(maps.classes == code)
        if len(rows) < FEWEST:
            continue
        heat = cam.enlarged(relative[rows].mean(axis=0, keepdims=True), *maps.x.shape[2:])[0]
        columns["images"].append(len(rows))
        columns["explained_class"].append(label)
        columns["probability"] += column(p[rows].mean(keepdims=True))
        columns["heat_map"].append(_overlay(shown[rows].mean(axis=0), heat))
    axes = {"image": "heat_map", "x": "images", "y": "explained_class", "value": "probability"}
    return Figure("heat_maps_mean", "images", columns, axes) if columns["images"] else None


def _pictures(
    maps: _Maps,
    p: NDArray[np.float64],
    score: NDArray[np.float64],
    positions: NDArray[np.int64],
    task: Classify,
    most: int,
) -> Figure:
    """Images spread over the score with their map laid over them; `row` is a position, never an id."""
    order = np.argsort(-score, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(np.int64))]
    shown = maps.model.pictures(maps.x[chosen])
    large = cam.enlarged(maps.maps[chosen], *maps.x.shape[2:])
    columns: dict[str, list[Any]] = {
        "row": [int(positions[i]) for i in chosen],
        "explained_class": [task.classes[maps.classes[i]] for i in chosen],
        "probability": column(p[chosen]),
        "heat_map": [_overlay(picture, heat) for picture, heat in zip(shown, large, strict=True)],
    }
    axes = {"image": "heat_map", "x": "row", "y": "explained_class", "value": "probability"}
    return Figure("heat_maps", "images", columns, axes)


def _overlay(picture: NDArray[Any], heat: NDArray[np.float64]) -> str:
    """A data URI of a PNG: the picture (1 or 3, h, w) in 0..1 under its heat, the hotter the less of it."""
    from bedside.prepare.arrays import encode_png, resized

    base = 255.0 * np.repeat(picture, 3, axis=0)[:3].transpose(1, 2, 0)
    share = heat / heat.max() if heat.max() > 0 else heat
    at = np.linspace(0, 1, len(_HEAT))
    colour = np.stack([np.interp(share, at, _HEAT[:, k]) for k in range(3)], axis=2)
    cover = 0.6 * share[:, :, None]
    laid = ((1 - cover) * base + cover * colour) / 255.0
    side = THUMBNAIL / max(laid.shape[:2])
    small = laid.astype(np.float32)
    if side < 1:
        small = resized(small, round(laid.shape[0] * side), round(laid.shape[1] * side))
    data = encode_png(np.clip(np.round(255 * small), 0, 255).astype(np.uint8))
    return "data:image/png;base64," + base64.b64encode(data).decode()
