"""Heat maps as evidence: on the blob, put to the test, within their budget, and without a patient's picture."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch", reason="the extra imaging is not installed")

from PIL import Image

from bedside.checks import run_checks
from bedside.checks.explain import maps
from bedside.checks.explain.heat_maps import MASK_METRICS, METHODS, METRICS, Trial
from bedside.checks.explain.in_mask import against_mask, masks_seen
from bedside.cohort.cohort import Cohort
from bedside.cohort.files import MemoryFiles
from bedside.cohort.manifest import Manifest, manifests, with_manifests
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import PlanError
from bedside.evidence import glossary
from bedside.evidence.estimate import Evidence, Figure
from bedside.evidence.report.figures import draw, drawable
from bedside.evidence.report.words import Words
from bedside.models.conformance import task_of
from bedside.models.example_images import example_images
from bedside.models.pipeline import Pipeline
from bedside.models.seeded import with_threads
from bedside.models.task import Classify
from bedside.prepare.arrays import encode_png
from bedside.prepare.steps.resize import Resize
from bedside.synth.phantom2d import MARKER_SITE, simulate


def test_removal_by_hand() -> None:
    """Two cells, a score that is the mean of the image: removing the bright one first loses more of it sooner."""
    full = np.zeros((1, 1, 2, 4), dtype=np.float32)
    full[..., :2] = 1.0  # the left cell
    empty = np.zeros_like(full)

    def area(order: list[int]) -> float:
        mean_of = lambda x: x.mean(axis=(1, 2, 3)).astype(float)  # noqa: E731
        return float(maps.area(maps.removal_curves(mean_of, full, empty, np.array([order]), (1, 2), 2))[0])

    # Shares 0, .5, 1 of the cells. Left first: .5, 0, 0 → area .125; right first: .5, .5, 0 → .375.
    assert area([0, 1]) == pytest.approx(0.125)
    assert area([1, 0]) == pytest.approx(0.375)


def test_rank_correlation_of_maps() -> None:
    a = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    assert maps.rank_correlation(a, a**3) == pytest.approx([1.0])
    assert maps.rank_correlation(a, -a) == pytest.approx([-1.0])
    assert np.isnan(maps.rank_correlation(a, np.zeros_like(a))).all()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    cohort = example_images(120, side=64).keeping(["image", "blob", "x", "y"])
    task = task_of("blob")
    spec = {"name": "small_cnn", "image": 64, "width": 6, "batch": 8, "budget": {"epochs": 12}, "loss": "cross_entropy"}
    pipeline = Pipeline(spec, calibration="none", threshold=0.5)
    train, test = cohort.take(np.arange(72)), cohort.take(np.arange(72, 120))
    pipeline.fit(train, None, None, task=task, run=Run(tmp_path_factory.mktemp("fit"), seed=2))
    return SimpleNamespace(pipeline=pipeline, test=test, task=task, predictions=pipeline.predict(test))


@pytest.fixture(scope="module")
def usual(fitted: Any) -> Evidence:
    return evidence(fitted)


def evidence(fitted: Any, spec: Any = None, model: Any = None) -> Evidence:
    made = run_checks(
        [{"explain": "grad_cam"} if spec is None else spec],
        fitted.predictions,
        fitted.test,
        task=fitted.task,
        seed=5,
        model=fitted.pipeline if model is None else model,
        strict=True,
    )
    return made[0]


@pytest.mark.parametrize("method", METHODS)
def test_the_heat_is_where_the_blob_is(fitted: Any, method: str) -> None:
    bright = np.flatnonzero((fitted.test["blob"] == "yes").to_numpy())[:8]
    cohort = fitted.test.take(bright)
    model = fitted.pipeline.model
    x = model.inputs(fitted.pipeline.prepare(cohort))
    with with_threads(1):
        heat = METHODS[method]().maps(model.network(), model.target_layer(), x, np.ones(len(x), dtype=np.int64))
    cells = heat.reshape(len(x), -1).argmax(axis=1)
    side = heat.shape[1]
    found = np.column_stack([cells % side, cells // side]) * (1 / side) + 0.5 / side
    wanted = np.column_stack([cohort["x"].to_numpy(), cohort["y"].to_numpy()])
    assert np.median(np.abs(found - wanted).max(axis=1)) <= 0.25 / 2  # within half of the blob's width of 4 σ = 0.4


def test_a_plan_gets_its_evidence(usual: Evidence) -> None:
    found = usual
    by_name = {item.metric: item for item in found.estimates}
    assert tuple(by_name) == METRICS
    for item in found.estimates:
        assert item.value is not None and item.low <= item.value <= item.high and 0 < item.n_rows <= 48
    assert by_name["heat_randomisation"].high < by_name["heat_stability"].low
    assert by_name["heat_deletion"].low > 0 and by_name["heat_insertion"].low > 0
    assert by_name["heat_border"].value < 0.36  # the blobs lie inside
    assert found.findings[0].id == "explained_by_grad_cam"
    ids = {item.id for item in (*found.findings, *found.figures)} | set(by_name)
    assert ids <= set(glossary.terms())
    for item in found.findings:
        for lang in ("en", "zh"):
            assert glossary.text(item.id, lang, **item.values)


def test_it_is_what_a_network_is_explained_by_unless_told_otherwise(fitted: Any, usual: Evidence) -> None:
    assert evidence(fitted, "explain").to_json() == usual.to_json()


def test_evidence_does_not_depend_on_the_order_of_rows(fitted: Any, usual: Evidence) -> None:
    order = np.random.default_rng(3).permutation(len(fitted.test))
    turned = replace_namespace(fitted, test=fitted.test.take(order), predictions=fitted.predictions.take(order))
    for a, b in zip(usual.estimates, evidence(turned).estimates, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-6) and a.n_rows == b.n_rows


def test_pictures_are_small_embedded_and_without_names(fitted: Any) -> None:
    found = evidence(fitted, {"explain": {"method": "grad_cam", "pictures": 6, "images": 12}})
    figure = figure_of(found, "heat_maps")
    assert "explain_shows_images" in {item.id for item in found.findings}
    assert figure.kind == "images" and len(figure.columns["heat_map"]) == 6
    assert figure.columns["truth"] == [fitted.test["blob"][row] for row in figure.columns["row"]]
    plain, under = (pixels_of(figure.columns[name][0]) for name in ("image", "heat_map"))
    assert plain.shape == under.shape == (64, 64, 3)
    assert np.ptp(plain, axis=2).max() == 0 < np.ptp(under, axis=2).max()  # grey, and coloured by the heat
    assert all(isinstance(row, int) and 0 <= row < len(fitted.test) for row in figure.columns["row"])
    drawn = draw(figure, Words())
    assert set(figure.columns["explained_by"]) == {"grad_cam"} and f"Row {figure.columns['row'][0]} · Truth: " in str(
        drawn
    )
    assert drawable(figure) and drawn is not None and str(drawn).count("<image") == 12


def test_no_single_image_is_shown_unless_asked_for(usual: Evidence) -> None:
    found = usual
    assert [figure.id for figure in found.figures] == ["heat_maps_mean", "heat_cascade", "heat_removal"]
    assert min(found.figures[0].columns["images"]) >= 5 and "Images" in str(draw(found.figures[0], Words()))
    assert "explain_shows_images" not in {item.id for item in found.findings}


def test_a_report_embeds_pngs_and_nothing_else(fitted: Any) -> None:
    figure = figure_of(evidence(fitted, {"explain": {"method": "grad_cam", "pictures": 2, "images": 6}}), "heat_maps")
    for wrong in ("https://example.org/a.png", "data:image/svg+xml;base64,AAAA", 'data:image/png;base64,A" onload=x'):
        for name in ("image", "heat_map"):
            columns = {**figure.columns, name: [figure.columns[name][0], wrong]}
            assert str(draw(replace(figure, columns=columns), Words())).count("<image") == 2


def test_a_model_without_a_network_is_refused(fitted: Any) -> None:
    with pytest.raises(PlanError, match="grad_cam"):
        evidence(fitted, model=Pipeline("majority", calibration="none", threshold=0.5).fit(
            fitted.test, None, None, task=fitted.task, run=Run(Path())
        ))  # fmt: skip


def test_every_method_is_put_to_the_same_tests(fitted: Any) -> None:
    for method in ("grad_cam_plus_plus", "score_cam", "integrated_gradients", "occlusion"):
        found = evidence(fitted, {"explain": {"method": method, "images": 3}})
        assert tuple(item.metric for item in found.estimates) == METRICS
        assert {(item.at or {})["explained_by"] for item in found.estimates} == {method}
        assert found.findings[0].id == f"explained_by_{method}" and found.findings[0].id in glossary.terms()


def test_the_passes_bound_the_images_and_that_is_said(fitted: Any) -> None:
    found = evidence(fitted, {"explain": {"method": "occlusion", "passes": 4800}})
    said = {item.id: item.values for item in found.findings}["heat_maps_bounded"]
    # 11 × 11 windows and the image itself, for the maps, three of the cascade and one under noise; and 6 removal curves
    # (hottest first and two at random, deletion and insertion) of 11 points.
    assert said == {"rows": 4800 // (122 * 5 + 66), "asked": 48, "passes": 122 * 5 + 66}
    assert {item.n_rows for item in found.estimates if item.value is not None} == {4800 // 676}


def test_a_class_can_be_asked_for(fitted: Any) -> None:
    found = evidence(fitted, {"explain": {"method": "grad_cam", "of": "yes", "images": 12}})
    mean = figure_of(found, "heat_maps_mean")
    assert mean.columns["explained_class"] == ["yes"] and mean.columns["images"] == [12]
    assert {(item.at or {})["class"] for item in found.estimates} == {"yes"}
    with pytest.raises(PlanError, match="no class 'maybe'"):
        evidence(fitted, {"explain": {"method": "grad_cam", "of": "maybe"}})


def test_the_cascade_begins_at_likeness_and_falls(usual: Evidence) -> None:
    figure = figure_of(usual, "heat_cascade")
    assert figure.columns["map_similarity"][0] == 1.0 and figure.columns["layers_forgotten"] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )
    assert figure.columns["map_similarity"][-1] < 0.5


def test_what_is_not_picture_is_black_and_bears_no_heat(fitted: Any) -> None:
    """An image twice as wide as high fills half of the square; its border is its own, not the square's."""
    made = fitted.pipeline.model
    wide = with_manifests(fitted.test, "image", {
        digest: each.with_op({"op": "resize", "height": 32, "width": 64, "fit": "stretch"}, (32, 64, 1))
        for digest, each in manifests(fitted.test, "image").items()
    })  # fmt: skip
    trial = Trial(METHODS["grad_cam"](), made, fitted.pipeline.prepare(wide), np.ones(len(wide), dtype=np.int64), 0)
    assert not trial.covered[:, :16].any() and trial.covered[:, 16:48].all() and not trial.covered[:, 48:].any()
    assert trial.shown()[:, :, :16].max() == 0 and trial.shown()[:, :, 16:48].min() >= 0
    trial.maps = np.ones((len(wide), 8, 8))  # heat everywhere alike: the border has its share of the area
    assert trial.border() == pytest.approx(np.full(len(wide), 1 - (26 / 32) * (52 / 64)))


def figure_of(found: Evidence, name: str) -> Figure:
    return next(figure for figure in found.figures if figure.id == name)


def pixels_of(uri: Any) -> np.ndarray:
    data = base64.b64decode(str(uri).removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def replace_namespace(given: Any, **changed: Any) -> Any:
    return SimpleNamespace(**{**vars(given), **changed})


def marked(cohort: Cohort, side: int = 64) -> Cohort:
    """The blobs with masks: `mask` a disc at each bright blob, `corner` the upper left ninth of every second image."""
    files, at = MemoryFiles(cohort.files), (np.arange(side) + 0.5) / side
    columns: dict[str, list[str | None]] = {"mask": [], "corner": []}
    for row, (blob, x, y) in enumerate(cohort.frame.select("blob", "x", "y").iter_rows()):
        disc = (at[:, None] - y) ** 2 + (at[None, :] - x) ** 2 < 0.15**2
        corner = (at[:, None] < 1 / 3) & (at[None, :] < 1 / 3)
        for name, there, plane in (("mask", blob == "yes", disc), ("corner", row % 2 == 0, corner)):
            data = encode_png(plane.astype(np.uint8))
            made = Manifest("mask", (files.put(data),), "image/png", (side, side, 1))
            columns[name].append(files.put(made.to_bytes()) if there else None)
    frame = cohort.frame.with_columns([pl.Series(name, values, dtype=pl.String) for name, values in columns.items()])
    fields = (*cohort.schema.fields, Field("mask", "mask", ()), Field("corner", "mask", ()))
    return cohort.derive(frame, replace(cohort.schema, fields=fields)).with_files(files)


def test_the_heat_is_in_the_masks_of_what_was_learnt_and_not_in_others(fitted: Any) -> None:
    with_masks = replace_namespace(fitted, test=marked(fitted.test))
    found = evidence(with_masks, {"explain": {"method": "grad_cam", "of": "yes"}})
    by = {(item.metric, (item.at or {})["mask"]): item for item in found.estimates if item.metric in MASK_METRICS}
    assert len(by) == 2 * len(MASK_METRICS)
    bright = int((fitted.test["blob"] == "yes").sum())
    assert by["heat_in_mask_gain", "mask"].low > 0.05 and by["heat_in_mask", "mask"].low > by["mask_area", "mask"].high
    assert by["mask_area", "mask"].value == pytest.approx(np.pi * 0.15**2, abs=0.01)
    assert by["heat_pointing", "mask"].value > 0.6 and by["heat_pointing", "mask"].n_rows == bright
    assert by["mask_area", "corner"].value == pytest.approx((21 / 64) ** 2)
    assert 0 < by["mask_area", "corner"].n_rows <= 24  # those of its 24 rows whose map is not empty
    assert by["heat_in_mask_gain", "corner"].low <= 0
    assert {"mask": "corner"}.items() <= {i.id: i.values for i in found.findings}["heat_misses_mask"].items()


def test_heat_against_a_mask_by_hand() -> None:
    heat = np.array([[[3.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    covered = np.array([[[True, True], [True, True]], [[True, True], [False, False]], [[True, True], [True, True]]])
    mask = np.array([[[1.0, 0.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]], dtype=np.float32)
    found = against_mask(heat, covered, mask)
    # 3 of 4 in the mask, 1.5 of 4 cells marked; no mask; no heat.
    assert [found[name][0] for name in MASK_METRICS] == [0.75, 0.375, 0.375, 1.0]
    assert all(np.isnan(found[name][1:]).all() for name in MASK_METRICS)


def test_a_mask_goes_through_the_same_resizing_as_its_image(fitted: Any) -> None:
    """The step stretches 64 × 64 to 32 × 64, which the network's square then holds in its middle half."""
    seen = marked(fitted.test)
    step = Resize(image=[32, 64], aspect="stretch").fit(seen, run=Run(Path()))
    masks = masks_seen(seen, step.apply(seen), fitted.pipeline.model)
    assert masks["corner"].shape == (48, 64, 64)
    assert masks["corner"][0, 16:26, :21].min() == 1 and masks["corner"][0, 27:, :].max() == 0
    assert masks["corner"][0, :16].max() == 0 and masks["corner"][1].max() == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_shortcut_is_seen_by_where_the_heat_lies(tmp_path: Path) -> None:
    """The phantom: effusions without any marker are learnt, and the heat lies in them; nodules, which 64 pixels hardly
    show, at the site of the planted marker are told by the marker, and the heat lies on it and not in them."""
    found = {}
    for finding, shortcut, patients, epochs in (("effusion", 0.0, 500, 15), ("nodule", 1.0, 900, 12)):
        cohort = simulate(patients, 3, size=64, finding=finding, shortcut=shortcut)
        if shortcut:
            cohort = cohort.take(np.flatnonzero((cohort["site"] == MARKER_SITE).to_numpy()))
        cut = int(0.7 * len(cohort))
        train, test = cohort.take(np.arange(cut)), cohort.take(np.arange(cut, len(cohort)))
        task = Classify.of(cohort, "finding", finding)
        spec = {"name": "small_cnn", "image": 64, "width": 8, "budget": {"epochs": epochs}}
        pipeline = Pipeline(spec, calibration="none", threshold=0.5)
        folder = tmp_path / finding
        folder.mkdir()
        pipeline.fit(train, None, None, task=task, run=Run(folder, seed=2, threads=1))
        given = SimpleNamespace(pipeline=pipeline, test=test, task=task, predictions=pipeline.predict(test))
        asked = {"method": "integrated_gradients", "of": finding, "images": 48, "passes": 30_000}
        found[finding] = {
            (item.metric, (item.at or {}).get("mask")): item for item in evidence(given, {"explain": asked}).estimates
        }
    clean, cheated = found["effusion"], found["nodule"]
    assert clean["heat_in_mask_gain", "mask"].low > 0.1 and ("heat_in_mask", "marker") not in clean
    assert cheated["heat_in_mask_gain", "mask"].high < 0.02
    assert cheated["heat_in_mask", "marker"].low > 4 * cheated["mask_area", "marker"].value
