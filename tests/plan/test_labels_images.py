"""Two labels of images by one small CNN: the whole way by one plan, heat maps by label, and one PNG answered."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra imaging is not installed")

from bedside.cohort import Workspace  # noqa: E402
from bedside.cohort.manifest import manifest  # noqa: E402
from bedside.errors import DataError, PlanError  # noqa: E402
from bedside.evidence.keys import trusted_keys  # noqa: E402
from bedside.intake.images import Images  # noqa: E402
from bedside.models.example_images import example_images, with_marks  # noqa: E402
from bedside.models.imaging.losses import Loss  # noqa: E402
from bedside.plan.conduct.conductor import Conductor  # noqa: E402
from bedside.plan.conduct.outcome import Outcome  # noqa: E402
from bedside.plan.file.plan import load_plan  # noqa: E402
from bedside.plan.release.answer import answer_table, read_like  # noqa: E402
from bedside.plan.release.opened import Opened, open_release  # noqa: E402
from bedside.plan.release.verify import verify_release  # noqa: E402

PLAN = """
plan: 1
name: marks
cohort:   {read: images, path: marks, labels: labels.csv, target: [bright, dark], subject: subject}
task:     {classify: [bright, dark], risk: high}
split:    {by: subject, test: 0.35, tune: 0.3, seed: 7}
model:    {name: small_cnn, image: 32, width: 4, batch: 8, budget: {epochs: 12}}
baseline: [{steps: [image_statistics, scale], name: logistic}]
calibrate: auto
threshold: {sensitivity: 0.8}
checks:   [performance, calibration, {explain: {method: grad_cam, images: 12}}]
gates:    {auroc: {at_least: 0.6}, heat_stability: {at_least: 0.1, at: {label: bright}}}
release:  {as: marks, stage: shadow}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    (root / "marks").mkdir()
    cohort = with_marks(example_images(150))
    assert cohort.files is not None
    with (root / "marks" / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "bright", "dark", "subject"])
        for name, digest, *rest in cohort.frame.select("row_id", "image", "bright", "dark", "subject").iter_rows():
            (root / "marks" / f"{name}.png").write_bytes(cohort.files.get(manifest(cohort.files, digest).items[0]))
            writer.writerow([f"{name}.png", *("" if each is None else str(each).lower() for each in rest)])
    (root / "plan.yaml").write_text(PLAN)
    return root


@pytest.fixture(scope="module")
def outcome(place: Path) -> Outcome:
    plan, document = load_plan(place / "plan.yaml")
    return Conductor(plan, Workspace(place / "home"), base=place, document=document, threads=1).carry_out()


@pytest.fixture(scope="module")
def opened(place: Path, outcome: Outcome) -> Opened:
    assert outcome.release is not None
    return open_release(outcome.release, trusted_keys(Workspace(place / "home").keys))


def test_each_label_is_told_and_shown_where_it_is_seen(outcome: Outcome) -> None:
    for label in ("bright", "dark"):
        found = {
            item.metric: item
            for piece in outcome.evidence
            for item in piece.estimates
            if (item.at or {}).get("label") == label and item.versus is None
        }
        assert {"auroc", "calibration_slope", "heat_stability", "heat_randomisation"} <= set(found)
        assert found["auroc"].value > 0.8
    maps = [each for piece in outcome.evidence for each in piece.figures if each.id == "heat_maps_mean"]
    assert sorted(each.columns["label"][0] for each in maps) == ["bright", "dark"]
    assert [each.verdict for each in outcome.judgements] == ["pass", "pass"]


def test_one_png_is_answered_without_torch_and_the_release_verifies(opened: Opened, place: Path) -> None:
    verification = verify_release(opened.folder, trusted_keys(Workspace(place / "home").keys))
    assert verification.ok, verification.answers
    answers = answer_table(opened, read_like(opened, place / "marks" / "r0007.png", with_target=False))
    assert answers.height == 1 and {"p:bright", "p:dark", "call:bright", "call:dark"} <= set(answers.columns)
    raw = read_like(opened, place / "marks", with_target=False)
    served, trained = opened.served.predict(raw), opened.predict(raw)
    assert "onnx" in opened.served.model.name
    assert np.abs(served.probabilities - trained.probabilities).max() <= 1e-5


def test_it_is_not_compressed_and_says_so(opened: Opened, place: Path) -> None:
    from bedside.models.imaging.compress import Methods
    from bedside.plan.compress.compress import compress

    with pytest.raises(PlanError, match="several labels is not compressed"):
        compress(Workspace(place / "home"), opened, place / "plan.yaml", Methods(int8=True))


def test_what_is_served_shows_where_each_label_is_seen(opened: Opened, place: Path) -> None:
    """The served map is Grad-CAM of the label's own logit, for it and against it."""
    from bedside.checks.explain.cam import GradCAM

    raw = opened.clean(read_like(opened, place / "marks", with_target=False)).take(np.arange(6))
    for label in ("bright", "dark"):
        mine, served = opened.pipeline.of_label(label).model, opened.served.of_label(label).model
        for code in (0, 1):
            classes = np.full(6, code)
            wanted = GradCAM().maps(mine.network(), mine.target_layer(), mine.inputs(raw), classes)
            assert np.allclose(served.heat_maps(raw, classes), wanted, atol=1e-5)
    index = np.full(6, 1)
    assert np.allclose(opened.served.model.heat_maps(raw, index), 2 * served.heat_maps(raw, np.full(6, 1)), atol=1e-6)


def test_an_unknown_label_has_no_say() -> None:
    """The loss is binary cross-entropy over known labels; what stands where one is unknown changes nothing."""
    torch.manual_seed(0)
    logits, y = torch.randn(6, 3), torch.randint(0, 2, (6, 3)).float()
    w = torch.ones(6, 3)
    w[0, 1] = w[4, 2] = 0
    loss = Loss.of("cross_entropy").by_label()
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
    assert float(loss(logits, y, w)) == pytest.approx(float((each * w).sum() / 6), rel=1e-6)
    other = y.clone()
    other[0, 1], other[4, 2] = 1 - other[0, 1], 1 - other[4, 2]
    assert float(loss(logits, other, w)) == float(loss(logits, y, w))
    # focal loss of a label is that of its two classes (Lin 2017): −(1 − p_t)^γ log p_t
    p = torch.sigmoid(logits)
    right = torch.where(y == 1, p, 1 - p)
    focal = Loss.of({"focal": 2}).by_label()(logits, y, torch.ones(6, 3))
    assert float(focal) == pytest.approx(float((-((1 - right) ** 2) * right.log()).sum() / 6), rel=1e-5)


def test_mixing_keeps_what_is_unknown_out() -> None:
    """The mixed row's loss is the mix of both rows' losses, each over the labels it knows."""
    from bedside.models.imaging.augment import mixup

    torch.manual_seed(1)
    x, y = torch.randn(4, 1, 2, 2), torch.randint(0, 2, (4, 3)).float()
    w = (torch.rand(4, 3) > 0.4).float()
    shares, logits = torch.rand(4), torch.randn(4, 3)
    _, mixed, whole = mixup(x, y, w, shares)
    loss = Loss.of("cross_entropy").by_label()
    parts = [loss(logits, y, shares[:, None] * w), loss(logits, y.roll(1, 0), (1 - shares)[:, None] * w.roll(1, 0))]
    assert float(loss(logits, mixed, whole)) == pytest.approx(float(sum(parts)), rel=1e-5)


def test_a_stack_may_have_several_labels_an_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (5, 8, 8)).astype(np.uint8), rng.integers(0, 2, (5, 2)).astype(np.uint8)
    np.savez(tmp_path / "stack.npz", train_images=images, train_labels=labels)
    cohort = Images(target=["effusion", "nodule"]).read(tmp_path / "stack.npz")
    assert cohort["nodule"].to_list() == [str(each) for each in labels[:, 1]]
    assert [item.roles for item in cohort.schema.fields if item.name == "effusion"] == [("target",)]
    with pytest.raises(DataError, match="5 images and targets 1"):
        Images(target="effusion").read(tmp_path / "stack.npz")


def test_subfolders_name_one_class_only(place: Path) -> None:
    with pytest.raises(DataError, match="subfolders name one class"):
        Images(target=["bright", "dark"]).read(place / "marks")
