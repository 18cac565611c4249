"""A number and three classes go the whole way that two classes go: run, verify, predict, validate, compare, report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

import bedside
from bedside.cli import app
from bedside.cohort.cohort import Cohort
from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import trusted_keys
from bedside.intake.tables import Tables
from bedside.models.task import Classify
from bedside.plan.release.answer import answer_table, read_like
from bedside.plan.release.opened import Opened, open_release
from bedside.plan.release.verify import verify_release
from bedside.synth.admissions import simulate
from bedside.synth.export import write_csv


@dataclass(frozen=True)
class Way:
    """One kind of task: its plan's own words, and what is expected of it."""

    name: str
    target: str
    plan: dict[str, Any]
    columns: list[str]
    metrics: set[str]


WAYS = [
    Way(
        "number",
        "albumin",
        {
            "task": {"regress": "albumin", "risk": "medium"},
            "model": "ridge",
            "checks": ["performance", "calibration", {"subgroups": {"by": ["sex"]}}, "missingness"],
            "gates": {"r2": {"at_least": 0.02}, "beats": {"mae": "majority"}},
            "baseline": ["majority"],
        },
        ["value"],
        {"mae", "rmse", "r2", "bias", "calibration_slope"},
    ),
    Way(
        "three-classes",
        "admission_type",
        {
            "task": {"classify": "admission_type", "risk": "medium"},
            "model": "logistic",
            "checks": ["performance", "calibration", {"subgroups": {"by": ["sex"]}}, "missingness"],
            "gates": {"auroc_macro": {"at_least": 0.52}, "beats": {"log_loss": "majority"}},
            "baseline": ["majority"],
        },
        ["p:elective", "p:emergency", "p:urgent"],
        {"auroc_macro", "auroc_hand_till", "brier_multiclass", "f1_macro", "kappa"},
    ),
]


def call(*arguments: object, code: int = 0) -> str:
    """What a command printed; its exit code is as expected."""
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, f"{arguments[0]}: {done.output} {done.exception!r}"
    return str(done.output)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hospitals' admissions as CSV, with the data dictionary of the first."""
    folder = tmp_path_factory.mktemp("tasks")
    write_csv(simulate(1400, seed=3), folder / "here.csv")
    write_csv(simulate(700, seed=11), folder / "there.csv")
    return folder


def plan_of(way: Way, **changes: Any) -> dict[str, Any]:
    return {
        "plan": 1,
        "name": way.name,
        "cohort": {"path": "here.csv", "dictionary": "here.dictionary.json"},
        "clean": [{"missing_codes": {"codes": {"*": [-9]}}}, "ranges"],
        "split": {"by": "subject", "test": 0.4, "seed": 3},
        **way.plan,
        "release": {"as": way.name, "stage": "assist"},
        **changes,
    }


def released(place: Path, plan: dict[str, Any], code: int = 0) -> Path:
    file = place / f"{plan['name']}.yaml"
    file.write_text(yaml.safe_dump(plan, sort_keys=False))
    output = call("run", file, "--home", place / "home", "--threads", 1, code=code)
    (line,) = [each for each in output.splitlines() if each.startswith("release")]
    return Path(line.split(maxsplit=1)[1])


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.name)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def release(place: Path, way: Way) -> Path:
    return released(place, plan_of(way))


@pytest.fixture(scope="module")
def opened(release: Path, place: Path) -> Opened:
    return open_release(release, trusted_keys(Workspace(place / "home").keys))


def test_it_is_judged_and_its_gates_pass(release: Path, way: Way) -> None:
    record = json.loads((release / "release.json").read_bytes())
    assert record["stage"] == "assist" and [each["verdict"] for each in record["judgements"]] == ["pass", "pass"]
    pieces = json.loads((release / "evidence.json").read_bytes())
    found = {item["metric"] for piece in pieces for item in piece["estimates"] if item["part"] == "test"}
    assert way.metrics <= found
    groups = [piece for piece in pieces if piece["check"] == "subgroups"]
    assert {str(item["group"]) for item in groups[0]["estimates"]} == {"{'sex': 'female'}", "{'sex': 'male'}"}


def test_it_verifies_with_every_estimate_recomputed(release: Path, place: Path) -> None:
    output = call("verify", release, "--home", place / "home")
    assert output.splitlines()[-1] == "verified" and "estimates recomputed" in output


def test_it_answers_its_example_and_a_table_without_the_outcome(
    release: Path, opened: Opened, place: Path, way: Way, tmp_path: Path
) -> None:
    output = call("predict", release, "--example", "--home", place / "home")
    assert all(name in output for name in way.columns) and "research use" in output

    there = pl.read_csv(place / "there.csv")
    unneeded = [item.name for item in opened.schema.fields if "input" not in item.roles]
    there.drop(way.target, *unneeded).write_csv(tmp_path / "new.csv")
    call("predict", release, tmp_path / "new.csv", "--out", tmp_path / "answers.csv", "--home", place / "home")
    answers = pl.read_csv(tmp_path / "answers.csv")
    assert answers.height == there.height and set(way.columns) < set(answers.columns)
    if isinstance(opened.task, Classify):
        assert answers.select(way.columns).sum_horizontal().to_numpy() == pytest.approx(1)
        assert set(answers["call"]) <= set(opened.task.classes)
    # read from the file or held in memory, the same rows have the same answers
    raw = simulate(700, seed=11).keeping(opened.schema.names)
    assert answer_table(opened, raw)[way.columns[0]].to_numpy() == pytest.approx(answers[way.columns[0]].to_numpy())


def test_it_is_validated_on_another_hospitals_cohort(release: Path, place: Path, way: Way, tmp_path: Path) -> None:
    arguments = ["--out", tmp_path / "val", "--home", place / "home", "--threads", 1]
    output = call("validate", release, place / "there.csv", *arguments)
    data = json.loads((tmp_path / "val" / "report.json").read_bytes())
    estimates = [item for piece in data["evidence"] for item in piece["estimates"]]
    assert {item["part"] for item in estimates} == {"external"} and way.metrics <= {
        item["metric"] for item in estimates
    }
    assert [each["gate"]["metric"] for each in data["judgements"]] == [next(iter(way.plan["gates"]))]
    assert (tmp_path / "val" / "report.html").is_file() and "report" in output


def test_a_cohort_whose_outcome_is_of_another_kind_is_refused(opened: Opened, place: Path, way: Way) -> None:
    other = simulate(300, seed=12)
    wrong = pl.Series(way.target, ["high", "low"] * 150) if way.name == "number" else pl.Series(np.arange(300) % 3)
    kind = "category" if way.name == "number" else "number"
    from bedside.cohort.schema import Field
    from bedside.errors import DataError
    from bedside.plan.release.external import validate

    changed = other.with_columns(
        {way.target: wrong.cast(pl.Float64) if kind == "number" else wrong}, [Field(way.target, kind, ("target",))]
    )
    with pytest.raises(DataError, match=way.target):
        validate(opened, changed)


def test_two_models_for_it_are_compared_on_the_same_rows(release: Path, place: Path, way: Way) -> None:
    tree = released(place, plan_of(way, model={"name": "decision_tree", "max_depth": 2}, gates={}), code=3)
    output = call("compare", release, tree)
    assert "paired differences" in output and "decision_tree" in output
    before = {"number": "Mean absolute error", "three-classes": "Log loss"}[way.name]
    assert any(line.strip().startswith(before) and "(" in line for line in output.splitlines())


def test_its_report_is_rendered_again_from_the_release_alone(release: Path, place: Path, tmp_path: Path) -> None:
    for name in ("again.html", "again.json"):
        call("report", release, "--out", tmp_path / name, "--home", place / "home")
    assert (tmp_path / "again.html").read_bytes() == (release / "report.html").read_bytes()
    assert json.loads((tmp_path / "again.json").read_bytes())["kind"] == "run"


def test_a_release_holds_no_folder_of_the_plan(release: Path, place: Path) -> None:
    for file in release.rglob("*"):
        if file.is_file():
            assert str(place).encode() not in file.read_bytes(), file.name


# -- what a plan may add -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Cohort:
    return simulate(1200, seed=21)


TWO: dict[str, Any] = {
    "name": "two",
    "task": {"classify": "died_in_hospital"},
    "split": {"test": 0.4, "tune": 0.2, "seed": 1},
    "model": "logistic",
    "baseline": ["majority"],
    "checks": ["performance"],
    "release": {"as": "two", "stage": "research"},
}


def opened_of(plan: dict[str, Any], cohort: Cohort, home: Path) -> Opened:
    outcome = bedside.run(plan, cohort, home=home, threads=1)
    assert outcome.release is not None, outcome.decision
    verification = verify_release(outcome.release, trusted_keys(Workspace(home).keys))
    assert verification.ok and verification.release is not None, verification.answers
    return verification.release


def test_costs_choose_the_threshold(small: Cohort, tmp_path: Path) -> None:
    costs = {"false_negative": 9.0, "false_positive": 1.0}
    opened = opened_of({**TWO, "task": {**TWO["task"], "costs": costs}}, small, tmp_path)
    assert opened.pipeline.fitted.threshold.value == pytest.approx(1 / (1 + 9))  # Elkan 2001


def test_weights_count_and_are_told(small: Cohort, tmp_path: Path) -> None:
    from bedside.cohort.schema import Field

    weight = pl.Series(np.where(np.arange(len(small)) % 4 == 0, 3.0, 1.0))
    weighted = small.with_columns({"weight": weight}, [Field("weight", "number", ("weight",))])
    opened = opened_of(TWO, weighted, tmp_path)
    plain = opened_of(TWO, small, tmp_path)
    assert "weight" in opened.record["privacy"]["fields"] and opened.record["privacy"]["k_anonymity"] > 0
    brier = [[e.find("brier").value for e in each.evidence if e.check == "performance"] for each in (opened, plain)]
    assert brier[0] != brier[1]
    # new rows have no weight: it says how much a row counts in learning, nothing of the patient
    raw = small.keeping([item.name for item in opened.schema.inputs])
    assert len(answer_table(opened, raw)) == len(small)


def test_missing_codes_of_the_dictionary_hold_for_new_rows(tmp_path: Path) -> None:
    """The dictionary is not in the release, but what it says of reading is; −1 mmol/L would be a value else."""
    rng = np.random.default_rng(5)
    lactate = rng.lognormal(0.5, 0.5, 400)
    died = (rng.random(400) < 1 / (1 + np.exp(2 - lactate))).astype(int)
    unknown = rng.random(400) < 0.2
    table = pl.DataFrame({"lactate": np.where(unknown, -1.0, lactate), "grade": rng.integers(1, 4, 400), "died": died})
    table.write_csv(tmp_path / "data.csv")
    dictionary = {"lactate": {"kind": "number", "missing": [-1]}, "grade": {"kind": "category"}}
    (tmp_path / "fields.json").write_text(json.dumps(dictionary))
    plan = {**TWO, "plan": 1, "cohort": {"path": "data.csv", "dictionary": "fields.json"}}
    plan["task"] = {"classify": "died"}
    plan["split"] = {"test": 0.3, "tune": 0.2, "seed": 1}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    outcome = bedside.run(tmp_path / "plan.yaml", home=tmp_path / "home", threads=1)
    assert outcome.release is not None
    opened = open_release(outcome.release, {})
    (tmp_path / "new.csv").write_text("lactate,grade\n-1,2\n,2\n4.5,2\n")
    p = answer_table(opened, read_like(opened, tmp_path / "new.csv", with_target=False))["p:1"].to_list()
    assert p[0] == p[1] != p[2]
    # a batch of one grade, which alone would be told as numbers, is still the category it was
    assert opened.reader["dictionary"]["grade"] == {"kind": "category"}
    assert isinstance(Tables(**{key: each for key, each in opened.reader.items() if key != "name"}), Tables)


@pytest.mark.slow
def test_a_search_inside_every_fold_goes_the_whole_way(small: Cohort, tmp_path: Path) -> None:
    plan = {**TWO, "split": {"folds": 2, "tune": 0.2, "seed": 1}, "search": {"trials": 2, "folds": 2}}
    opened = opened_of({**plan, "model": "lightgbm"}, small, tmp_path)
    assert opened.pipeline.fitted.tuned.trials == 2
    assert opened.record["facts"]["test_rows"] == len(small)
