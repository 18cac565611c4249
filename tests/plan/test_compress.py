"""A released network made smaller: kept only where it is faster here and what it costs passes its gates."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra imaging is not installed")
pytest.importorskip("onnx", reason="the extra imaging is not installed")

from bedside.cohort import Workspace
from bedside.cohort.manifest import manifest
from bedside.errors import DataError, PlanError
from bedside.evidence.keys import trusted_keys
from bedside.models.example_images import example_images
from bedside.models.imaging.compress import Methods
from bedside.plan.compress import Compression, compress, evaluation
from bedside.plan.compress.compress import COST
from bedside.plan.conduct import Conductor
from bedside.plan.file import load_plan
from bedside.plan.release import Opened, open_release, verify_release
from bedside.plan.release.answer import answer_table

PLAN = """
plan: 1
name: blobs
cohort:   {read: images, path: blobs, labels: labels.csv, target: blob, subject: subject, sensitive: [side]}
task:     {classify: blob, positive: "yes", risk: high}
split:    {by: subject, test: 0.4, tune: 0.3, stratify: blob, seed: 7}
model:    {name: small_cnn, image: 32, width: 8, batch: 8, budget: {epochs: 8}}
baseline: [{steps: [image_statistics, scale], name: logistic}]
checks:   [performance, calibration, {subgroups: {by: side}}, {explain: grad_cam}]
gates:    {auroc: {at_least: 0.6}}
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
        writer.writerow(["file", "blob", "subject", "side"])
        rows = cohort.frame.select("row_id", "image", "blob", "subject", "x")
        for i, (name, digest, blob, subject, x) in enumerate(rows.iter_rows()):
            (root / "blobs" / f"{name}.png").write_bytes(cohort.files.get(manifest(cohort.files, digest).items[0]))
            # One label in nine is wrong: where nothing is confused, a difference in AUROC has a wide interval.
            label = {"yes": "no", "no": "yes"}[blob] if i % 9 == 0 else blob
            writer.writerow([f"{name}.png", label, subject, "left" if x < 0.5 else "right"])
    (root / "plan.yaml").write_text(PLAN)
    return root


@pytest.fixture(scope="module")
def workspace(place: Path) -> Workspace:
    return Workspace(place / "home")


@pytest.fixture(scope="module")
def release(place: Path, workspace: Workspace) -> Opened:
    plan, document = load_plan(place / "plan.yaml")
    outcome = Conductor(plan, workspace, base=place, document=document, threads=1).carry_out()
    assert outcome.release is not None
    return open_release(outcome.release, trusted_keys(workspace.keys))


def clock(faster: float) -> Any:
    """Times as a machine would measure on which the second form is so many times faster."""

    def timed(first: Any, second: Any) -> Any:
        first()
        second()
        times = 10.0 + np.random.default_rng(0).normal(0, 0.1, 50)
        return times, times / faster

    return timed


@pytest.fixture(scope="module")
def made(place: Path, workspace: Workspace, release: Opened) -> Compression:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "timed", clock(3.0))
        return compress(workspace, release, place / "plan.yaml", Methods(int8=True))


def test_int8_is_kept_as_a_release_of_its_own(made: Compression, release: Opened, workspace: Workspace) -> None:
    assert made.kept and made.exit_code == 0, made.judgements
    kept = open_release(made.outcome.release, trusted_keys(workspace.keys))
    assert kept.digest != release.digest and kept.record["name"] == "blobs-int8"
    told = kept.record["facts"]["compressed"]
    assert told == {"release": release.digest, "methods": ["int8"], "left_out": ["explain"]}
    assert {each.gate.metric for each in made.judgements} == {
        "auroc_change", "brier_change", "probability_shift", "probability_shift_max", "calibration_shift", "speed_up",
    }  # fmt: skip
    groups = [each.estimate.group for each in made.judgements if each.gate.each_group]
    assert groups and set(groups[0]) == {"side"}


def test_the_new_release_verifies_and_its_numbers_follow_from_its_rows(made: Compression, workspace: Workspace) -> None:
    trusted = trusted_keys(workspace.keys)
    results = {each.id: each.result for each in verify_release(made.outcome.release, trusted).answers}
    assert (
        set(results.values()) <= {"ok", "unknown"} and results["verify_recompute"] == results["verify_golden"] == "ok"
    )
    stranger = {each.id: each.result for each in verify_release(made.outcome.release, {}).answers}
    assert stranger["verify_golden"] == "unknown"


def test_it_answers_in_eight_bits_and_draws_its_heat_map(
    made: Compression, release: Opened, workspace: Workspace
) -> None:
    kept = open_release(made.outcome.release, trusted_keys(workspace.keys))
    raw = release.example()
    mine, theirs = answer_table(kept, raw)["p:yes"][0], answer_table(release, raw)["p:yes"][0]
    assert 0 < abs(mine - theirs) < 0.1
    assert kept.pipeline.model.served.made["precision"] == "int8"
    heat = [each.served.model.heat_maps(each.clean(raw), np.array([1])) for each in (kept, release)]
    assert np.abs(heat[0] - heat[1]).max() < 0.1 * max(1e-3, heat[1].max())


def test_the_machine_is_in_the_evidence_and_judges_no_gate_of_the_plan(made: Compression) -> None:
    piece = next(piece for piece in made.outcome.evidence if piece.check == "latency")
    assert set(piece.sources) == {"machine", "pipeline"} and {item.part for item in piece.estimates} == {"machine"}
    speed = piece.find("speed_up")
    assert speed is not None and speed.value == pytest.approx(3.0) and speed.n_rows == 50
    assert all(each.gate.metric != "speed_up" for each in made.outcome.judgements)


@pytest.mark.slow
@pytest.mark.parametrize(
    "methods", [Methods(distill=True), Methods(prune=0.5), Methods(distill=True, int8=True)], ids=str
)
def test_a_network_that_learns_again_is_calibrated_again_and_judged_the_same(
    place: Path, workspace: Workspace, release: Opened, methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits so wide that it is kept whatever it learnt: what counts is that the release is whole."""
    monkeypatch.setattr(evaluation, "timed", clock(3.0))
    wide = {name: {"between": [-1, 1]} for name in COST}
    made = compress(workspace, release, place / "plan.yaml", methods, cost=wide)
    assert made.kept, made.judgements
    trusted = trusted_keys(workspace.keys)
    assert all(each.result != "fail" for each in verify_release(made.outcome.release, trusted).answers)
    kept = open_release(made.outcome.release, trusted)
    assert kept.has_serving == (methods.names == ("distill",))
    told = kept.record["facts"]["compressed"]
    assert told["left_out"] == ([] if methods.names == ("distill",) else ["explain"])
    assert 0 <= answer_table(kept, release.example())["p:yes"][0] <= 1


@pytest.mark.slow
def test_with_folds_the_network_of_every_fold_is_compressed(
    place: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost is that of the procedure, out of fold; the release holds the network refit on all rows, compressed."""
    monkeypatch.setattr(evaluation, "timed", clock(3.0))
    folded = PLAN.replace("test: 0.4", "folds: 2").replace("epochs: 8", "epochs: 2").replace("as: blobs", "as: folded")
    (place / "folded.yaml").write_text(folded)
    plan, document = load_plan(place / "folded.yaml")
    whole = Conductor(plan, workspace, base=place, document=document, threads=1).carry_out()
    trusted = trusted_keys(workspace.keys)
    made = compress(workspace, open_release(whole.release, trusted), place / "folded.yaml", Methods(int8=True))
    done = [label for label, each in made.outcome.actions if not each.cached]
    assert {"compress", "compress, fold 1/2", "compress, fold 2/2"} <= set(done)
    assert not any(label.startswith("fit") for label in done)
    assert made.kept and {each.estimate.n_rows for each in made.judgements if not each.gate.each_group} == {150, 50}
    assert all(each.result != "fail" for each in verify_release(made.outcome.release, trusted).answers)


def test_slower_is_refused(place: Path, workspace: Workspace, release: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "timed", clock(0.8))
    refused = compress(workspace, release, place / "blobs", Methods(int8=True))
    assert not refused.kept and refused.exit_code == 3
    assert [each.gate.metric for each in refused.judgements if each.verdict == "fail"] == ["speed_up"]


def test_other_data_another_plan_and_another_model_are_refused(
    place: Path, workspace: Workspace, release: Opened, made: Compression, tmp_path: Path
) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN.replace("seed: 7", "seed: 8"))
    with pytest.raises(PlanError, match="not the plan"):
        compress(workspace, release, tmp_path / "plan.yaml", Methods(int8=True))
    kept = open_release(made.outcome.release, trusted_keys(workspace.keys))
    with pytest.raises(PlanError, match="compressed already"):
        compress(workspace, kept, place / "plan.yaml", Methods(int8=True))
    with pytest.raises(PlanError, match="nothing says how"):
        Methods()
    facts = {**release.record["facts"], "digests": {**release.record["facts"]["digests"], "read": "0" * 64}}
    other = replace(release, record={**release.record, "facts": facts})
    with pytest.raises(DataError, match="another read"):
        compress(workspace, other, place / "plan.yaml", Methods(int8=True))


def test_the_record_is_plain(made: Compression) -> None:
    record = json.loads((made.outcome.release / "release.json").read_text())
    assert record["reference"] == ["logistic", "original"] and record["checks"][3]["name"] == "compression"
