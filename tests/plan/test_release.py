"""A release is what its signer signed, or `verify` says what is not."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.plan.conftest import PLAN
from typer.testing import CliRunner

import bedside
from bedside.cli import app
from bedside.cohort.cohort import Cohort
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.keys import load_or_create_key, trusted_keys
from bedside.evidence.ledger import Ledger
from bedside.plan.release.approvals import APPROVAL_PAYLOAD, approvals, obstacles, stage_now
from bedside.plan.release.approve import approve
from bedside.plan.release.opened import open_release
from bedside.plan.release.verify import Verification, verify_release
from bedside.synth.export import write_csv


def results(verification: Verification) -> dict[str, str]:
    return {each.id: each.result for each in verification.answers}


def copied(release: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(release, tmp_path / "copy"))


def test_it_verifies_where_it_was_made(release: Path, home: Path) -> None:
    workspace = Workspace(home)
    verification = verify_release(release, trusted_keys(workspace.keys), Ledger(workspace.ledger_url))
    assert set(results(verification).values()) == {"ok"}, verification.answers


def test_it_verifies_on_a_machine_with_nothing_but_the_release(release: Path, tmp_path: Path) -> None:
    folder = copied(release, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "bedside", "verify", str(folder)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unknown signer" in done.stdout and "recomputed" in done.stdout
    assert not (tmp_path / ".bedside").exists()


def test_one_flipped_byte_anywhere_fails(release: Path, tmp_path: Path) -> None:
    folder = copied(release, tmp_path)
    rng = random.Random(11)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        good = file.read_bytes()
        for _ in range(3):
            place = rng.randrange(len(good))
            bad = bytearray(good)
            bad[place] ^= 1 << rng.randrange(8)
            file.write_bytes(bytes(bad))
            assert not verify_release(folder, {}).ok, f"{file.name}, byte {place}"
        file.write_bytes(good)
    assert verify_release(folder, {}).ok


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "linked"])
def test_a_file_added_removed_renamed_or_linked_fails(release: Path, tmp_path: Path, change: str) -> None:
    folder = copied(release, tmp_path)
    card = folder / "card.md"
    if change == "added":
        (folder / "model" / "extra.bin").write_bytes(b"x")
    elif change == "removed":
        card.unlink()
    elif change == "renamed":
        card.rename(folder / "cards.md")
    else:
        card.rename(tmp_path / "card.md")
        card.symlink_to(tmp_path / "card.md")
    with pytest.raises(IntegrityError):
        open_release(folder, {})


def test_evidence_that_does_not_follow_from_the_rows_is_found_even_when_signed(
    release: Path, tmp_path: Path, home: Path
) -> None:
    """Somebody with a key polishes a number and signs again: the signature holds, the recomputation does not."""
    from bedside.plan.release.layout import SIGNATURE
    from bedside.plan.release.publish import seal

    folder = copied(release, tmp_path)
    pieces = json.loads((folder / "evidence.json").read_bytes())
    for piece in pieces:
        for item in piece["estimates"]:
            if item["metric"] == "brier" and piece["check"] == "performance":
                item["value"] -= 0.01
    (folder / "evidence.json").write_bytes(json.dumps(pieces).encode())
    (folder / SIGNATURE).unlink()
    seal(folder, "small", load_or_create_key(tmp_path / "keys", "mallory"))
    answers = results(verify_release(folder, {}))
    assert answers["verify_integrity"] == "ok" and answers["verify_recompute"] == "fail"


def test_an_estimate_left_out_of_the_evidence_is_found(release: Path, tmp_path: Path) -> None:
    """Somebody with a key leaves out the group that does worst and signs again."""
    from bedside.plan.release.layout import SIGNATURE
    from bedside.plan.release.publish import seal

    folder = copied(release, tmp_path)
    pieces = json.loads((folder / "evidence.json").read_bytes())
    (groups,) = [piece for piece in pieces if piece["check"] == "subgroups"]
    groups["estimates"] = [item for item in groups["estimates"] if item["group"] != {"sex": "female"}]
    (folder / "evidence.json").write_bytes(json.dumps(pieces).encode())
    (folder / SIGNATURE).unlink()
    seal(folder, "small", load_or_create_key(tmp_path / "keys", "mallory"))
    assert results(verify_release(folder, {}))["verify_recompute"] == "fail"


def test_verdicts_that_do_not_follow_from_the_evidence_are_found(release: Path, tmp_path: Path) -> None:
    from bedside.plan.release.layout import SIGNATURE
    from bedside.plan.release.publish import seal

    folder = copied(release, tmp_path)
    plan = (folder / "plan.yaml").read_text()
    (folder / "plan.yaml").write_text(plan.replace("at_least: 0.7", "at_least: 0.99"))
    (folder / SIGNATURE).unlink()
    seal(folder, "small", load_or_create_key(tmp_path / "keys", "mallory"))
    assert results(verify_release(folder, {}))["verify_gates"] == "fail"


def sealed_again(folder: Path, tmp_path: Path, change: dict[str, Any]) -> Path:
    """The release with the record or evidence changed by somebody who has a key, and signs it all again."""
    from bedside.plan.release.layout import SIGNATURE
    from bedside.plan.release.publish import seal

    for name, edit in change.items():
        data = json.loads((folder / name).read_bytes())
        (folder / name).write_bytes(json.dumps(edit(data)).encode())
    (folder / SIGNATURE).unlink()
    seal(folder, "small", load_or_create_key(tmp_path / "keys", "mallory"))
    return folder


def test_a_stage_that_does_not_follow_from_the_verdicts_is_found(release: Path, tmp_path: Path) -> None:
    folder = sealed_again(
        copied(release, tmp_path), tmp_path, {"release.json": lambda data: data | {"stage": "autonomous"}}
    )
    assert results(verify_release(folder, {}))["verify_gates"] == "fail"


@pytest.mark.parametrize("check", ["performance", "flattery", "clean"])
def test_evidence_that_no_check_of_the_plan_gave_is_found(release: Path, tmp_path: Path, check: str) -> None:
    """A gate is judged on all the evidence, so a made-up piece beside the honest ones would speak for it."""

    def with_more(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        flattering = next(each for each in pieces if each["check"] == "performance") | {"check": check}
        return [flattering, *pieces]

    folder = sealed_again(copied(release, tmp_path), tmp_path, {"evidence.json": with_more})
    assert results(verify_release(folder, {}))["verify_recompute"] == "fail"


def test_a_check_left_out_of_the_record_is_found(release: Path, tmp_path: Path) -> None:
    def without(record: dict[str, Any]) -> dict[str, Any]:
        return record | {"checks": [each for each in record["checks"] if each != "performance"]}

    folder = sealed_again(copied(release, tmp_path), tmp_path, {"release.json": without})
    assert results(verify_release(folder, {}))["verify_recompute"] == "fail"


@pytest.mark.parametrize("content", [b"{", b"[1]", b"[" * 100_000, b'{"format": 1}'])
def test_a_signed_record_that_is_none_is_said_without_a_traceback(
    release: Path, tmp_path: Path, content: bytes
) -> None:
    folder = copied(release, tmp_path)
    (folder / "release.json").write_bytes(content)
    sealed_again(folder, tmp_path, {})
    assert not verify_release(folder, {}).ok


def test_a_file_changed_after_opening_is_not_loaded(release: Path, tmp_path: Path) -> None:
    folder = copied(release, tmp_path)
    opened = open_release(folder, {})
    for name in ("model/pipeline.json", "task.json"):
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"died", b"DIED"))
    with pytest.raises(IntegrityError, match=r"model/pipeline\.json"):
        _ = opened.pipeline
    with pytest.raises(IntegrityError, match=r"task\.json"):
        _ = opened.task


def test_one_check_asked_twice_is_recomputed_twice(admissions: Cohort, home: Path) -> None:
    checks = ["performance", {"subgroups": {"by": ["sex"]}}, {"subgroups": {"by": ["admission_type"]}}]
    outcome = bedside.run({**PLAN, "name": "twice", "checks": checks}, admissions, home=home, threads=1)
    assert outcome.release is not None
    assert results(verify_release(outcome.release, {}))["verify_recompute"] == "ok"


@pytest.mark.parametrize("model", ["rbf_svm", "sklearn:sklearn.neighbors.KNeighborsClassifier"])
def test_a_model_that_keeps_rows_stays_at_research_unless_signed_for(
    admissions: Cohort, home: Path, model: str
) -> None:
    import numpy as np

    plan = {**PLAN, "name": "keeps", "model": model, "checks": ["performance"], "gates": {"auroc": 0.5}}
    outcome = bedside.run(plan, admissions.take(np.arange(600)), home=home, threads=1)
    assert outcome.decision.stage == "research" and outcome.release is not None
    assert ("stage_capped", "keeps_rows") in outcome.decision.reasons
    opened = open_release(outcome.release, trusted_keys(Workspace(home).keys))
    assert opened.record["privacy"]["model_keeps_rows"] and "keeps_rows" in obstacles(opened, "assist")
    assert verify_release(outcome.release, {}).ok


def test_a_release_cut_from_the_ledger_shows(release: Path, home: Path, tmp_path: Path) -> None:
    import sqlite3

    workspace = Workspace(shutil.copytree(home, tmp_path / "home"))
    with sqlite3.connect(workspace.home / "ledger.sqlite") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        (table,) = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'ledger%'"
        ).fetchone()
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
    verification = verify_release(release, trusted_keys(workspace.keys), Ledger(workspace.ledger_url))
    answer = next(each for each in verification.answers if each.id == "verify_ledger")
    assert answer.result == "unknown" and "length 0" in answer.detail


def test_a_release_names_no_patient(release: Path, admissions: Cohort) -> None:
    subjects = {value for value in admissions["subject"].to_list() if len(value) >= 5}
    rows = {value for value in admissions["row_id"].to_list() if len(value) >= 5}
    for file in release.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".md", ".html", ".yaml"):
            text = file.read_text(encoding="utf-8")
            assert not [value for value in subjects | rows if f'"{value}"' in text], file.name
    import polars as pl

    kept = pl.read_parquet(release / "rows" / "cohort.parquet")
    assert not set(kept["subject"]) & subjects and not set(kept["row_id"]) & rows
    assert set(kept.columns) == {"row_id", "subject", "died_in_hospital", "sex"}


def test_without_rows_integrity_holds_and_recomputation_is_unknown(admissions: Cohort, home: Path) -> None:
    plan = {**PLAN, "release": {"as": "no-rows", "stage": "assist", "rows": False}}
    outcome = bedside.run(plan, admissions, home=home, threads=1)
    assert outcome.release is not None and not (outcome.release / "rows").exists()
    answers = results(verify_release(outcome.release, {}))
    assert answers["verify_integrity"] == "ok" and answers["verify_recompute"] == "unknown"


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"format": 1, "stage": "boss"}'])
def test_an_approval_that_says_nothing_is_refused(release: Path, tmp_path: Path, body: bytes) -> None:
    from bedside.evidence.signing import sign

    folder = copied(release, tmp_path)
    (folder / "approvals").mkdir(exist_ok=True)
    key = load_or_create_key(tmp_path / "keys", "mallory")
    (folder / "approvals" / "0001.dsse.json").write_bytes(sign(APPROVAL_PAYLOAD, body, key).to_bytes())
    assert not verify_release(folder, {}).ok


def test_an_approval_is_signed_and_an_override_needs_a_reason(admissions: Cohort, home: Path, tmp_path: Path) -> None:
    plan = {**PLAN, "gates": {"auroc": {"at_least": 0.99}}, "release": {"as": "overridden", "stage": "assist"}}
    outcome = bedside.run(plan, admissions, home=home, threads=1)
    assert outcome.release is not None
    workspace = Workspace(home)
    key = load_or_create_key(workspace.keys, "dr-li")
    trusted = trusted_keys(workspace.keys)
    opened = open_release(outcome.release, trusted)
    assert stage_now(opened, trusted) == "research"
    with pytest.raises(BedsideError, match=r"auroc>=0\.99"):
        approve(workspace, opened, stage="assist", overrides={}, key=key)
    with pytest.raises(BedsideError, match="reason"):
        approve(workspace, opened, stage="assist", overrides={"auroc>=0.99": "ok"}, key=key)
    approve(workspace, opened, stage="assist", overrides={"auroc>=0.99": "shown beside the old score only"}, key=key)
    assert stage_now(opened, trusted) == "assist"
    assert stage_now(opened, {}) == "research"  # a stranger's approval counts for nothing
    verification = verify_release(outcome.release, trusted, Ledger(workspace.ledger_url))
    assert verification.ok
    assert any("overridden: auroc>=0.99" in each.detail for each in verification.answers)
    file = next((outcome.release / "approvals").iterdir())
    elsewhere = file.rename(tmp_path / file.name)
    answer = results(verify_release(outcome.release, trusted, Ledger(workspace.ledger_url)))
    assert answer["verify_ledger"] == "fail", "an approval, with what it overrode, was taken away"
    elsewhere.rename(file)
    file.write_bytes(file.read_bytes().replace(b"a", b"b", 1))
    assert not verify_release(outcome.release, trusted).ok


def test_a_release_answers_its_own_example_as_it_did(release: Path) -> None:
    opened = open_release(release, {})
    values = json.loads((release / "example.json").read_bytes())
    p = opened.predict(opened.row(values)).score[0]
    kept = __import__("polars").read_parquet(release / "golden" / "predictions.parquet")
    assert p == pytest.approx(kept[list(opened.task.columns)[-1]][0], abs=1e-9)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        *(("age", "old", "number"), ("colour", 1.0, "unknown fields"), ("age", True, "number")),
        *(("age", False, "number"), ("age", 10**400, "number"), ("age", float("inf"), "number")),
        *(("sex", "\ud800", "category"), ("admitted_at", "yesterday", "ISO 8601")),
    ],
)
def test_a_row_that_does_not_fit_is_refused(release: Path, field: str, value: object, said: str) -> None:
    opened = open_release(release, {})
    values = json.loads((release / "example.json").read_bytes()) | {field: value}
    with pytest.raises(BedsideError, match=said):
        opened.row(values)


def test_a_row_without_an_input_is_refused_but_a_value_may_be_unknown(release: Path) -> None:
    opened = open_release(release, {})
    values = json.loads((release / "example.json").read_bytes())
    assert len(opened.row(values | {"age": None})) == 1
    del values["age"]
    with pytest.raises(BedsideError, match="age"):
        opened.row(values)


def test_rows_carry_bands_instead_of_exact_ages_and_still_verify(admissions: Cohort, home: Path) -> None:
    import polars as pl

    for name, groups in (("bands", {"by": ["sex", "age"]}), ("cut", {"by": ["age"], "cuts": {"age": [50, 70]}})):
        plan = {**PLAN, "name": name, "checks": ["performance", {"subgroups": groups}], "release": {"as": name}}
        outcome = bedside.run(plan, admissions, home=home, threads=1)
        assert outcome.release is not None
        rows = pl.read_parquet(outcome.release / "rows" / "cohort.parquet")
        assert rows["age"].dtype == pl.String and rows["age"].n_unique() <= 6
        assert results(verify_release(outcome.release, {}))["verify_recompute"] == "ok"


def test_similar_cases_stand_beside_an_answer(release: Path, home: Path, admissions: Cohort, tmp_path: Path) -> None:
    """A release holds no patient, so the cases are given; a case asked about is its own nearest."""
    write_csv(admissions, tmp_path / "cases.csv")
    write_csv(admissions.take(np.arange(7, 10)), tmp_path / "new.csv")
    answers = tmp_path / "answers.csv"
    command = [sys.executable, "-m", "bedside", "predict", str(release), str(tmp_path / "new.csv")]
    command += ["--among", str(tmp_path / "cases.csv"), "--nearest", "3", "--out", str(answers), "--home", str(home)]
    subprocess.run(command, check=True, capture_output=True)
    found = pl.read_csv(answers, infer_schema=False)
    assert found.height == 3
    for i, row in enumerate(found.iter_rows(named=True)):
        ids, gaps = row["nearest"].split("; "), [float(gap) for gap in row["nearest_distance"].split("; ")]
        lacking = sum(admissions[each.name][7 + i] is None for each in admissions.schema.inputs)
        assert gaps[0] == pytest.approx(lacking**0.5, abs=0.01)  # 1 for each value that both lack, else nothing
        assert len(ids) == 3 and gaps == sorted(gaps)
        died = admissions["died_in_hospital"][7 + i]
        assert row["nearest_died_in_hospital"].split("; ")[0] == str(died).lower()


@pytest.fixture
def mallorys(release: Path, tmp_path: Path) -> Path:
    """The release as a stranger signed it, who also says that it was approved for autonomous use."""
    return sealed_again(copied(release, tmp_path), tmp_path, {"release.json": lambda data: data | {"name": "small"}})


def test_the_stage_that_a_stranger_wrote_is_not_believed(release: Path, mallorys: Path, home: Path) -> None:
    trusted = trusted_keys(Workspace(home).keys)
    assert (
        open_release(mallorys, trusted).record["stage"]
        == stage_now(open_release(release, trusted), trusted)
        != "research"
    )
    assert stage_now(open_release(mallorys, trusted), trusted) == "research"
    (said,) = [each.detail for each in verify_release(mallorys, trusted).answers if each.id == "verify_stage"]
    assert said.startswith("research") and "unknown signer" in said


def test_the_model_of_a_stranger_is_loaded_only_when_asked(mallorys: Path, tmp_path: Path) -> None:
    for file in (mallorys / "model").rglob("*.json"):
        file.write_bytes(b'{"format": 1, "and": "nothing that could be loaded"}')
    sealed_again(mallorys, tmp_path, {})
    assert results(verify_release(mallorys, {}))["verify_golden"] == "unknown"
    assert results(verify_release(mallorys, {}, load_model=True))["verify_golden"] == "fail"
    done = CliRunner().invoke(app, ["verify", str(mallorys), "--home", str(tmp_path / "home")])
    assert done.exit_code == 0 and "--load-model" in done.stdout
    assert CliRunner().invoke(app, ["verify", str(mallorys), "--load-model"]).exit_code == 1


def test_a_stranger_is_approved_only_by_one_who_vouches_for_him(mallorys: Path, home: Path, tmp_path: Path) -> None:
    workspace = Workspace(shutil.copytree(home, tmp_path / "home"))
    trusted = trusted_keys(workspace.keys)
    opened = open_release(mallorys, trusted)
    key = load_or_create_key(workspace.keys, "local")
    with pytest.raises(BedsideError, match="unknown signer"):
        approve(workspace, opened, stage="assist", overrides={}, key=key)
    assert not (mallorys / "approvals").exists()
    done = CliRunner().invoke(app, ["approve", str(mallorys), "--stage", "assist", "--home", str(workspace.home)])
    assert done.exit_code != 0
    made = approve(workspace, opened, stage="shadow", overrides={}, key=key, trust_signer=True)
    assert made.vouched == opened.signer.key_id and approvals(opened, trusted) == [made]
    assert stage_now(opened, trusted) == "shadow" and stage_now(opened, {}) == "research"
    (said,) = [each.detail for each in verify_release(mallorys, trusted).answers if each.id == "verify_stage"]
    assert "vouches" in said


def test_an_approval_of_somebody_elses_release_counts_for_nothing_unless_he_vouched(mallorys: Path, home: Path) -> None:
    """A trusted person's approval that says nothing of the signer does not raise a stranger's release."""
    from bedside.cohort.digest import canonical_json
    from bedside.evidence.signing import sign

    workspace = Workspace(home)
    trusted = trusted_keys(workspace.keys)
    opened = open_release(mallorys, trusted)
    body = {"format": 1, "release": opened.digest, "number": 1, "stage": "assist", "overrides": {}, "name": "local"}
    (mallorys / "approvals").mkdir()
    envelope = sign(APPROVAL_PAYLOAD, canonical_json(body), load_or_create_key(workspace.keys, "local"))
    (mallorys / "approvals" / "0001.dsse.json").write_bytes(envelope.to_bytes())
    assert approvals(opened, trusted)[0].signer.trusted
    assert stage_now(opened, trusted) == "research"


@pytest.mark.parametrize("where", ["bytes", "evidence", "verdicts"])
def test_what_does_not_verify_is_not_approved(release: Path, home: Path, tmp_path: Path, where: str) -> None:
    folder = copied(release, tmp_path)
    workspace = Workspace(shutil.copytree(home, tmp_path / "home"))
    opened = open_release(folder, trusted_keys(workspace.keys))
    if where == "bytes":
        (folder / "card.md").write_bytes(b"better")
    elif where == "evidence":
        sealed_again(folder, tmp_path, {"evidence.json": lambda pieces: pieces[1:] + pieces[:1]})
    else:
        sealed_again(folder, tmp_path, {"release.json": lambda data: data | {"reasons": [["none", "at all"]]}})
    key = load_or_create_key(workspace.keys, "local")
    with pytest.raises(IntegrityError, match="does not verify"):
        approve(workspace, opened, stage="shadow", overrides={}, key=key, trust_signer=True)
    assert not (folder / "approvals").exists()
