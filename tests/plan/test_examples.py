"""The examples of CONTRIBUTING.md: packages of under 60 lines, found by name without touching the core."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.plan.conftest import forget_plugins

from bedside.checks.protocol import Check
from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.evidence import glossary
from bedside.evidence.keys import load_or_create_key
from bedside.intake.protocol import Reader
from bedside.models.conformance import check_model
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify
from bedside.plan.actions.protocol import Action
from bedside.plan.api import run
from bedside.plan.file import parse_plan, refuse_bad_plan
from bedside.plan.release.layout import SIGNATURE
from bedside.plan.release.publish import seal
from bedside.plan.release.verify import verify_release
from bedside.prepare import clean
from bedside.prepare.protocol import CleanStep, Step
from bedside.synth.admissions import simulate

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("plugin_*"))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples as `pip install -e` would leave them: their folder on the path, their entry points in metadata."""
    for example in EXAMPLES:
        project = tomllib.loads((example / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        groups = [
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in project["entry-points"].items()
        ]
        (info / "entry_points.txt").write_text("\n".join(groups))
        monkeypatch.syspath_prepend(str(example))
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_plugins()
    yield
    monkeypatch.undo()
    forget_plugins()


@pytest.fixture
def cohort() -> Cohort:
    rng = np.random.default_rng(0)
    heart_rate = np.where(np.arange(400) % 20 == 0, np.nan, rng.normal(90, 20, 400))
    died = rng.random(400) < np.where(np.nan_to_num(heart_rate, nan=90.0) > 110, 0.6, 0.1)
    return Cohort.of(
        {"heart_rate": heart_rate, "died": died},
        [Field("heart_rate", "number", unit="/min"), Field("died", "boolean", ("target",))],
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_one_short_file(example: Path) -> None:
    (source,) = example.glob("*.py")
    assert len(source.read_text(encoding="utf-8").splitlines()) < 60


def test_contributing_names_every_example() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert EXAMPLES and all(f"examples/{example.name}" in text for example in EXAMPLES)


@pytest.mark.usefixtures("installed")
def test_the_model_learns_predicts_and_comes_back(cohort: Cohort, tmp_path: Path) -> None:
    task = Classify.of(cohort, "died")
    model = plugins.build("models", {"name": "warning_score", "limits": {"heart_rate": [50, 110]}})
    assert isinstance(model, Model)
    model.fit(cohort, None, task=task, run=Run(tmp_path))
    predictions = model.predict(cohort)
    out = (~cohort["heart_rate"].is_between(50, 110)).fill_null(False).to_numpy()  # missing counts as normal
    died = cohort["died"].to_numpy()
    # by hand: (events at this count + overall rate) / (rows at this count + 1)
    assert predictions.score[out] == pytest.approx((died[out].sum() + died.mean()) / (out.sum() + 1))
    assert predictions.score[~out] == pytest.approx((died[~out].sum() + died.mean()) / ((~out).sum() + 1))
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    again = plugins.load("models", "warning_score").load(folder)
    assert again.predict(cohort).digest == predictions.digest


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_the_model_passes_the_suite_of_every_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the suite loads it in a fresh process
    check_model({"name": "warning_score", "limits": {"age": [0, 60], "marker": [0, 1]}}, folder=tmp_path)


@pytest.mark.usefixtures("installed")
def test_the_step_learns_on_train_only(cohort: Cohort, tmp_path: Path) -> None:
    step = plugins.build("steps", {"winsorise": 0.1}).fit(cohort, run=Run(tmp_path))
    assert isinstance(step, Step)
    low, high = np.quantile(cohort["heart_rate"].drop_nulls().to_numpy(), (0.1, 0.9))
    new = Cohort.of({"heart_rate": [-1e9, 90.0, None, 1e9]}, [Field("heart_rate", "number", unit="/min")])
    assert step.apply(new)["heart_rate"].to_list() == [pytest.approx(low), 90.0, None, pytest.approx(high)]
    folder = tmp_path / "saved"
    folder.mkdir()
    step.save(folder)
    assert plugins.load("steps", "winsorise").load(folder).apply(new).digest == step.apply(new).digest


@pytest.mark.usefixtures("installed")
def test_the_check_gives_evidence_that_the_glossary_can_read(cohort: Cohort) -> None:
    task = Classify.of(cohort, "died")
    p = np.where((cohort["heart_rate"] > 110).fill_null(False).to_numpy(), 0.9, 0.1)
    predictions = Predictions.of_probabilities(task, cohort["row_id"], np.column_stack([1 - p, p]))
    check = plugins.build("checks", "alerts")
    assert isinstance(check, Check)
    evidence = check(predictions, cohort, task=task, seed=0)
    found = evidence.find("number_needed_to_evaluate")
    assert found is not None and found.low < found.value < found.high
    assert found.value == pytest.approx((p > 0.5).sum() / cohort["died"].to_numpy()[p > 0.5].sum())
    assert glossary.term(found.metric).direction == "lower" and glossary.term(found.metric).zh

    assert set(check.metrics) == {found.metric}
    silent = Predictions.of_probabilities(task, cohort["row_id"], np.tile([0.9, 0.1], (len(cohort), 1)))
    (unknown,) = check(silent, cohort, task=task, seed=0).estimates
    assert unknown.value is None and glossary.term(unknown.why_not).kind == "word"


@pytest.mark.usefixtures("installed")
def test_the_reader_reads_and_refuses(tmp_path: Path) -> None:
    path = tmp_path / "small.arff"
    path.write_text(
        "% comment\n@relation r\n@attribute age numeric\n@attribute 'er' {neg, pos}\n@data\n50,pos\n?,neg\n"
    )
    reader = plugins.build("readers", "arff")
    assert isinstance(reader, Reader)
    cohort = reader.read(path)
    assert cohort["age"].to_list() == [50.0, None] and cohort["er"].to_list() == ["pos", "neg"]
    assert cohort.schema["er"].levels == ("neg", "pos")
    path.write_text("age,er\n50,pos\n")
    with pytest.raises(DataError, match=r"small\.arff"):
        plugins.build("readers", "arff").read(path)


@pytest.mark.usefixtures("installed")
def test_the_reader_reads_a_real_file(shared_data: Path) -> None:
    path = shared_data / "omics/sksurv_gse7390/breast_cancer_GSE7390-metastasis.arff"
    cohort = plugins.build("readers", "arff").read(path)
    assert len(cohort) == 198 and len(cohort.schema.fields) == 82  # Desmedt et al. 2007: 198 patients
    assert cohort["age"].dtype == pl.Float64 and cohort["age"].null_count() == 0


@pytest.mark.usefixtures("installed")
def test_the_cleaning_step_changes_only_what_is_wrong() -> None:
    step = clean.build({"swapped": {"larger": "systolic", "smaller": "diastolic"}})
    assert isinstance(step, CleanStep)
    fields = [Field(name, "number", unit="mm[Hg]") for name in ("systolic", "diastolic")]
    cohort = Cohort.of({"systolic": [120.0, 70.0, None, 80.0], "diastolic": [80.0, 110.0, 90.0, 80.0]}, fields)
    made, evidence = step.clean(cohort)
    assert made["systolic"].to_list() == [120.0, 110.0, None, 80.0]
    assert made["diastolic"].to_list() == [80.0, 70.0, 90.0, 80.0]
    assert [item.value for item in evidence.estimates] == [1.0, 1.0]
    assert made.schema == cohort.schema and step.clean(made)[0].frame.equals(made.frame)
    again = clean.replay(cohort.take(np.array([1])), [{"name": "swapped", **step.parameters()}])
    assert again["systolic"].to_list() == [110.0]
    without = cohort.keeping(["systolic"])
    assert clean.replay(without, [{"name": "swapped", **step.parameters()}]).frame.equals(without.frame)


@pytest.mark.usefixtures("installed")
def test_the_action_leaves_evidence_and_files_in_the_release(tmp_path: Path) -> None:
    plan = {
        "name": "acted",
        "task": {"classify": "died_in_hospital"},
        "model": "lightgbm",
        "checks": ["performance"],
        "actions": [{"surrogate": 2}, {"surrogate": {"depth": 4}}],
        "gates": {"surrogate_fidelity": {"at_least": 0.6}},
        "release": {"as": "acted", "stage": "assist"},
    }
    cohort = simulate(2000, 7)
    outcome = run(plan, cohort, home=tmp_path / "home", threads=1)
    assert isinstance(plugins.build("actions", {"surrogate": 2}), Action)
    (judged,) = outcome.judgements
    assert judged.verdict == "pass" and outcome.release is not None
    assert [piece.check for piece in outcome.evidence[-2:]] == ["surrogate", "surrogate"]
    for folder in (outcome.release, outcome.report.parent):
        small, large = (folder / f"actions/{i}-surrogate/tree.txt" for i in (1, 2))
        assert "|---" in small.read_text() and len(large.read_text()) > len(small.read_text())
    assert verify_release(outcome.release, {}).ok
    again = run(plan, cohort, home=tmp_path / "home", threads=1)
    assert all(done.cached for _, done in again.actions) and again.release == outcome.release
    other = run({**plan, "actions": [{"surrogate": 2}]}, cohort, home=tmp_path / "home", threads=1)
    assert [name for name, done in other.actions if not done.cached] == ["gate", "report", "release"]

    # Somebody with a key changes what an action left, or gives out evidence for that of an action, and signs again.
    for number, change in enumerate(("file", "folder", "evidence")):
        forged = Path(shutil.copytree(outcome.release, tmp_path / f"forged-{number}"))
        if change == "file":
            (forged / "actions/1-surrogate/tree.txt").write_text("|--- class: 0\n")
        elif change == "folder":
            shutil.copytree(forged / "actions/1-surrogate", forged / "actions/3-surrogate")
        else:
            pieces = json.loads((forged / "evidence.json").read_bytes())
            (forged / "evidence.json").write_text(json.dumps([*pieces, pieces[-1]]))
        (forged / SIGNATURE).unlink()
        seal(forged, "acted", load_or_create_key(tmp_path / "keys", "mallory"))
        failed = {each.id for each in verify_release(forged, {}).answers if each.result == "fail"}
        assert "verify_recompute" in failed, change


def test_an_action_that_is_not_there_is_refused_with_its_line() -> None:
    text = """plan: 1
name: x
cohort: {read: tables, path: x.csv}
task: {classify: died}
model: logistic
actions:
  - surrogat: 3
"""
    with pytest.raises(PlanError, match=r"line 7 \(actions\.0\): no action is called 'surrogat'"):
        refuse_bad_plan(*parse_plan(text))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("said", "why"),
    [("{surrogate: {deep: 3}}", "has no parameter"), ("surrogate", "not for a task of the kind regress")],
)
def test_an_action_that_cannot_be_carried_out_is_refused_with_its_line(said: str, why: str) -> None:
    task = "{classify: died}" if "deep" in said else "{regress: days}"
    text = f"plan: 1\nname: x\ncohort: {{path: x.csv}}\ntask: {task}\nmodel: lightgbm\nactions:\n  - {said}\n"
    with pytest.raises(PlanError, match=rf"line 7 \(actions\.0\): .*{why}"):
        refuse_bad_plan(*parse_plan(text))


@pytest.mark.usefixtures("installed")
def test_a_plan_names_them_like_any_other(tmp_path: Path) -> None:
    plan = {
        "name": "examples",
        "clean": [{"swapped": {"larger": "systolic_bp", "smaller": "respiratory_rate"}}],
        "task": {"classify": "died_in_hospital"},
        "steps": [{"winsorise": 0.01}],
        "model": {"name": "warning_score", "limits": {"heart_rate": [50, 110], "respiratory_rate": [9, 22]}},
        "threshold": {"choose": "sensitivity", "at_least": 0.5},
        "checks": ["performance", "alerts"],
        "gates": {"number_needed_to_evaluate": {"at_most": 50}},
        "release": {"as": "examples", "stage": "research"},
    }
    outcome = run(plan, simulate(2000, 7), home=tmp_path / "home", threads=1)
    (judged,) = outcome.judgements
    assert judged.verdict == "pass" and judged.estimate is not None
    assert outcome.release is not None
    assert "number needed to evaluate" in outcome.report.read_text(encoding="utf-8").lower()
