"""Nearest training images: by what the network sees, its own copy first, and never into evidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra imaging is not installed")

from bedside.checks.explain import embeddings, nearest_images
from bedside.cohort.run import Run
from bedside.errors import DataError, PlanError
from bedside.models.conformance import task_of
from bedside.models.example_images import example_images
from bedside.models.pipeline import Pipeline


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    spec = {"name": "small_cnn", "image": 32, "width": 4, "batch": 8, "budget": {"epochs": 10}}
    pipeline = Pipeline(spec, calibration="none", threshold=0.5)
    run = Run(tmp_path_factory.mktemp("fit"), seed=1, threads=1)
    return pipeline.fit(COHORT.take(np.arange(90)), None, None, task=task_of("shade"), run=run)


COHORT = example_images(120)


def test_an_image_is_nearest_to_itself_and_to_its_like(fitted: Pipeline) -> None:
    train = COHORT.take(np.arange(90))
    positions, distances = nearest_images(fitted, train, train, k=6)
    assert positions[:, 0].tolist() == list(range(90)) and distances[:, 0] == pytest.approx(np.zeros(90), abs=1e-9)
    assert (np.diff(distances, axis=1) >= -1e-12).all()
    shade = train["shade"].to_numpy()
    alike = (shade[positions[:, 1:]] == shade[:, None]).mean()
    assert alike > 0.6  # a third by chance


def test_distances_are_those_of_the_embeddings(fitted: Pipeline) -> None:
    train, rows = COHORT.take(np.arange(90)), COHORT.take(np.arange(90, 120))
    a, b = embeddings(fitted, train), embeddings(fitted, rows)
    assert a.shape == (90, 32) and b.shape == (30, 32)  # 8 × the width of the stem
    positions, distances = nearest_images(fitted, train, rows, k=90)
    for i in range(30):
        cosine = np.array([a[j] @ b[i] / np.linalg.norm(a[j]) / np.linalg.norm(b[i]) for j in positions[i]])
        assert distances[i] == pytest.approx(1 - cosine, abs=1e-9)


def test_the_order_of_rows_is_no_matter(fitted: Pipeline) -> None:
    train, rows = COHORT.take(np.arange(90)), COHORT.take(np.arange(90, 120))
    order = np.random.default_rng(0).permutation(90)
    here, there = nearest_images(fitted, train, rows)[0], nearest_images(fitted, train.take(order), rows)[0]
    assert (order[there] == here).all()


def test_what_cannot_be_asked_is_refused(fitted: Pipeline) -> None:
    with pytest.raises(DataError, match="9 nearest of 4"):
        nearest_images(fitted, COHORT.take(np.arange(4)), COHORT, k=9)
    majority = Pipeline("majority", calibration="none", threshold=0.5)
    majority.fit(COHORT, None, None, task=task_of("shade"), run=Run(Path()))
    with pytest.raises(PlanError, match="no network"):
        nearest_images(majority, COHORT, COHORT)
