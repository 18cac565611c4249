"""Heat maps as evidence: what they show, and whether they can be believed (randomisation, deletion, stability)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.checks.assemble import attempt, column, finding
from bedside.checks.explain import in_mask
from bedside.checks.explain import maps as tests
from bedside.checks.explain.attribution import IntegratedGradients, Occlusion
from bedside.checks.explain.cam import GradCAM, GradCAMPlusPlus, ScoreCAM
from bedside.checks.explain.contributions import inside
from bedside.checks.explain.heat_pictures import mean_pictures, pictures
from bedside.checks.explain.saliency import Floats, Maps, Saliency
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Estimate, Evidence, Figure
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.mean import mean
from bedside.evidence.metrics.proportions import proportion
from bedside.models.imaging.network import HasNetwork, as_network
from bedside.models.seeded import uniforms, with_threads
from bedside.models.task import Classify, Task, labels

METHODS: dict[str, type[Saliency]] = {
    each.name: each for each in (GradCAM, GradCAMPlusPlus, ScoreCAM, IntegratedGradients, Occlusion)
}
METRICS = ("heat_randomisation", "heat_stability", "heat_deletion", "heat_insertion", "heat_border")
MASK_METRICS = in_mask.METRICS  # where the cohort has masks
SHARES = ("heat_border", "heat_in_mask", "mask_area")
CALLED = "called"
NOISE = 0.1  # in spreads of the training pixels
BORDER = 0.1  # of each side
BORDER_AREA = 1 - (1 - 2 * BORDER) ** 2
CASCADE = (1 / 3, 2 / 3, 1.0)  # shares of the layers, from the output down
STEPS = 10
RANDOM_ORDERS = 2
FEWEST_IMAGES = 5


@dataclass(frozen=True)
class Asked:
    """What a plan asks: the method, the class explained ("called" or a label), how many images are looked at and shown
    at most, and how many passes through the network all of it may cost."""

    method: str = GradCAM.name
    of: str = CALLED
    images: int = 48
    pictures: int = 0
    passes: int = 10_000


def has_network(model: Any) -> bool:
    """Whether the model (inside its pipeline) is a network."""
    return as_network(getattr(model, "model", model)) is not None


def heat_maps(
    model: Any,
    cohort: Cohort,
    choose: Callable[[int], NDArray[np.int64]],
    task: Task,
    asked: Asked,
    *,
    level: float,
    seed: int,
    check: str,
) -> Evidence:
    """Maps of the class that the model calls, or of the one asked for, for rows that `choose(n)` picks.

    Shows the mean map of each class over its mean image, and `pictures` single images, which are patients'. Raises
    PlanError for a model that is no network, a task without classes, or a class that is not one of the task's.
    """
    network = as_network(getattr(model, "model", model))
    if network is None or not isinstance(task, Classify):
        raise PlanError(f"explain: {asked.method} needs a classifier that is a network", "use method: permutation")
    if asked.of not in (CALLED, *task.classes):
        raise PlanError(f"explain: no class '{asked.of}'", f"{CALLED}, or one of {', '.join(task.classes)}")
    method = METHODS[asked.method]()
    positions, passes = _affordable(method, network, model, cohort, choose, asked)
    seen = cohort.take(positions)
    predictions = model.predict(seen)
    classes = predictions.calls if asked.of == CALLED else np.full(len(seen), task.classes.index(asked.of))
    prepared = inside(model, seen)[1]
    with with_threads(1):  # evidence is the same on any machine
        trial = Trial(method, network, prepared, np.array(classes, dtype=np.int64), seed)
        cascade, curves = trial.cascade(), trial.removals()
        values = {
            "heat_randomisation": cascade[-1],
            "heat_stability": trial.stability(),
            "heat_deletion": curves["deletion_random"][1] - curves["deletion_hottest"][1],
            "heat_insertion": curves["insertion_hottest"][1] - curves["insertion_random"][1],
            "heat_border": trial.border(),
        }
        masks = in_mask.masks_seen(seen, prepared, network)
        heat = trial.heat()
    by = _Means(seen, level, {"explained_by": method.name, **({} if asked.of == CALLED else {"class": asked.of})})
    estimates = [by.estimate(name, each) for name, each in values.items()]
    flat = int((np.ptp(trial.maps.reshape(len(seen), -1), axis=1) == 0).sum())
    said = [finding(f"explained_by_{method.name}", "info", rows=len(seen), flat=flat)]
    if asked.of != CALLED:
        said.append(finding("heat_maps_of_class", "info", explained=asked.of))
    if len(seen) < min(asked.images, len(cohort)):
        said.append(finding("heat_maps_bounded", "info", rows=len(seen), asked=asked.images, passes=passes))
    by_name = {item.metric: item for item in estimates}
    if _above(by_name["heat_randomisation"], 0.5):
        said.append(finding("heat_ignores_weights", "caution"))
    if _above(by_name["heat_border"], BORDER_AREA):
        said.append(finding("heat_looks_at_border", "caution", share=by_name["heat_border"].value, area=BORDER_AREA))
    for name, mask in masks.items():
        found = by.of_mask(name, in_mask.against_mask(heat, trial.covered, mask))
        estimates += found
        share, area, gain, _ = found
        if gain.value is not None and not _above(gain, 0.0):
            said.append(finding("heat_misses_mask", "caution", mask=name, share=share.value, area=area.value))
    p = predictions.probabilities[np.arange(len(seen)), trial.classes]
    figures = [
        figure for figure in (mean_pictures(trial.shown(), trial.maps, trial.classes, p, task),) if figure is not None
    ]
    if asked.pictures > 0:
        truth = labels(seen[task.target]).to_list()
        drawn = (trial.shown(), trial.maps, trial.classes, p, predictions.score, positions, task, asked.pictures)
        figures.append(pictures(*drawn, truth))
        said.append(finding("explain_shows_images", "caution", images=len(figures[-1].columns["row"])))
    figures = [_by(method, figure) for figure in (*figures, _cascade(cascade, by), _removals(curves, by))]
    return Evidence(check, tuple(estimates), tuple(figures), tuple(said))


def _by(method: Saliency, figure: Figure) -> Figure:
    """The figure with the column that says by which method its maps were made."""
    rows = max(len(values) for values in figure.columns.values())
    return replace(figure, columns={**figure.columns, "explained_by": [method.name] * rows})


def _affordable(
    method: Saliency,
    network: HasNetwork,
    model: Any,
    cohort: Cohort,
    choose: Callable[[int], NDArray[np.int64]],
    asked: Asked,
) -> tuple[NDArray[np.int64], int]:
    """The rows looked at, as many as the passes allow and at least 5, and the passes that one of them costs."""
    first = network.inputs(inside(model, cohort.take(choose(1)))[1])
    one = method.passes(network.network(), network.target_layer(), first)
    cost = one * (len(CASCADE) + 2) + 2 * (1 + RANDOM_ORDERS) * (STEPS + 1)
    return choose(min(asked.images, max(FEWEST_IMAGES, asked.passes // cost))), cost


class Trial:
    """The maps of some rows and what they are tested by, each one number a row (NaN where undefined)."""

    def __init__(
        self, method: Saliency, model: HasNetwork, cohort: Cohort, classes: NDArray[np.int64], seed: int
    ) -> None:
        self.method = method
        self.model = model
        self.classes = classes
        self.seed = seed
        self.row_ids = cohort["row_id"].to_list()
        self.x = model.inputs(cohort)
        self.covered = model.covered(cohort)
        self.maps = self._of(model.network(), self.x)

    def _of(self, network: Any, x: Floats) -> Maps:
        return self.method.maps(network, self.model.target_layer(), x, self.classes)

    def shown(self) -> Floats:
        """The images in 0..1 (n, channels, h, w), black where the square holds no picture."""
        return self.model.pictures(self.x) * self.covered[:, None]

    def cascade(self) -> list[Maps]:
        """Rank correlation with the maps of the network as ever more of its layers have forgotten all."""
        network = self.model.network()
        forgotten = (self._of(tests.randomised(network, self.seed, share), self.x) for share in CASCADE)
        return [tests.rank_correlation(self.maps, each) for each in forgotten]

    def stability(self) -> Maps:
        """Rank correlation with the maps of the images under a little noise."""
        noise = np.stack([self._generator(i, 0).normal(0, NOISE, self.x.shape[1:]) for i in range(len(self.x))])
        return tests.rank_correlation(self.maps, self._of(self.model.network(), self.x + noise.astype(np.float32)))

    def removals(self) -> dict[str, tuple[Maps, Maps]]:
        """The class's probability (n, steps + 1), and the area under it (n,), as places go (deletion) or come back
        (insertion), the hottest first, or in random order (the mean of two)."""
        n, shape = len(self.maps), self.maps.shape[1:]
        cells = int(np.prod(shape))
        tie = np.stack([self._generator(i, 1).permutation(cells) for i in range(n)])
        first = np.lexsort((tie, -self.maps.reshape(n, cells)), axis=1)
        random = [
            np.stack([self._generator(i, 2 + k).permutation(cells) for i in range(n)]) for k in range(RANDOM_ORDERS)
        ]
        soft = tests.blurred(self.x)
        network = self.model.network()

        def curves(full: Floats, empty: Floats, order: NDArray[np.int64]) -> Maps:
            return tests.removal_curves(
                lambda x: tests.probabilities(network, x, self.classes), full, empty, order, shape, STEPS
            )

        found = {}
        for name, full, empty in (("deletion", self.x, soft), ("insertion", soft, self.x)):
            found[f"{name}_hottest"] = curves(full, empty, first)
            found[f"{name}_random"] = np.mean([curves(full, empty, order) for order in random], axis=0)
        return {name: (each, tests.area(each)) for name, each in found.items()}

    def heat(self) -> Maps:
        """The maps at the size of the inputs, on the picture only."""
        return tests.enlarged(self.maps, *self.x.shape[2:]) * self.covered

    def border(self) -> Maps:
        """Share of the heat on the picture that lies in the outer tenth of each of its sides."""
        inner = np.zeros_like(self.covered)
        for row, covered in enumerate(self.covered):
            spans = [np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0)]
            margins = [round(BORDER * len(span)) for span in spans]
            rows, columns = (span[m : len(span) - m] for span, m in zip(spans, margins, strict=True))
            inner[row][np.ix_(rows, columns)] = True
        heat = self.heat()
        outside, total = (heat * ~inner).sum(axis=(1, 2)), heat.sum(axis=(1, 2))
        return np.divide(outside, total, out=np.full(len(total), np.nan), where=total > 0)

    def _generator(self, row: int, use: int) -> np.random.Generator:
        """A generator of the row's own, so that nothing depends on which rows stand beside it."""
        drawn = uniforms(2, self.seed, "heat_maps", use, self.row_ids[row])
        return np.random.default_rng([int(each * 2**53) for each in drawn])


@dataclass(frozen=True)
class _Means:
    """Means over the rows looked at, with an interval by subject."""

    cohort: Cohort
    level: float
    at: dict[str, Any]

    def interval(self, values: Maps, floor: float) -> Interval:
        """The mean of those that are defined, held between `floor` and 1."""
        known = ~np.isnan(values)
        found = mean(values[known], level=self.level, subject=self.cohort.subject_codes[known])
        return replace(found, low=max(found.low, floor), high=min(found.high, 1.0))

    def estimate(self, name: str, values: Maps) -> Estimate:
        """As an estimate, or why there is none."""
        counts = {"n_rows": len(self.cohort), "n_subjects": self.cohort.n_subjects}
        floor = 0.0 if name in SHARES else -1.0
        return attempt(name, lambda: self.interval(values, floor), self.level, otherwise=counts, at=self.at)

    def of_mask(self, mask: str, values: dict[str, Maps]) -> list[Estimate]:
        """Those of one mask field, of the rows that have it; whether the hottest place is inside is counted."""
        own = replace(self, at={**self.at, "mask": mask})
        *means, (pointing, hit) = values.items()
        known = ~np.isnan(hit)
        counts = {"n_rows": int(known.sum()), "n_subjects": len(np.unique(self.cohort.subject_codes[known]))}

        def counted() -> Interval:
            return proportion(hit[known] > 0, level=self.level, subject=self.cohort.subject_codes[known])

        found = [own.estimate(name, each) for name, each in means]
        return [*found, attempt(pointing, counted, self.level, otherwise=counts, at=own.at)]

    def limits(self, values: Maps, floor: float) -> tuple[float, float, float]:
        """Mean, low, high; NaN where there is none."""
        try:
            found = self.interval(values, floor)
        except ValueError:
            return (float("nan"),) * 3
        return found.value, found.low, found.high


def _above(item: Estimate, limit: float) -> bool:
    """Whether the whole interval lies above a limit."""
    return item.low is not None and item.low > limit


def _cascade(cascade: list[Maps], by: _Means) -> Figure:
    """How alike the maps stay as the network forgets, layer by layer from its output down."""
    found = np.array([(1.0, 1.0, 1.0), *(by.limits(each, -1.0) for each in cascade)])
    columns = {"layers_forgotten": column((0.0, *CASCADE))}
    columns |= {name: column(found[:, i]) for i, name in enumerate(("map_similarity", "low", "high"))}
    axes = {"x": "layers_forgotten", "y": "map_similarity", "low": "low", "high": "high"}
    return Figure("heat_cascade", "band", columns, axes)


def _removals(curves: dict[str, tuple[Maps, Maps]], by: _Means) -> Figure:
    """The mean probability of the class as places go or come back, by heat and at random."""
    columns: dict[str, list[Any]] = {"share_of_places": [], "probability": [], "low": [], "high": [], "order": []}
    for name, (each, _) in curves.items():
        found = np.array([by.limits(values, 0.0) for values in each.T])
        columns["share_of_places"] += column(np.linspace(0, 1, len(found)))
        for i, key in enumerate(("probability", "low", "high")):
            columns[key] += column(found[:, i])
        columns["order"] += [name] * len(found)
    axes = {"x": "share_of_places", "y": "probability", "low": "low", "high": "high", "series": "order"}
    return Figure("heat_removal", "band", columns, axes)
