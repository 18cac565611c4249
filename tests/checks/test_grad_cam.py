"""Heat maps: right by hand, mirrored with the image, on the blob, and honest about maps that show nothing."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra imaging is not installed")

from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402

from bedside.checks import run_checks  # noqa: E402
from bedside.checks.explain import cam  # noqa: E402
from bedside.checks.explain.grad_cam import METRICS  # noqa: E402
from bedside.cohort.run import Run  # noqa: E402
from bedside.errors import PlanError  # noqa: E402
from bedside.evidence import glossary  # noqa: E402
from bedside.evidence.estimate import Evidence  # noqa: E402
from bedside.evidence.report.figures import draw, drawable  # noqa: E402
from bedside.evidence.report.words import Words  # noqa: E402
from bedside.models.conformance import task_of  # noqa: E402
from bedside.models.example_images import example_images  # noqa: E402
from bedside.models.pipeline import Pipeline  # noqa: E402


def two_layers() -> nn.Module:
    """One 1 × 1 convolution into two maps (x and −x), ReLU, global mean, one linear layer to two logits."""
    features = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False))
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("head", head)
    features[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    head[2].weight.data = torch.tensor([[0.0, 1.0], [3.0, 0.5]])
    return network.eval().requires_grad_(False)


def test_a_map_by_hand() -> None:
    x = np.array([[[[1.0, -2.0], [0.5, 0.0]]]], dtype=np.float32)
    # A1 = relu(x), A2 = relu(-x); class 1: s = z1 − (z0 + z1)/2 = (3 m1 + .5 m2 − m2)/2 = 1.5 m1 − .25 m2 with m the
    # mean over 4 cells, so ∂s/∂A1 = .375 and ∂s/∂A2 = −.0625 in every cell; the map is ReLU(.375 A1 − .0625 A2).
    found = cam.grad_cam(two_layers(), "features", x, np.array([1]))
    assert found == pytest.approx(np.array([[[0.375, 0.0], [0.1875, 0.0]]]), abs=1e-7)
    # Class 0 is the opposite: only what speaks against class 1 remains, .0625 · 2 where x = −2.
    found = cam.grad_cam(two_layers(), "features", x, np.array([0]))
    assert found == pytest.approx(np.array([[[0.0, 0.125], [0.0, 0.0]]]), abs=1e-7)


def test_many_images_are_explained_as_each_alone() -> None:
    x = np.random.default_rng(0).normal(size=(70, 1, 4, 4)).astype(np.float32)
    classes = np.arange(70) % 2
    whole = cam.grad_cam(two_layers(), "features", x, classes)
    alone = np.concatenate(
        [cam.grad_cam(two_layers(), "features", x[i : i + 1], classes[i : i + 1]) for i in range(70)]
    )
    assert whole == pytest.approx(alone, abs=1e-7)


def test_removal_by_hand() -> None:
    """Two cells, a score that is the mean of the image: removing the bright one first loses more of it sooner."""
    full = np.zeros((1, 1, 2, 4), dtype=np.float32)
    full[..., :2] = 1.0  # the left cell
    empty = np.zeros_like(full)

    def area(order: list[int]) -> float:
        mean_of = lambda x: x.mean(axis=(1, 2, 3)).astype(float)  # noqa: E731
        return float(cam.removal_curve(mean_of, full, empty, np.array([order]), (1, 2), 2)[0])

    # Shares 0, .5, 1 of the cells. Left first: .5, 0, 0 → area .125; right first: .5, .5, 0 → .375.
    assert area([0, 1]) == pytest.approx(0.125)
    assert area([1, 0]) == pytest.approx(0.375)


def test_rank_correlation_of_maps() -> None:
    a = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    assert cam.rank_correlation(a, a**3) == pytest.approx([1.0])
    assert cam.rank_correlation(a, -a) == pytest.approx([-1.0])
    assert np.isnan(cam.rank_correlation(a, np.zeros_like(a))).all()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    cohort = example_images(120, side=64).keeping(["image", "blob", "x", "y"])
    task = task_of("blob")
    spec = {"name": "small_cnn", "image": 64, "width": 6, "batch": 8, "budget": {"epochs": 12}, "smoothing": 0.0}
    pipeline = Pipeline(spec, calibration="none", threshold=0.5)
    train, test = cohort.take(np.arange(72)), cohort.take(np.arange(72, 120))
    pipeline.fit(train, None, None, task=task, run=Run(tmp_path_factory.mktemp("fit"), seed=2))
    return SimpleNamespace(pipeline=pipeline, test=test, task=task, predictions=pipeline.predict(test))


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


def test_the_heat_is_where_the_blob_is(fitted: Any) -> None:
    bright = np.flatnonzero((fitted.test["blob"] == "yes").to_numpy())
    cohort = fitted.test.take(bright)
    model = fitted.pipeline.model
    x = model.inputs(fitted.pipeline.prepare(cohort))
    maps = cam.grad_cam(model.network(), model.target_layer(), x, np.ones(len(x), dtype=np.int64))
    cells = maps.reshape(len(x), -1).argmax(axis=1)
    side = maps.shape[1]
    found = np.column_stack([cells % side, cells // side]) * (1 / side) + 0.5 / side
    wanted = np.column_stack([cohort["x"].to_numpy(), cohort["y"].to_numpy()])
    assert np.median(np.abs(found - wanted).max(axis=1)) <= 1 / side  # within a cell


def test_a_mirrored_image_has_a_mirrored_map() -> None:
    """Exactly so for a network whose kernels are their own mirror image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolutions = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)]
    for each in convolutions:
        each.weight.data = 0.5 * (each.weight.data + each.weight.data.flip(-1))
    features = nn.Sequential(convolutions[0], nn.ReLU(), nn.MaxPool2d(2), convolutions[1], nn.ReLU())
    network = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
    x = np.random.default_rng(1).normal(size=(5, 1, 16, 16)).astype(np.float32)
    classes = np.array([0, 1, 2, 0, 1])
    here = cam.grad_cam(network, "0", x, classes)
    there = cam.grad_cam(network, "0", np.ascontiguousarray(x[..., ::-1]), classes)
    assert here.max() > 0 and there[..., ::-1] == pytest.approx(here, abs=1e-6)


def test_a_plan_gets_its_evidence(fitted: Any) -> None:
    found = evidence(fitted)
    by_name = {item.metric: item for item in found.estimates}
    assert tuple(by_name) == METRICS
    for item in found.estimates:
        assert item.value is not None and item.low <= item.value <= item.high and 0 < item.n_rows <= 48
    assert by_name["cam_randomisation"].high < by_name["cam_stability"].low
    assert by_name["cam_deletion"].low > 0 and by_name["cam_insertion"].low > 0
    assert by_name["cam_border"].value < 0.36  # the blobs lie inside
    assert found.findings[0].id == "explained_by_grad_cam"
    ids = {item.id for item in (*found.findings, *found.figures)} | set(by_name)
    assert ids <= set(glossary.terms())
    for item in found.findings:
        for lang in ("en", "zh"):
            assert glossary.text(item.id, lang, **item.values)


def test_it_is_what_a_network_is_explained_by_unless_told_otherwise(fitted: Any) -> None:
    assert evidence(fitted, "explain").to_json() == evidence(fitted).to_json()


def test_evidence_does_not_depend_on_the_order_of_rows(fitted: Any) -> None:
    order = np.random.default_rng(3).permutation(len(fitted.test))
    turned = replace_namespace(fitted, test=fitted.test.take(order), predictions=fitted.predictions.take(order))
    for a, b in zip(evidence(fitted).estimates, evidence(turned).estimates, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-6) and a.n_rows == b.n_rows


def test_pictures_are_small_embedded_and_without_names(fitted: Any) -> None:
    found = evidence(fitted, {"explain": {"method": "grad_cam", "pictures": 6}})
    figure = found.figures[-1]
    assert "explain_shows_images" in {item.id for item in found.findings}
    assert figure.id == "heat_maps" and figure.kind == "images" and len(figure.columns["heat_map"]) == 6
    data = base64.b64decode(str(figure.columns["heat_map"][0]).removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).size == (64, 64)
    assert all(isinstance(row, int) and 0 <= row < len(fitted.test) for row in figure.columns["row"])
    drawn = draw(figure, Words())
    assert drawable(figure) and drawn is not None and str(drawn).count("<image") == 6


def test_no_single_image_is_shown_unless_asked_for(fitted: Any) -> None:
    found = evidence(fitted)
    assert [figure.id for figure in found.figures] == ["heat_maps_mean"]
    assert min(found.figures[0].columns["images"]) >= 5 and "Images" in str(draw(found.figures[0], Words()))
    assert "explain_shows_images" not in {item.id for item in found.findings}


def test_a_report_embeds_pngs_and_nothing_else(fitted: Any) -> None:
    figure = evidence(fitted, {"explain": {"method": "grad_cam", "pictures": 2}}).figures[-1]
    for wrong in ("https://example.org/a.png", "data:image/svg+xml;base64,AAAA", 'data:image/png;base64,A" onload=x'):
        columns = {**figure.columns, "heat_map": [figure.columns["heat_map"][0], wrong]}
        assert str(draw(replace(figure, columns=columns), Words())).count("<image") == 1


def test_a_model_without_a_network_is_refused(fitted: Any) -> None:
    with pytest.raises(PlanError, match="grad_cam"):
        evidence(fitted, model=Pipeline("majority", calibration="none", threshold=0.5).fit(
            fitted.test, None, None, task=fitted.task, run=Run(Path())
        ))  # fmt: skip


def replace_namespace(given: Any, **changed: Any) -> Any:
    return SimpleNamespace(**{**vars(given), **changed})
