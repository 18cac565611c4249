"""Identical rows and near-identical images: dropped, joined into one subject, refused, or knowingly left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Identity
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Estimate, Evidence, Figure, Finding
from bedside.prepare.clean.base import PART, Cleaner, check_choice, counted
from bedside.prepare.clean.image_duplicates import near_duplicates

Ints = NDArray[np.int64]

LARGE_SHARE = 0.05  # of all rows in one cluster: images of one kind that look alike rather than copies


@dataclass
class Duplicates(Cleaner):
    """Rows whose inputs (or the `fields` named) are all equal may be one patient twice: in train and in test.

    `group` joins the subjects that share such rows into one (identity "cluster" where no patient id was declared);
    `drop` keeps the first of those that agree in their labels too, and groups the rest; `error` refuses them; `waive`
    leaves them, which keeps the release at research. Labels are the fields with role target or event, and `labels`;
    they are no inputs.
    Rows with nothing but missing values are not compared.

    Where an input (or one of the `fields`) is an image, the images are compared instead, and near-duplicates found: a
    perceptual hash within `distance` bits of 64 proposes, a `correlation` of band-passed thumbnails confirms.
    """

    how: str = "group"
    fields: Sequence[str] | None = None
    labels: Sequence[str] = ()
    distance: int = 10
    correlation: float = 0.6

    name: ClassVar[str] = "duplicates"
    scope: ClassVar[Literal["item", "cohort"]] = "cohort"
    main: ClassVar[str] = "how"

    def __post_init__(self) -> None:
        check_choice(self.name, "how", self.how, ("drop", "group", "error", "waive"))
        if not 0 <= self.distance <= 64 or not 0 < self.correlation < 1:
            raise PlanError(
                f"clean step 'duplicates': distance {self.distance}, correlation {self.correlation}",
                "distance is 0 to 64 bits, correlation between 0 and 1",
            )

    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """The cohort without (or with joined) duplicates. Raises DataError when `how` is error and there are any."""
        labels = [item.name for item in cohort.schema.fields if {"target", "event"} & set(item.roles)]
        labels = list(dict.fromkeys([*labels, *(cohort.schema[name].name for name in self.labels)]))
        inputs = [item.name for item in cohort.schema.inputs]
        compared = inputs if self.fields is None else [cohort.schema[name].name for name in self.fields]
        compared = [name for name in compared if name not in labels]
        images = [name for name in compared if cohort.schema[name].kind == "image"]
        estimates, figures, findings = [], [], []
        if images:
            twins, identical = self._alike(cohort, images)
            told, figures, findings = _clusters(cohort, twins, labels, identical)
            estimates += told
        else:
            twins = equal_rows(cohort.frame, compared)
        repeated = int(np.count_nonzero(twins >= 0)) - len(np.unique(twins[twins >= 0]))
        conflicting = _conflicting(cohort, twins, labels)
        if repeated and self.how == "error":
            raise DataError(
                f"{repeated} row(s) {'look like another image' if images else 'repeat another row in all inputs'}",
                "say {duplicates: group} to keep them on one side of the split, or drop",
            )
        estimates += [
            counted("clean_rows_repeated", repeated, cohort, step=self.name),
            counted("clean_rows_conflicting", conflicting, cohort, step=self.name),
        ]
        if repeated and self.how == "waive":
            findings.append(Finding("duplicates_waived", "caution"))
        if conflicting and not images:
            findings.append(Finding("clean_labels_conflict", "caution", {"rows": conflicting}))
        if self.how == "drop":
            kept = _first_of_each(cohort, twins, labels)
            estimates.append(counted("clean_rows_dropped", len(cohort) - len(kept), cohort, step=self.name))
            cohort, twins = cohort.take(kept), twins[kept]
        if self.how in ("drop", "group"):
            before = cohort.n_subjects
            cohort = _joined(cohort, twins)
            estimates.append(counted("clean_subjects_joined", before - cohort.n_subjects, cohort, step=self.name))
        return cohort, Evidence("clean.duplicates", tuple(estimates), tuple(figures), tuple(findings))

    def _alike(self, cohort: Cohort, images: Sequence[str]) -> tuple[Ints, int]:
        if len(images) > 1:
            raise DataError(f"more than one field is an image: {', '.join(images)}", "name one in `fields`")
        return near_duplicates(cohort, images[0], distance=self.distance, correlation=self.correlation)


def _clusters(
    cohort: Cohort, twins: Ints, labels: Sequence[str], identical: int
) -> tuple[list[Estimate], list[Figure], list[Finding]]:
    """Counts of the clusters of images, the histogram of their sizes, and a doubt about one that is very large."""
    sizes = np.bincount(twins[twins >= 0])
    largest = int(sizes.max(initial=0))
    rows = np.flatnonzero(twins >= 0)
    conflicting = 0
    if labels and rows.size:
        table = cohort.frame[rows].select(pl.struct(labels).alias("labels")).with_columns(twin=twins[rows])
        conflicting = int((table.group_by("twin").agg(pl.col("labels").n_unique())["labels"] > 1).sum())
    told = {
        "clean_images_identical": identical,
        "clean_image_clusters": len(sizes),
        "clean_images_in_clusters": int(sizes.sum()),
        "clean_image_cluster_largest": largest,
        "clean_image_clusters_conflicting": conflicting,
    }
    estimates = [counted(name, value, cohort, step=Duplicates.name) for name, value in told.items()]
    if not len(sizes):
        return estimates, [], []
    counts = np.bincount(sizes)
    there = np.flatnonzero(counts)
    columns = {"size": [str(size) for size in there.tolist()], "clusters": counts[there].tolist()}
    figure = Figure("image_cluster_sizes", "bar", columns, {"x": "clusters", "y": "size"}, PART)
    findings = []
    if conflicting:
        values = {"clusters": conflicting, "rows": _conflicting(cohort, twins, labels)}
        findings.append(Finding("image_labels_conflict", "caution", values))
    if largest > max(20, LARGE_SHARE * len(cohort)):
        findings.append(Finding("image_cluster_large", "caution", {"rows": largest}))
    return estimates, [figure], findings


def equal_rows(frame: pl.DataFrame, names: Sequence[str]) -> Ints:
    """A number shared by the rows that are equal in all the named columns, −1 for a row equal to no other.

    Shape (rows,). A hash proposes, comparison confirms.
    """
    out = np.full(frame.height, -1, dtype=np.int64)
    if not names or frame.height == 0:
        return out
    table = frame.select(names)
    hashes = table.hash_rows()
    proposed = (
        hashes.is_duplicated().to_numpy()
        & table.select(some=pl.any_horizontal([pl.col(name).is_not_null() for name in names]))["some"].to_numpy()
    )
    positions = np.flatnonzero(proposed)
    if positions.size == 0:
        return out
    groups = table[positions].with_columns(__row=positions).group_by(list(names), maintain_order=True).agg("__row")
    for number, rows in enumerate(groups["__row"]):
        if len(rows) > 1:
            out[rows.to_numpy()] = number
    return out


def _conflicting(cohort: Cohort, twins: Ints, labels: Sequence[str]) -> int:
    """Rows that equal another one but differ from it in a label."""
    rows = np.flatnonzero(twins >= 0)
    if not labels or rows.size == 0:
        return 0
    table = cohort.frame[rows].select(labels).with_columns(__twin=twins[rows])
    sizes = table.group_by("__twin").agg(rows=pl.len(), distinct=pl.struct(labels).n_unique())
    return int(sizes.filter(pl.col("distinct") > 1)["rows"].sum())


def _first_of_each(cohort: Cohort, twins: Ints, labels: Sequence[str]) -> Ints:
    """Positions that stay when each group keeps the first row of every set of labels."""
    table = cohort.frame.select(pl.struct([*labels, pl.lit(twins).alias("__twin")]).alias("all"))
    first = table["all"].is_first_distinct().to_numpy()
    return np.flatnonzero(first | (twins < 0)).astype(np.int64)


def _joined(cohort: Cohort, twins: Ints) -> Cohort:
    """The cohort with subjects that share equal rows made one, named after the first of them to appear."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    codes, rows = cohort.subject_codes, np.flatnonzero(twins >= 0)
    n, groups = cohort.n_subjects, int(twins.max(initial=-1)) + 1
    links = coo_array((np.ones(rows.size), (codes[rows], n + twins[rows])), shape=(n + groups, n + groups))
    _, component = connected_components(links, directed=False)
    first = np.full(n + groups, n, dtype=np.int64)
    np.minimum.at(first, component[:n], np.arange(n))
    leader = first[component[:n]]
    if (leader == np.arange(n)).all():
        return cohort
    names = cohort.frame["subject"].unique(maintain_order=True)
    subject = names[leader[codes]].alias("subject")
    frame = cohort.frame.with_columns(subject)
    events = cohort.events
    if events is not None:
        renamed = dict(zip(names.to_list(), names[leader].to_list(), strict=True))
        events = events.with_columns(pl.col("subject_id").replace(renamed))
    # Patients known by an id stay so when a few of them turn out to be one.
    known: Identity = "declared" if cohort.schema.identity == "declared" else "cluster"
    return replace(cohort, frame=frame, events=events, schema=replace(cohort.schema, identity=known))
