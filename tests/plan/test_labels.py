"""Several labels, some unknown, go the whole way: run, verify, predict, validate, compare, report; gates by label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

import bedside
from bedside.cli import app
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError
from bedside.evidence.keys import trusted_keys
from bedside.plan.file.plan import parse_plan
from bedside.plan.release.answer import answer_table, read_like
from bedside.plan.release.opened import Opened, open_release
from bedside.plan.release.verify import verify_release

PLAN: dict[str, Any] = {
    "plan": 1,
    "name": "two-labels",
    "cohort": {"path": "here.csv", "subject": "patient", "sensitive": ["sex"]},
    "task": {"classify": ["effusion", "nodule"], "positive": {"nodule": "seen"}, "risk": "medium"},
    "split": {"by": "subject", "test": 0.4, "tune": 0.3, "seed": 3},
    "model": "logistic",
    "baseline": ["majority"],
    "calibrate": "sigmoid",
    "threshold": {"sensitivity": 0.8},
    "checks": ["performance", "calibration", "utility", "thresholds", "subgroups", "missingness", "sample_size"],
    "gates": {
        "auroc": {"at_least": 0.6},
        "auroc_macro": {"at_least": 0.65},
        "sensitivity": {"at_least": 0.5, "at": {"label": "nodule"}},
        "worst_group": {"auroc": {"at_least": 0.55, "at": {"label": "effusion"}}},
        "beats": {"auroc": "majority"},
    },
    "release": {"as": "two-labels", "stage": "assist"},
}


def call(*arguments: object, code: int = 0) -> str:
    """What a command printed; its exit code is as expected."""
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, f"{arguments[0]}: {done.output} {done.exception!r}"
    return str(done.output)


def table(rows: int, seed: int) -> pl.DataFrame:
    """Two rows a patient; fluid tells effusion, size tells nodule; a fifth and almost a third of them are unknown."""
    rng = np.random.default_rng(seed)
    fluid, size = rng.normal(size=rows), rng.normal(size=rows)
    effusion = rng.random(rows) < 1 / (1 + np.exp(0.5 - 2 * fluid))
    nodule = rng.random(rows) < 1 / (1 + np.exp(1 - 2 * size))
    return pl.DataFrame(
        {
            "patient": [f"p{i // 2}" for i in range(rows)],
            "sex": rng.choice(["F", "M"], rows),
            "fluid": np.where(rng.random(rows) < 0.05, np.nan, fluid),
            "size": size,
            "effusion": [None if u else bool(v) for u, v in zip(rng.random(rows) < 0.2, effusion, strict=True)],
            "nodule": [
                None if u else ("seen" if v else "none") for u, v in zip(rng.random(rows) < 0.3, nodule, strict=True)
            ],
        }
    ).with_columns(pl.col("fluid").fill_nan(None))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    table(800, 1).write_csv(folder / "here.csv")
    table(700, 2).write_csv(folder / "there.csv")
    return folder


def released(place: Path, plan: dict[str, Any], code: int = 0) -> Path:
    file = place / f"{plan['name']}.yaml"
    file.write_text(yaml.safe_dump(plan, sort_keys=False))
    output = call("run", file, "--home", place / "home", "--threads", 1, code=code)
    (line,) = [each for each in output.splitlines() if each.startswith("release")]
    return Path(line.split(maxsplit=1)[1])


@pytest.fixture(scope="module")
def release(place: Path) -> Path:
    return released(place, PLAN)


@pytest.fixture(scope="module")
def opened(release: Path, place: Path) -> Opened:
    return open_release(release, trusted_keys(Workspace(place / "home").keys))


def test_every_label_is_judged_and_the_means_too(opened: Opened) -> None:
    record = opened.record
    assert record["stage"] == record["asked"] == "assist"
    assert [each["verdict"] for each in record["judgements"]] == ["pass"] * 5
    (performance,) = [each for each in opened.evidence if each.check == "performance"]
    for label in ("effusion", "nodule"):
        for metric in ("auroc", "sensitivity", "brier"):
            found = performance.find(metric, at={"label": label})
            assert found is not None and found.low < found.value < found.high
    by_label = [performance.find("auroc", at={"label": label}).value for label in ("effusion", "nodule")]
    assert performance.find("auroc_macro").value == pytest.approx(np.mean(by_label))
    said = {(item.id, item.values.get("label")) for item in performance.findings}
    assert said == {("label_partly_known", "effusion"), ("label_partly_known", "nodule")}


def test_a_label_counts_the_rows_that_know_it(opened: Opened) -> None:
    rows = opened.read("rows/cohort.parquet")
    (performance,) = [each for each in opened.evidence if each.check == "performance"]
    frame = pl.read_parquet(rows)
    for label in ("effusion", "nodule"):
        found = performance.find("auroc", at={"label": label})
        assert found.n_rows == frame[label].is_not_null().sum() < frame.height
    # a row that knows neither is no row of the task, and is told
    (clean,) = [each for each in opened.evidence if each.check == "clean"]
    assert "rows_without_target" in [item.id for item in clean.findings]
    assert not (frame["effusion"].is_null() & frame["nodule"].is_null()).any()


def test_it_verifies(release: Path, place: Path) -> None:
    verification = verify_release(release, trusted_keys(Workspace(place / "home").keys))
    assert verification.ok, verification.answers
    results = {each.id: each.result for each in verification.answers}
    assert results["verify_recompute"] == results["verify_golden"] == results["verify_gates"] == "ok"


def test_each_label_is_answered_with_its_own_threshold(opened: Opened, place: Path, tmp_path: Path) -> None:
    table(400, 2).drop("effusion", "nodule").write_csv(tmp_path / "new.csv")
    answers = answer_table(opened, read_like(opened, tmp_path / "new.csv", with_target=False))
    assert {"p:effusion", "p:nodule", "call:effusion", "call:nodule", "threshold:effusion"} <= set(answers.columns)
    for label, event in (("effusion", "true"), ("nodule", "seen")):
        p, cut = answers[f"p:{label}"].to_numpy(), opened.pipeline.fitted.labels[label].threshold.value
        assert (answers[f"call:{label}"].to_numpy() == event).tolist() == (p >= cut).tolist()
    schema = json.loads(opened.read("input.schema.json"))
    assert set(schema["properties"]) == {"sex", "fluid", "size"}
    example = tmp_path / "one.json"
    example.write_bytes(opened.read("example.json"))
    assert answer_table(opened, read_like(opened, example, with_target=False)).height == 1
    assert "p:nodule" in call("predict", opened.folder, example, "--home", place / "home")


def test_a_label_alone_is_a_pipeline_of_two_classes(opened: Opened, place: Path) -> None:
    raw = read_like(opened, place / "there.csv", with_target=False)
    whole, alone = opened.predict(raw), opened.pipeline.of_label("nodule").predict(opened.clean(raw))
    assert np.abs(whole.frame["p:nodule"].to_numpy() - alone.score).max() == 0
    assert whole.of_label("nodule").frame["call"].to_list() == alone.frame["call"].to_list()


def test_validated_elsewhere_each_label_is_updated(release: Path, place: Path) -> None:
    output = call("validate", release, place / "there.csv", "--home", place / "home", "--out", place / "validated")
    data = json.loads((place / "validated" / "report.json").read_text())
    found = {
        (item["metric"], (item.get("at") or {}).get("label"), (item.get("at") or {}).get("update"))
        for piece in data["evidence"]
        for item in piece["estimates"]
    }
    for label in ("effusion", "nodule"):
        assert {("auroc", label, None), ("auroc", label, "slope"), ("brier", label, "refit")} <= found
    assert "effusion" in output


def test_compared_label_by_label(release: Path, place: Path) -> None:
    other = released(place, {**PLAN, "name": "other", "model": "naive_bayes", "gates": {}}, code=3)
    output = call("compare", release, other)
    assert "AUROC nodule" in output and "AUROC effusion" in output


def test_the_report_names_labels_in_both_languages(release: Path) -> None:
    page = (release / "report.html").read_text()
    assert "AUROC, mean over classes or labels" in page and "宏平均 AUROC" in page
    assert "Calibration" in page and ">effusion" in page.replace("label ", ">") and "标签 nodule" in page
    assert "several labels" in page and "多标签" in page
    card = (release / "card.md").read_text()
    assert "(`effusion`)" in card and "(`nodule`)" in card


@pytest.mark.parametrize(
    ("changes", "line", "told"),
    [
        ({"gates": {"auroc": {"at_least": 0.6, "at": {"label": "mass"}}}}, "auroc", "no label is called 'mass'"),
        ({"task": {"classify": ["effusion", "mass"]}}, "mass", "'mass'"),
        ({"gates": {"worst_group": {"auroc": {"at_least": 0.6, "at": {"label": "mass"}}}}}, "auroc", "'mass'"),
        ({"task": {"classify": ["effusion"]}}, "task", "two or more"),
        ({"task": {"classify": ["effusion", "effusion"]}}, "task", "different"),
        ({"task": {"classify": ["effusion", "nodule"], "positive": {"mass": "seen"}}}, "task", "no labels"),
        ({"task": {"classify": ["effusion", "nodule"], "positive": "maybe"}}, "effusion", "maybe"),
        ({"task": {"classify": ["effusion", "sex", "size"]}}, "size", "no class label"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    changes: dict[str, Any], line: str, told: str, place: Path, tmp_path: Path
) -> None:
    text = yaml.safe_dump({**PLAN, "gates": {}, **changes}, sort_keys=False)
    (place / "wrong.yaml").write_text(text)
    with pytest.raises(BedsideError) as caught:
        bedside.run(place / "wrong.yaml", home=tmp_path / "home", threads=1)
    error = str(caught.value)
    assert told in error
    number = int(error.split("line ")[1].split()[0])
    assert line in text.splitlines()[number - 1], error


def test_a_label_of_one_class_is_named(place: Path, tmp_path: Path) -> None:
    table(300, 4).with_columns(nodule=pl.lit("none")).write_csv(place / "one.csv")
    plan = {**PLAN, "cohort": {**PLAN["cohort"], "path": "one.csv"}, "task": {"classify": ["effusion", "nodule"]}}
    plan["gates"] = {}
    (place / "one.yaml").write_text(yaml.safe_dump(plan))
    with pytest.raises(BedsideError, match="'nodule' holds one class only"):
        bedside.run(place / "one.yaml", home=tmp_path / "home", threads=1)


def test_predictions_of_labels_made_elsewhere_are_assessed(place: Path, tmp_path: Path) -> None:
    frame = table(500, 6).with_columns(
        pe=1 / (1 + (0.5 - 2 * pl.col("fluid").fill_null(0.0)).exp()), pn=1 / (1 + (1 - 2 * pl.col("size")).exp())
    )
    frame.write_csv(tmp_path / "made.csv")
    asked = ["assess", tmp_path / "made.csv", "--subject", "patient", "--groups", "sex", "--out", tmp_path / "out"]
    scores = ["--truth", "effusion,nodule", "--score", "effusion=pe,nodule=pn"]
    output = call(*asked, *scores, "--gate", "auroc>=0.7", "--gate", "auroc_macro>=0.75")
    assert "Sensitivity nodule" in output and "AUROC effusion" in output
    data = json.loads((tmp_path / "out" / "report.json").read_text())
    facts = dict((key, value) for key, value in data["facts"])
    assert facts["target"] == ["effusion", "nodule"] and facts["task"] == "multilabel"
    assert [each["verdict"] for each in data["judgements"]] == ["pass", "pass"]
    done = CliRunner().invoke(app, [str(each) for each in [*asked, "--truth", "effusion,nodule", "--score", "pe"]])
    assert "need a probability each" in str(done.exception)


def test_the_plan_reads_back() -> None:
    plan = parse_plan(yaml.safe_dump(PLAN))[0]
    assert plan.task.kind == "multilabel" and plan.task.targets == ("effusion", "nodule")
    assert parse_plan(plan.to_yaml())[0] == plan
