"""A folder of PNGs, a small CNN, heat maps, gates, a release, and one PNG answered: the whole way by one plan."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch", reason="the extra imaging is not installed")

from bedside.checks.explain.heat_maps import METRICS
from bedside.cohort import Workspace
from bedside.cohort.manifest import manifest
from bedside.errors import PlanError
from bedside.evidence.keys import trusted_keys
from bedside.models.example_images import example_images
from bedside.plan.conduct.conductor import Conductor
from bedside.plan.conduct.outcome import Outcome
from bedside.plan.file.plan import load_plan
from bedside.plan.file.refuse import refuse_bad_plan
from bedside.plan.release.answer import answer_table, nearest_cases, read_like
from bedside.plan.release.opened import open_release
from bedside.plan.release.verify import verify_release

PLAN = """
plan: 1
name: blobs
cohort:   {read: images, path: blobs, labels: labels.csv, target: blob, subject: subject}
task:     {classify: blob, positive: "yes", risk: high}
split:    {by: subject, test: 0.35, tune: 0.3, stratify: blob, seed: 7}
model:    {name: small_cnn, image: 32, width: 4, batch: 8, budget: {epochs: 12}}
baseline: [{steps: [image_statistics, scale], name: logistic}]
threshold: {choose: sensitivity, at_least: 0.8}
checks:   [performance, calibration, {explain: grad_cam}]
gates:    {auroc: {at_least: 0.6}, heat_stability: {at_least: 0.3}}
release:  {as: blobs, stage: assist}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    (root / "blobs").mkdir()
    cohort = example_images(150)
    assert cohort.files is not None
    with (root / "blobs" / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "blob", "subject"])
        for name, digest, blob, subject in cohort.frame.select("row_id", "image", "blob", "subject").iter_rows():
            (root / "blobs" / f"{name}.png").write_bytes(cohort.files.get(manifest(cohort.files, digest).items[0]))
            writer.writerow([f"{name}.png", blob, subject])
    (root / "plan.yaml").write_text(PLAN)
    return root


@pytest.fixture(scope="module")
def outcome(place: Path) -> Outcome:
    plan, document = load_plan(place / "plan.yaml")
    return Conductor(plan, Workspace(place / "home"), base=place, document=document, threads=1).carry_out()


def test_the_whole_way_by_one_plan(place: Path, outcome: Outcome) -> None:
    assert outcome.release is not None and outcome.decision.stage == "assist"
    found = {item.metric: item for piece in outcome.evidence for item in piece.estimates if item.versus is None}
    assert set(METRICS) <= set(found) and found["auroc"].value > 0.9
    report = (outcome.release / "report.html").read_text()
    assert any((place / "home" / "cache" / "pixels").rglob("*")), "decoded images are kept for the next fit"
    assert "Learning curve" in report and "on the search part" in report
    assert "Mean heat maps" in report and "平均热图" in report and "data:image/png;base64," in report


def test_one_png_is_answered_and_the_release_verifies(place: Path, outcome: Outcome, tmp_path: Path) -> None:
    workspace = Workspace(place / "home")
    assert outcome.release is not None
    opened = open_release(outcome.release, trusted_keys(workspace.keys))
    for name in ("r0007.png", "r0008.png"):
        shutil.copy(place / "blobs" / name, tmp_path / name)
    whole = answer_table(opened, read_like(opened, tmp_path, with_target=False))
    one = answer_table(opened, read_like(opened, place / "blobs" / "r0007.png", with_target=False))
    expected = whole.filter(pl.col("row_id") == "r0007.png")["p:yes"][0]
    assert one.height == 1 and one["p:yes"][0] == pytest.approx(expected, abs=1e-6)
    made = verify_release(outcome.release, trusted_keys(workspace.keys))
    results = {each.id: each.result for each in made.answers}
    assert results["verify_golden"] == results["verify_serving"] == "ok"
    stranger = {each.id: each.result for each in verify_release(outcome.release, {}).answers}
    assert stranger["verify_serving"] == "unknown" and stranger["verify_integrity"] == "ok"


def test_one_png_is_answered_without_torch(place: Path, outcome: Outcome) -> None:
    """What the service does: a release is opened, a PNG answered and its heat map made; torch is not even there."""
    assert outcome.release is not None
    code = (
        "import sys\nfrom pathlib import Path\nsys.modules['torch'] = None\n"
        "from bedside.cohort import Workspace\nfrom bedside.evidence.keys import trusted_keys\n"
        "from bedside.plan.release import open_release\n"
        "from bedside.plan.release.answer import answer_table, read_like\n"
        "home, release, image = map(Path, sys.argv[1:])\n"
        "opened = open_release(release, trusted_keys(Workspace(home).keys))\n"
        "raw = read_like(opened, image, with_target=False)\n"
        "print(answer_table(opened, raw)['p:yes'][0])\n"
        "served = opened.served\nseen = served.prepare(opened.clean(raw))\n"
        "assert served.model.heat_maps(seen, served.predict(seen).calls).shape == (1, 2, 2)\n"
        "heavy = {'sklearn', 'scipy', 'shap', 'monai', 'onnx', 'pandas', 'lightgbm'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    arguments = [str(place / "home"), str(outcome.release), str(place / "blobs" / "r0007.png")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    opened = open_release(outcome.release, {})
    raw = read_like(opened, place / "blobs" / "r0007.png", with_target=False)
    assert float(done.stdout) == pytest.approx(opened.pipeline.predict(opened.clean(raw)).score[0], abs=1e-5)


def test_no_image_and_no_name_of_a_patient_is_in_the_release(place: Path, outcome: Outcome) -> None:
    assert outcome.release is not None
    images = {path.read_bytes() for path in (place / "blobs").glob("*.png")}
    for path in outcome.release.rglob("*"):
        if path.is_file():
            assert path.read_bytes() not in images and b"r0007.png" not in path.read_bytes()


def test_the_weights_are_safetensors_and_json(outcome: Outcome) -> None:
    assert outcome.release is not None
    folder = outcome.release / "model" / "model"
    listing = json.loads((folder / "model.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "network.safetensors"]
    assert listing["name"] == "small_cnn" and np.isfinite(listing["state"]["history"][-1]["train_loss"])


def test_the_cases_most_like_an_image_are_told_from_a_folder_of_known_ones(place: Path, outcome: Outcome) -> None:
    """The folder is given anew: the release holds no patient."""
    assert outcome.release is not None
    opened = open_release(outcome.release, trusted_keys(Workspace(place / "home").keys))
    one = read_like(opened, place / "blobs" / "r0007.png", with_target=False)
    found = nearest_cases(opened, one, read_like(opened, place / "blobs", with_target=True), 3).to_dicts()[0]
    assert found["row_id"] == "r0007.png" and found["nearest"].split("; ")[0] == "r0007.png"
    assert found["nearest_distance"].split("; ")[0] == "0.00" and len(found["nearest_blob"].split("; ")) == 3


def test_a_heat_map_of_what_is_no_network_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    network = "name: small_cnn, image: 32, width: 4, batch: 8, budget: {epochs: 12}"
    (tmp_path / "plan.yaml").write_text(PLAN.replace(network, "name: logistic"))
    plan, document = load_plan(tmp_path / "plan.yaml")
    with pytest.raises(PlanError, match="grad_cam is for networks") as refused:
        refuse_bad_plan(plan, document)
    assert "line 10" in str(refused.value)
