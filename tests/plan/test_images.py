"""A folder of images through the whole spine: duplicates, statistics, logistic, gates, release, one PNG answered."""

from __future__ import annotations

import base64
import csv
import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from bedside.cohort import Workspace
from bedside.cohort.quarantine import Quarantine
from bedside.errors import DataError
from bedside.evidence.keys import trusted_keys
from bedside.plan.conduct.conductor import Conductor
from bedside.plan.conduct.outcome import Outcome
from bedside.plan.erase import erase
from bedside.plan.file.plan import load_plan
from bedside.plan.file.refuse import refuse_bad_plan
from bedside.plan.release.answer import answer_table, read_like
from bedside.plan.release.opened import Opened, open_release
from bedside.plan.release.verify import verify_release

PLAN = """
plan: 1
name: scans
cohort:   {read: images, path: scans, labels: labels.csv, target: label, sensitive: [sex]}
clean:    [{duplicates: group}]
task:     {classify: label, positive: malignant, risk: high}
split:    {by: subject, folds: 3, tune: 0.2, stratify: label, seed: 7}
model:    {name: logistic, steps: [image_statistics, scale]}
baseline: [majority]
threshold: {choose: sensitivity, at_least: 0.8}
checks:   [performance, calibration, {subgroups: {by: [sex]}}]
gates:    {auroc: {at_least: 0.6}}
release:  {as: scans, stage: assist}
"""


def scan(rng: np.random.Generator, malignant: bool) -> NDArray[np.uint8]:
    """A speckled field; a malignant one is coarser and darker in the middle."""
    field = gaussian_filter(rng.normal(size=(48, 56)), 2.5 if malignant else 1.2)
    grey = 120 + 40 * field / field.std()
    y, x = np.indices(grey.shape)
    grey -= (25 if malignant else 10) * np.exp(-(((y - 24) ** 2 + (x - 28) ** 2) / 120))
    return np.clip(grey + rng.normal(0, 6, grey.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan, and 120 scans of which 10 are re-compressed copies."""
    root = tmp_path_factory.mktemp("place")
    (root / "scans").mkdir()
    rng = np.random.default_rng(11)
    rows = []
    for i in range(110):
        malignant = i % 3 == 0
        image = Image.fromarray(scan(rng, malignant))
        names = [f"s{i:03d}.png"] + ([f"s{i:03d}-again.jpg"] if i % 11 == 0 else [])
        for name in names:
            image.save(root / "scans" / name, **({"quality": 85} if name.endswith("jpg") else {}))
            rows.append({"file": name, "label": ["benign", "malignant"][malignant], "sex": "fm"[i % 2]})
    with (root / "scans" / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (root / "plan.yaml").write_text(PLAN)
    return root


@pytest.fixture(scope="module")
def workspace(place: Path) -> Workspace:
    return Workspace(place / "home")


@pytest.fixture(scope="module")
def outcome(place: Path, workspace: Workspace) -> Outcome:
    plan, document = load_plan(place / "plan.yaml")
    return Conductor(plan, workspace, base=place, document=document, threads=1).carry_out()


@pytest.fixture(scope="module")
def opened(outcome: Outcome, workspace: Workspace) -> Opened:
    assert outcome.release is not None
    return open_release(outcome.release, trusted_keys(workspace.keys))


def test_it_runs_to_a_release_and_copies_never_part(outcome: Outcome) -> None:
    told = {item.metric: item.value for piece in outcome.evidence for item in piece.estimates if item.part == "cohort"}
    assert told["clean_image_clusters"] == 10 and told["clean_images_in_clusters"] == 20
    assert outcome.facts["rows"] == 120 and outcome.facts["subjects"] == 110
    assert outcome.facts["identity"] == "cluster"
    assert outcome.release is not None and outcome.decision.stage == "assist"
    report = (outcome.release / "report.html").read_text()
    assert "near-duplicate" in report and "近重复" in report


def test_a_second_run_finds_everything_remembered(place: Path, workspace: Workspace, outcome: Outcome) -> None:
    plan, document = load_plan(place / "plan.yaml")
    again = Conductor(plan, workspace, base=place, document=document, threads=1).carry_out()
    assert all(done.cached for _, done in again.actions)
    assert again.release == outcome.release


def test_no_image_of_a_patient_is_in_the_release(place: Path, opened: Opened) -> None:
    bytes_of = {path.read_bytes() for path in (place / "scans").iterdir()}
    for path in opened.folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() not in bytes_of
    everything = b"".join(p.read_bytes() for p in sorted(opened.folder.rglob("*")) if p.is_file())
    assert b"s000.png" not in everything


def test_verify_recomputes_and_answers_the_golden_images(opened: Opened, workspace: Workspace, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(opened.folder, copy)
    made = verify_release(copy, trusted_keys(workspace.keys))
    assert {each.id: each.result for each in made.answers if each.id != "verify_ledger"} == dict.fromkeys(
        ("verify_integrity", "verify_signer", "verify_gates", "verify_recompute", "verify_golden", "verify_stage"), "ok"
    )
    golden = next((copy / "golden" / "files").iterdir())
    golden.write_bytes(golden.read_bytes() + b"\0")
    assert not verify_release(copy, trusted_keys(workspace.keys)).ok


def test_one_png_a_folder_and_the_plans_own_layout_are_answered_alike(
    place: Path, opened: Opened, tmp_path: Path
) -> None:
    scans = place / "scans"
    whole = answer_table(opened, read_like(opened, scans, with_target=False))
    assert whole.height == 120 and {"p:malignant", "call", "threshold", "outside_training"} <= set(whole.columns)
    one = answer_table(opened, read_like(opened, scans / "s004.png", with_target=False))
    assert one["row_id"].to_list() == ["s004.png"]
    expected = whole.filter(pl.col("row_id") == "s004.png")["p:malignant"][0]
    assert one["p:malignant"][0] == pytest.approx(expected, abs=1e-12)
    for name in ("s004.png", "s005.png"):
        shutil.copy(scans / name, tmp_path / name)
    two = answer_table(opened, read_like(opened, tmp_path, with_target=False))
    assert two["row_id"].to_list() == ["s004.png", "s005.png"]
    assert two["p:malignant"][0] == pytest.approx(expected, abs=1e-12)


def test_what_is_no_image_is_refused_by_name(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.png.*empty"):
        read_like(opened, tmp_path / "empty.png", with_target=False)


def test_an_image_travels_as_base64_in_json(place: Path, opened: Opened, tmp_path: Path) -> None:
    schema = json.loads((opened.folder / "input.schema.json").read_bytes())
    image = schema["properties"]["image"]
    assert image["type"] == ["string", "null"] and image["x-kind"] == "image"
    assert image["contentEncoding"] == "base64" and schema["required"] == ["image"]
    example = answer_table(opened, read_like(opened, opened.folder / "example.json", with_target=False))
    assert example.height == 1
    data = (place / "scans" / "s004.png").read_bytes()
    rows = [{"image": base64.b64encode(data).decode()}, {"image": base64.b64encode(data).decode()}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    sent = answer_table(opened, read_like(opened, tmp_path / "rows.json", with_target=False))
    one = answer_table(opened, read_like(opened, place / "scans" / "s004.png", with_target=False))
    assert sent["p:malignant"].to_list() == [one["p:malignant"][0]] * 2
    for bad in ("not base64!", base64.b64encode(b"no image").decode()):
        with pytest.raises(DataError, match="'image'"):
            opened.row({"image": bad})


def test_forgetting_a_subject_removes_its_image_from_the_store(
    place: Path, workspace: Workspace, opened: Opened
) -> None:
    data = (place / "scans" / "s001.png").read_bytes()
    digest = workspace.store.put(data)
    erase(workspace, "s001.png")
    assert not workspace.store.has(digest)


@pytest.mark.parametrize(("n", "told"), [(1, "one class only"), (30, "1 subjects are too few")])
def test_one_image_and_images_all_alike_are_refused_in_words(tmp_path: Path, n: int, told: str) -> None:
    image = Image.fromarray(scan(np.random.default_rng(0), True))
    for i in range(n):
        folder = tmp_path / "scans" / ("malignant" if i % 2 else "benign")
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{i}.png")
    text = PLAN.replace(", labels: labels.csv", "").replace(", sensitive: [sex]", "")
    (tmp_path / "plan.yaml").write_text(text.replace(", {subgroups: {by: [sex]}}", ""))
    plan, document = load_plan(tmp_path / "plan.yaml")
    with pytest.raises(DataError, match=told):
        Conductor(plan, Workspace(tmp_path / "home"), base=tmp_path, document=document, threads=1).carry_out()


def test_the_recipe_is_a_plan_that_can_be_carried_out() -> None:
    pytest.importorskip("torch", reason="the recipe's network needs the extra 'imaging'")
    path = Path(str(resources.files("bedside.recipes").joinpath("breast-ultrasound.yaml")))
    plan, document = load_plan(path)
    refuse_bad_plan(plan, document)
    assert plan.cohort.read == "images" and plan.clean[0] == {"duplicates": "group"}


@pytest.mark.slow
def test_breast_ultrasound_by_its_statistics(shared_data: Path, tmp_path: Path) -> None:
    # The recipe with its baseline as the model: what a network has to beat, on copies kept on one side of each split.
    recipe = Path(str(resources.files("bedside.recipes").joinpath("breast-ultrasound.yaml")))
    plan, _ = load_plan(recipe)
    busi = shared_data / "image" / "busi"
    plan = plan.model_copy(
        update={
            "cohort": plan.cohort.model_copy(update={"path": str(busi)}),
            "model": plan.baseline[0],
            "baseline": [],
            "checks": ["performance", "calibration", "utility"],
        }
    )
    workspace = Workspace(tmp_path / "home")
    outcome = Conductor(plan, workspace, base=tmp_path, threads=1).carry_out()
    everything = [item for piece in outcome.evidence for item in piece.estimates]
    found = {item.metric: item for item in everything if item.group is None and item.versus is None}
    assert found["clean_image_clusters"].value == 145
    auroc = found["auroc"]
    assert auroc.n_events == 210 and auroc.value is not None and 0.70 < auroc.value < 0.88
    assert outcome.release is not None
    opened = open_release(outcome.release, trusted_keys(workspace.keys))
    image = busi / "images" / "malignant" / "malignant_1.jpg"
    answer = answer_table(opened, read_like(opened, image, with_target=False))
    assert answer.height == 1 and answer["call"][0] in ("malignant", "other")
    assert verify_release(outcome.release, trusted_keys(workspace.keys)).ok


def test_what_cannot_be_read_goes_to_quarantine_and_the_run_goes_on_as_the_plan_says(
    place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "scans", tmp_path / "scans")
    with (tmp_path / "scans" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    broken = {"s003.png": b"", "s007.png": (place / "scans" / "s007.png").read_bytes()[:300], "s009.png": b"GIF89a"}
    for name, data in broken.items():
        (tmp_path / "scans" / name).write_bytes(data)
    plan_file = tmp_path / "plan.yaml"
    plan_file.write_text(PLAN)
    workspace = Workspace(tmp_path / "home")
    plan, document = load_plan(plan_file)
    with pytest.raises(DataError, match=r"3 of 120 images cannot be read: s003\.png: the file is empty"):
        Conductor(plan, workspace, base=tmp_path, document=document, threads=1).carry_out()
    assert Quarantine(workspace.quarantine).entries() == {}
    plan_file.write_text(PLAN.replace("sensitive: [sex]}", "sensitive: [sex], unreadable: quarantine}"))
    plan, document = load_plan(plan_file)
    outcome = Conductor(plan, workspace, base=tmp_path, document=document, threads=1).carry_out()
    assert outcome.facts["rows"] == len(rows) - 3
    told = [item for piece in outcome.evidence for item in piece.findings if item.id == "files_left_out"]
    assert [item.values["count"] for item in told] == [3]
    kept = Quarantine(workspace.quarantine).entries()
    assert {each["name"]: (workspace.quarantine / each["file"]).read_bytes() for each in kept.values()} == broken
    assert all(each["what"] and each["way_out"] for each in kept.values())
    assert all((path.stat().st_mode & 0o077) == 0 for path in workspace.quarantine.iterdir())
    assert outcome.release is not None
    everything = b"".join(p.read_bytes() for p in sorted(outcome.release.rglob("*")) if p.is_file())
    assert b"s007.png" not in everything  # what a release says of them is how many they were
    opened = open_release(outcome.release, trusted_keys(workspace.keys))
    with pytest.raises(DataError, match=r"s003\.png"):  # who asks for an answer is not left without one
        read_like(opened, tmp_path / "scans", with_target=False)
    erase(workspace, "s007.png")
    assert sorted(each["name"] for each in Quarantine(workspace.quarantine).entries().values()) == [
        "s003.png",
        "s009.png",
    ]
    assert len(list(workspace.quarantine.iterdir())) == 4
