"""`bedside init`: what it finds in a table, what it asks, and that the plan it writes can be carried out."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from bedside.cli import app
from bedside.errors import BedsideError, DataError, PlanError
from bedside.evidence.metrics.samplesize import n_for_auroc, n_for_proportion
from bedside.intake.tables import Tables
from bedside.plan.file.plan import load_plan
from bedside.plan.file.refuse import refuse_bad_plan
from bedside.plan.init import names
from bedside.plan.init.draft_gates import binormal_logits
from bedside.plan.init.init import Wishes, Written, init
from bedside.plan.init.look import Look, likely_positive, look
from bedside.prepare.arrays import encode_png
from bedside.synth.admissions import simulate
from bedside.synth.export import write_csv

BEDSIDE = [sys.executable, "-c", "from bedside.cli import main; main()"]


class Answers:
    """Somebody who answers: by words of the question, else the default; remembers what was asked."""

    def __init__(self, choose: dict[str, str] | None = None, confirm: bool = True) -> None:
        self.chosen = choose or {}
        self.confirmed = confirm
        self.questions: list[str] = []

    def choose(self, question: str, options: Sequence[str], default: str | None, known: Sequence[str]) -> str:
        self.questions.append(question)
        found = next((answer for words, answer in self.chosen.items() if words in question), default)
        assert found is not None, question
        return found

    def confirm(self, question: str, default: bool) -> bool:
        self.questions.append(question)
        return self.confirmed and "read the model" not in question


def written(folder: Path, columns: dict[str, object], *, name: str = "table", **more: object) -> Written:
    """The plan of a small table."""
    path = folder / f"{name}.csv"
    pl.DataFrame(columns).write_csv(path)
    return init(path, folder / "plan.yaml", **more)  # type: ignore[arg-type]


def small(rows: int = 400, seed: int = 0) -> dict[str, object]:
    """A table of patients seen once: age, sex, a measurement, an outcome."""
    rng = np.random.default_rng(seed)
    return {
        "age": rng.integers(18, 95, rows),
        "sex": rng.choice(["female", "male"], rows),
        "lactate": rng.lognormal(0.5, 0.4, rows).round(2),
        "died": rng.integers(0, 2, rows),
    }


def seen(columns: dict[str, object], folder: Path) -> Look:
    path = folder / "seen.csv"
    pl.DataFrame(columns).write_csv(path)
    return look(Tables().read(path))


@pytest.fixture(scope="module")
def admissions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3000 simulated admissions as CSV, with their data dictionary beside them."""
    folder = tmp_path_factory.mktemp("admissions")
    write_csv(simulate(3000, seed=7), folder / "admissions.csv")
    (folder / "plain.csv").write_bytes((folder / "admissions.csv").read_bytes())
    return folder


# -- the plan it writes -----------------------------------------------------------------------------------------------


def test_the_plan_says_what_the_table_is(admissions: Path, tmp_path: Path) -> None:
    plan = init(admissions / "plain.csv", tmp_path / "plan.yaml").plan
    about = plan.cohort.parameters
    assert (about["subject"], about["row_id"], about["time"], about["site"]) == (
        "subject",
        "row_id",
        "admitted_at",
        "site",
    )
    assert about["sensitive"] == ["age", "sex"] and about["fields"] == {"age": {"unit": "a"}}
    assert plan.task.classify == "died_in_hospital" and plan.task.positive is True and plan.task.risk == "high"
    assert plan.model.name == "lightgbm" and [each.name for each in plan.baseline] == ["logistic"]
    assert {"performance", "calibration", "utility", "missingness", "sample_size", "explain"} <= {
        spec for spec in plan.checks if isinstance(spec, str)
    }
    assert {"subgroups": {"by": ["age", "sex"]}} in plan.checks


def test_the_plan_reads_back_and_is_not_refused(admissions: Path, tmp_path: Path) -> None:
    made = init(admissions / "plain.csv", tmp_path / "sub" / "plan.yaml")
    plan, document = load_plan(made.path)
    refuse_bad_plan(plan, document)
    assert plan == made.plan
    # the data is named relative to the plan, so that both may be moved together
    assert (made.path.parent / plan.cohort.path).resolve() == (admissions / "plain.csv").resolve()


def test_every_block_has_a_comment_above_it(admissions: Path, tmp_path: Path) -> None:
    lines = init(admissions / "plain.csv", tmp_path / "plan.yaml").path.read_text().splitlines()
    for key in ("plan", "cohort", "task", "split", "model", "baseline", "threshold", "checks", "gates", "release"):
        (number,) = [i for i, line in enumerate(lines) if line.startswith(f"{key}:")]
        assert lines[number - 1].startswith("#"), key


def test_a_dictionary_beside_the_table_is_used(admissions: Path, tmp_path: Path) -> None:
    plan = init(admissions / "admissions.csv", tmp_path / "plan.yaml").plan
    assert (tmp_path / plan.cohort.parameters["dictionary"]).resolve() == admissions / "admissions.dictionary.json"
    assert "fields" not in plan.cohort.parameters  # units and ranges are declared there
    assert plan.clean == [{"ranges": "missing"}]


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("mine")
    with pytest.raises(PlanError, match="exists"):
        written(tmp_path, small())
    assert (tmp_path / "plan.yaml").read_text() == "mine"


def test_nothing_is_written_when_something_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(BedsideError):
        written(tmp_path, {"age": [1, 2, 3], "weight": [4, 5, 6]})
    assert not (tmp_path / "plan.yaml").exists()


HOSTILE = [
    'a "quoted" name',
    "it's",
    "a: b # c",
    "- dash",
    "{curly}",
    "[square], comma",
    "肌酐（μmol/L）",
    "two\nlines",
    "tab\tname",
    "no",
    "null",
    "12",
    "1e5",
    "~",
    "? key",
    "&anchor *alias !tag %",
    "next line",
    "😀",
    "@at `tick`",
    "trailing \\",
    "x" * 90,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_column_name_gives_valid_yaml(name: str, tmp_path: Path) -> None:
    columns = small(200)
    rng = np.random.default_rng(1)
    columns = {
        f"sex {name}": columns["sex"],
        f"{name} discharge": rng.integers(0, 5, 200),
        f"glucose {name}": np.where(np.arange(200) < 9, 0, rng.normal(100, 9, 200).round(1)),
        f"weight {name}": np.where(np.arange(200) < 9, 999, rng.normal(80, 9, 200).round(1)),
        f"empty {name}": [None] * 200,
        name: columns["died"],
    }
    for ask in (None, Answers()):
        (tmp_path / "plan.yaml").unlink(missing_ok=True)
        plan = written(tmp_path, columns, wishes=Wishes(target=name), ask=ask).plan
        assert plan.task.targets == (name,)
        assert plan.cohort.parameters["sensitive"] == [f"sex {name}"]
        assert plan.cohort.parameters["ignore"] == [f"empty {name}"]
    assert plan.cohort.parameters["missing"] == [{f"glucose {name}": [0]}, {f"weight {name}": [999]}]


def test_no_value_of_an_identity_column_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = 300
    columns = {
        "patient_id": [f"SECRET-{i // 2}" for i in range(rows)],
        "encounter_id": [f"STAY-{i}" for i in range(rows)],
        "full_name": [f"Erika Muster{i}" for i in range(rows)],
        "birth_date": [f"19{i % 80 + 10}-01-0{i % 9 + 1}" for i in range(rows)],
        "note": [f"Mrs Private{i} was seen" for i in range(rows)],
        **small(rows),
    }
    ask = Answers()
    made = written(tmp_path, columns, ask=ask)
    told = made.path.read_text() + " ".join([*made.notes, *ask.questions]) + "".join(capsys.readouterr())
    for secret in ("SECRET", "STAY", "Muster", "Private", "1945"):
        assert secret not in told
    about = made.plan.cohort.parameters
    assert about["subject"] == "patient_id" and about["row_id"] == "encounter_id"
    assert set(about["ignore"]) == {"full_name", "birth_date", "note"}


def test_a_column_of_names_is_no_target_and_none_is_shown(tmp_path: Path) -> None:
    columns = {"surname": [f"Muster{i}" for i in range(400)], **small()}
    with pytest.raises(PlanError, match="400 different values") as told:
        written(tmp_path, columns, wishes=Wishes(target="surname", positive="Muster7"))
    assert "Muster" not in str(told.value)


# -- what it asks and what it takes by default ------------------------------------------------------------------------


def test_what_is_suspected_is_not_assumed(admissions: Path, tmp_path: Path) -> None:
    silent = init(admissions / "plain.csv", tmp_path / "silent.yaml")
    assert "missing" not in silent.plan.cohort.parameters
    assert "#   - -9    # in 1,148 cells" in silent.path.read_text()
    assert any("may mean missing" in note for note in silent.notes)

    asked = init(admissions / "plain.csv", tmp_path / "asked.yaml", ask=Answers())
    assert asked.plan.cohort.parameters["missing"] == [-9, {"respiratory_rate": [0]}, {"spo2": [0]}]

    refused = init(admissions / "plain.csv", tmp_path / "refused.yaml", ask=Answers(confirm=False))
    assert "missing" not in refused.plan.cohort.parameters


def test_the_answers_are_the_plan(tmp_path: Path) -> None:
    ask = Answers({"predicted": "sex", "event": "male", "patient is": "none", "wrong answer": "low"})
    plan = written(tmp_path, small(), ask=ask).plan
    assert plan.task.targets == ("sex",) and plan.task.positive == "male" and plan.task.risk == "low"
    assert "subject" not in plan.cohort.parameters
    assert plan.threshold == "youden" and "sensitivity" not in plan.gates
    assert len(ask.questions) == 5  # target, event, patient, risk, readable


def test_a_target_that_cannot_be_told_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    columns = small()
    columns["marker"] = columns.pop("died")
    with pytest.raises(PlanError, match="which column is to be predicted") as told:
        written(tmp_path, columns)
    assert "--target" in told.value.way_out


def test_of_two_likely_targets_none_is_taken(tmp_path: Path) -> None:
    columns = {"readmitted": np.arange(400) % 2, **small(), "height": np.arange(400)}
    with pytest.raises(PlanError, match="readmitted, died"):
        written(tmp_path, columns)
    assert written(tmp_path, columns, wishes=Wishes(target="died")).plan.task.targets == ("died",)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (Wishes(target="nothing"), "no field 'nothing'"),
        (Wishes(positive="2"), "'2' is no value of 'died'"),
        (Wishes(target="lactate", positive="1"), "number"),
        (Wishes(target="stage", positive="I"), "3 classes"),
        (Wishes(subject="nobody"), "no field 'nobody'"),
        (Wishes(subject="died"), "both the target and the patient"),
        (Wishes(subject="holes"), "missing values"),
        (Wishes(risk="huge"), "no risk is called"),
        (Wishes(by="ward"), "no split is by"),
        (Wishes(by="site"), "no column looks like a site"),
        (Wishes(target="one"), "one"),
    ],
)
def test_a_wish_that_does_not_fit_is_refused(wishes: Wishes, message: str, tmp_path: Path) -> None:
    columns = {
        **small(),
        "stage": np.array(["I", "II", "III"])[np.arange(400) % 3],
        "holes": [None if i % 7 == 0 else f"p{i // 3}" for i in range(400)],
        "one": ["same"] * 400,
    }
    with pytest.raises(BedsideError, match=message):
        written(tmp_path, columns, wishes=wishes)


@pytest.mark.parametrize(
    ("labels", "positive", "by_word"),
    [
        (["no", "yes"], "yes", True),
        (["benign", "malignant"], "malignant", True),
        (["alive", "dead"], "dead", True),
        (["0", "1"], "1", True),
        (["0_no", "1_yes"], "1_yes", True),
        (["recurrence-events", "no-recurrence-events"], "recurrence-events", True),
        (["死亡", "存活"], "死亡", True),
        (["control", "sepsis shock"], "sepsis shock", True),
        (["A", "B2"], "A", False),  # only the counts tell: A is the rarer
        (["2", "4"], "2", False),
    ],
)
def test_the_event_is_told_by_its_word_else_taken_as_the_rarer(labels: list[str], positive: str, by_word: bool) -> None:
    assert likely_positive(dict(zip(labels, (10, 90), strict=True))) == (positive, by_word)


def test_an_event_taken_for_its_rarity_is_said(tmp_path: Path) -> None:
    columns = small()
    columns["outcome"] = ["x" if i % 5 == 0 else "z" for i in range(400)]
    del columns["died"]
    made = written(tmp_path, columns)
    assert made.plan.task.positive == "x" and "rarer class" in made.path.read_text()
    assert any("rarer class" in note for note in made.notes)


# -- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "patient", "record"),
    [
        ("patient_nbr", True, False),
        ("PatientID", True, False),
        ("MRN", True, False),
        ("subject", True, False),
        ("患者编号", True, True),
        ("住院号", True, False),
        ("patient_age", False, False),
        ("患者姓名", False, False),
        ("患者年龄", False, False),
        ("encounter_id", False, True),
        ("RecordID", False, True),
        ("id", False, True),
        ("rownames", False, True),
        ("lactate", False, False),
        ("number_inpatient", False, False),
    ],
)
def test_names_of_ids(name: str, patient: bool, record: bool) -> None:
    assert names.names_a_patient(name) is patient and (names.names_a_record(name) is record or patient)


@pytest.mark.parametrize(
    ("name", "site"),
    [("site", True), ("hospital_id", True), ("clinic name", True), ("医院", True), ("time_in_hospital", False),
     ("in-hospital_death", False), ("center_of_mass_x", False)],
)  # fmt: skip
def test_names_of_sites(name: str, site: bool) -> None:
    assert names.names_a_site(name) is site


def test_an_id_that_repeats_is_the_patient(tmp_path: Path) -> None:
    about = seen({"id": [i // 2 for i in range(400)], **small()}, tmp_path)
    assert about.subjects == ("id",) and not about.row_ids
    about = seen({"id": list(range(400)), **small()}, tmp_path)
    assert not about.subjects and about.row_ids == ("id",)
    # few values that repeat much are a code, not a patient
    about = seen({"admission_type_id": [i % 8 for i in range(400)], **small()}, tmp_path)
    assert not about.subjects and not about.row_ids and "admission_type_id" in about.coded


def test_sensitive_fields_are_those_of_the_person(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    columns = {
        **small(),
        "Race": rng.integers(1, 5, 400),
        "stage": rng.integers(1, 4, 400),
        "age_at_death": rng.integers(1, 90, 400),
        "sex_hormone": rng.normal(size=400).round(3),
    }
    about = seen(columns, tmp_path)
    assert about.sensitive == ("age", "sex", "Race") and about.ages == ("age",)
    plan = written(tmp_path, columns, wishes=Wishes(target="died")).plan
    assert plan.cohort.parameters["fields"] == {"age": {"unit": "a"}, "Race": {"kind": "category"}}


def test_an_age_in_months_is_not_called_years(tmp_path: Path) -> None:
    columns = small()
    columns["age"] = np.arange(400)  # to 399: no years
    assert seen(columns, tmp_path).ages == ()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([-9] * 5 + list(range(1, 96)), -9.0),
        ([999] * 4 + list(range(60, 156)), 999.0),
        ([9] * 6 + [1, 2] * 47, 9.0),
        (["?"] * 6 + ["a", "b"] * 47, "?"),
        (["未知"] * 6 + ["男", "女"] * 47, "未知"),
        (["Unknown"] * 6 + [str(i % 40) for i in range(94)], "Unknown"),
    ],
)
def test_values_that_may_mean_missing_are_found(values: list[object], code: object, tmp_path: Path) -> None:
    (found,) = seen({"weight": values, "died": [0, 1] * 50}, tmp_path).suspects
    assert found.code == code and found.columns == {"weight": values.count(values[0])}


@pytest.mark.parametrize(
    "values",
    [
        [-9, -7, -3] * 10 + list(range(70)),  # other negative values: −9 is one of them
        [99, 98, 97] * 10 + list(range(70)),  # the top of a range
        list(range(9)) * 11 + [9],  # a count
        ["none"] * 50 + ["some"] * 50,  # a level of its own
        [0] * 50 + list(range(1, 51)),  # zeros of a number that may be zero: small values beside them
        [-1] * 99 + [1],  # two values only
    ],
)
def test_values_that_are_values_are_left_alone(values: list[object], tmp_path: Path) -> None:
    assert seen({"weight": values, "died": [0, 1] * 50}, tmp_path).suspects == ()


def test_zeros_are_suspected_only_where_nobody_alive_has_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pressure = np.where(np.arange(200) < 20, 0, rng.normal(120, 10, 200).round())
    columns = {"systolic_bp": pressure, "steps": pressure, "died": [0, 1] * 100}
    (found,) = seen(columns, tmp_path).suspects
    assert found.code == 0.0 and found.columns == {"systolic_bp": 20}


def test_pima_has_its_famous_zeros(shared_data: Path) -> None:
    # Smith et al. 1988: missing was coded as zero in five fields (5, 35, 227, 374 and 11 rows)
    columns = ["pregnancies", "glucose", "blood_pressure", "skin", "insulin", "bmi", "pedigree", "age", "diabetes"]
    path = shared_data / "ehr/uci_small/pima-indians-diabetes.csv"
    (found,) = look(Tables(header=False, names=columns).read(path)).suspects
    assert found.columns == {"glucose": 5, "blood_pressure": 35, "skin": 227, "insulin": 374, "bmi": 11}


@pytest.mark.slow
def test_diabetes130_is_known_for_what_it_is(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "ehr/diabetes130/dataset_diabetes.zip"
    with pytest.raises(DataError, match="2 files") as told:
        init(path, tmp_path / "plan.yaml")
    assert "--read" in told.value.way_out
    plan = init(path, tmp_path / "plan.yaml", read={"member": "diabetic_data.csv"}).plan
    about = plan.cohort.parameters
    assert about["subject"] == "patient_nbr" and about["row_id"] == "encounter_id" and "site" not in about
    assert set(about["sensitive"]) >= {"race", "gender", "age"} and plan.task.classify == "readmitted"
    assert "- discharge_disposition_id" in (tmp_path / "plan.yaml").read_text()


def test_what_came_after_the_outcome_is_named(tmp_path: Path) -> None:
    made = written(tmp_path, {**small(), "discharge_to": np.arange(400) % 4, "age_in": range(400)})
    assert "#   - discharge_to" in made.path.read_text() and "ignore" not in made.plan.cohort.parameters


def test_repeated_rows_are_counted(tmp_path: Path) -> None:
    columns = {name: np.concatenate([np.asarray(values), np.asarray(values)[:30]]) for name, values in small().items()}
    made = written(tmp_path, {"id": range(430), **columns})
    assert "# 30 rows repeat an earlier one" in made.path.read_text() and made.plan.clean == []


# -- model, split and gates -------------------------------------------------------------------------------------------


def test_the_model_follows_from_events_per_input_and_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wide = {f"gene_{i}": rng.normal(size=72).round(3) for i in range(200)}
    made = written(tmp_path, {**wide, "class": ["ALL", "AML", "ALL"] * 24}, wishes=Wishes(positive="AML"), name="golub")
    assert made.plan.model.name == "lasso" and "# Why this one: 24 rows of the rarest class" in made.path.read_text()
    assert made.plan.split.folds == 5 and made.plan.name == "golub"

    (tmp_path / "plan.yaml").unlink()
    assert written(tmp_path, small()).plan.model.name == "logistic"
    (tmp_path / "plan.yaml").unlink()
    plan = written(tmp_path, small(4000)).plan
    assert plan.model.name == "lightgbm" and plan.split.test == 0.25 and plan.split.folds is None
    (tmp_path / "plan.yaml").unlink()
    assert written(tmp_path, small(4000), wishes=Wishes(interpretable=True)).plan.model.name in ("ebm", "logistic")


def test_a_number_is_regressed(tmp_path: Path) -> None:
    plan = written(tmp_path, small(), wishes=Wishes(target="lactate")).plan
    assert plan.task.regress == "lactate" and plan.gates == {"r2": {"at_least": 0.2}}
    assert [each.name for each in plan.baseline] == ["majority"] and plan.model.name == "ridge"


def test_three_classes_have_no_event(tmp_path: Path) -> None:
    columns = {**small(600), "stage": np.array(["I", "II", "III"])[np.arange(600) % 3]}
    plan = written(tmp_path, columns, wishes=Wishes(target="stage")).plan
    assert plan.task.positive is None and list(plan.gates) == ["auroc_macro"] and "utility" not in plan.checks


def test_split_by_time_and_site_when_asked(admissions: Path, tmp_path: Path) -> None:
    plan = init(admissions / "plain.csv", tmp_path / "time.yaml", Wishes(by="time")).plan
    assert plan.split.by == "time" and plan.split.test == 0.25
    plan = init(admissions / "plain.csv", tmp_path / "site.yaml", Wishes(by="site")).plan
    assert plan.split.by == "site" and plan.split.folds == 4


def test_the_gates_say_the_n_that_decides(admissions: Path, tmp_path: Path) -> None:
    made = init(admissions / "plain.csv", tmp_path / "plan.yaml")
    text = made.path.read_text()
    events = int(pl.read_csv(admissions / "plain.csv")["died_in_hospital"].sum())
    assert f"about {n_for_auroc(0.75, 0.80, events / 3000):,} rows if it is 0.80; 3,000 will be judged" in text
    assert f"about {n_for_proportion(0.80, 0.90):,} events if it is 0.90; {events:,} will be judged: enough" in text
    assert set(made.plan.gates) == {"auroc", "sensitivity", "calibration_slope"}
    assert "  # worst_group" in text  # a group has fewer than 10 events: such a gate could not pass


def test_a_gate_on_groups_where_each_is_large_enough(tmp_path: Path) -> None:
    assert written(tmp_path, small(2000)).plan.gates["worst_group"] == {"auroc": 0.65}


@pytest.mark.parametrize("prevalence", [0.02, 0.1, 0.5])
def test_risks_are_spread_to_the_c_statistic_they_claim(prevalence: float) -> None:
    # calibrated risks: the c-statistic is that of pairs weighted with r and 1 − r
    logits = np.sort(binormal_logits(prevalence, 0.8))
    risk = 1 / (1 + np.exp(-logits))
    below = np.cumsum(1 - risk) - (1 - risk) / 2
    assert risk.mean() == pytest.approx(prevalence, rel=2e-3)
    assert (risk * below).sum() / risk.sum() / (1 - risk).sum() == pytest.approx(0.8, abs=1e-3)


def test_more_columns_than_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(rng.normal(size=(60, 500)).round(3)).with_columns(outcome=pl.Series([0, 1] * 30))
    frame.write_csv(tmp_path / "wide.csv")
    plan = init(tmp_path / "wide.csv", tmp_path / "plan.yaml").plan
    assert plan.model.name == "lasso" and len((tmp_path / "plan.yaml").read_text()) < 10_000


def test_too_few_of_a_class_are_refused(tmp_path: Path) -> None:
    columns = small()
    columns["died"] = [1] * 7 + [0] * 393
    with pytest.raises(DataError, match="only 7 subjects"):
        written(tmp_path, columns)
    with pytest.raises(DataError, match="only 5 subjects have a value"):
        written(
            tmp_path, {"a": [1.5, 2, 3, 4, 5], "outcome": [0.1, 2.2, 3.3, 4.1, 5.2]}, wishes=Wishes(target="outcome")
        )


# -- what is no table -------------------------------------------------------------------------------------------------


def test_a_folder_of_dicom_is_called_so(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for i in range(3):
        (folder / f"IM{i:04d}").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0")  # no suffix, as scanners write
    with pytest.raises(DataError, match="3 images without a label") as told:
        init(folder, tmp_path / "plan.yaml")
    assert "put a table" in told.value.way_out
    with pytest.raises(DataError, match="is a DICOM file"):
        init(folder / "IM0000", tmp_path / "plan.yaml")


def test_a_folder_of_images_and_a_table_that_does_not_name_them(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "labels.csv").write_text("file,label\n")
    with pytest.raises(DataError, match=r"1 images without a label, and none of labels\.csv names them"):
        init(folder, tmp_path / "plan.yaml")


def test_nothing_and_nowhere(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty folder"):
        init(tmp_path / "empty", tmp_path / "plan.yaml")
    with pytest.raises(DataError, match="no such file"):
        init(tmp_path / "missing.csv", tmp_path / "plan.yaml")


def test_a_table_without_names_is_not_read_as_if_it_had_them(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("30,premeno,no\n" + "30,premeno,no\n40,ge40,yes\n" * 40)
    with pytest.raises(DataError, match="not like the names of columns") as told:
        init(tmp_path / "data.csv", tmp_path / "plan.yaml")
    assert "header=false" in told.value.way_out
    read = {"header": False, "names": ["age", "menopause", "outcome"]}
    plan = init(tmp_path / "data.csv", tmp_path / "plan.yaml", read=read).plan
    assert plan.cohort.parameters["names"] == ["age", "menopause", "outcome"] and plan.task.positive == "yes"
    with pytest.raises(PlanError, match="--read subject"):
        init(tmp_path / "data.csv", tmp_path / "other.yaml", read={"subject": "age"})


# -- the verb ---------------------------------------------------------------------------------------------------------


def test_the_verb_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame(small()).write_csv("a.tsv", separator="\t")
    result = CliRunner().invoke(app, ["init", "a.tsv", "--read", "separator=\t", "--interpretable"])
    assert result.exit_code == 0 and "next     read it, then: bedside run plan.yaml" in result.stdout
    assert load_plan(Path("plan.yaml"))[0].cohort.parameters["separator"] == "\t"


def test_the_verb_exits_with_2_when_the_target_is_not_known(tmp_path: Path) -> None:
    pl.DataFrame({"a": range(100), "b": range(100)}).write_csv(tmp_path / "a.csv")
    run = subprocess.run([*BEDSIDE, "init", "a.csv", "--yes"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2 and "--target" in run.stderr and "Traceback" not in run.stderr


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    pl.DataFrame({"MRN": [i // 2 for i in range(400)], **small()}).write_csv(tmp_path / "a.csv")
    answers = ["nonsense", "1", "0", "", "low", "y"]  # none of them; the first listed; a class by its name; default
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*BEDSIDE, "init", "a.csv"],
        cwd=tmp_path,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        close_fds=True,
    )
    os.close(slave)
    shown, told = "", time.monotonic() + 60
    while process.poll() is None and time.monotonic() < told:
        if select.select([master], [], [], 0.2)[0]:
            try:
                shown += os.read(master, 4096).decode()
            except OSError:
                break
            if shown.rstrip().endswith(":") and answers:
                os.write(master, f"{answers.pop(0)}\n".encode())
                shown += "\n"
    assert process.wait(timeout=30) == 0, shown
    os.close(master)
    assert "'nonsense' is none of them" in shown and not answers
    plan = load_plan(tmp_path / "plan.yaml")[0]
    assert plan.task.targets == ("died",) and plan.task.positive == 0 and plan.task.risk == "low"
    assert plan.cohort.parameters["subject"] == "MRN"


# -- folders of images -------------------------------------------------------------------------------------------------


def pictures(folder: Path, *, labelled: bool) -> Path:
    """48 small images of 24 patients, with a label table or with a subfolder a class."""
    rng = np.random.default_rng(0)
    (folder / "scans").mkdir()
    rows = []
    for i in range(48):
        label = ("benign", "malignant")[i // 2 % 2]
        name = f"i{i:02d}.png" if labelled else f"{label}/i{i:02d}.png"
        (folder / "scans" / name).parent.mkdir(exist_ok=True)
        image = rng.integers(0, 120, (24, 24), dtype=np.uint8) + np.uint8(100 * (label == "malignant"))
        (folder / "scans" / name).write_bytes(encode_png(image))
        rows.append({"file": name, "label": label, "patient_id": f"p{i // 2}", "sex": "fm"[i // 4 % 2], "age": 40 + i})
    if labelled:
        pl.DataFrame(rows).write_csv(folder / "scans" / "labels.csv")
    return folder / "scans"


def test_a_folder_with_a_label_table_gives_a_plan(tmp_path: Path) -> None:
    made = init(pictures(tmp_path, labelled=True), tmp_path / "plan.yaml", Wishes(target="label"))
    said = made.plan.cohort.parameters
    assert made.plan.cohort.read == "images" and made.plan.cohort.path == "scans"
    assert (said["labels"], said["file"], said["subject"]) == ("labels.csv", "file", "patient_id")
    assert set(said["sensitive"]) == {"sex", "age"} and made.plan.task.positive == "malignant"
    assert made.plan.model.name == "small_cnn" and [each.name for each in made.plan.baseline] == ["logistic"] * 2
    assert made.plan.clean == [{"duplicates": "group"}]


def test_a_subfolder_a_class_gives_a_plan(tmp_path: Path) -> None:
    made = init(pictures(tmp_path, labelled=False), tmp_path / "plan.yaml")
    assert made.plan.task.targets == ("class",) and made.plan.task.positive == "malignant"
    assert "labels" not in made.plan.cohort.parameters and len(made.plan.baseline) == 1
    assert any("no column says who the patient is" in note for note in made.notes)


def test_two_tables_that_name_the_images_are_one_too_many(tmp_path: Path) -> None:
    folder = pictures(tmp_path, labelled=True)
    (folder / "more.csv").write_bytes((folder / "labels.csv").read_bytes())
    with pytest.raises(DataError, match=r"labels\.csv, more\.csv"):
        init(folder, tmp_path / "plan.yaml")
    (folder / "more.csv").unlink()
    with pytest.raises(PlanError, match="describes a table"):
        init(folder.parent / "scans", tmp_path / "plan.yaml", read={"header": False})


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [True, False])
def test_the_plan_of_a_folder_of_images_can_be_carried_out(labelled: bool, tmp_path: Path) -> None:
    from bedside.plan.api import run

    pytest.importorskip("torch", reason="the extra imaging is not installed")
    made = init(
        pictures(tmp_path, labelled=labelled), tmp_path / "plan.yaml", Wishes(target="label" if labelled else None)
    )
    text = made.path.read_text().replace("minutes: 10", "epochs: 2").replace("image: 96", "image: 24")
    made.path.write_text(text)
    outcome = run(made.path, home=tmp_path / "home", threads=1)
    assert outcome.decision.stage is not None and outcome.report.is_file()


@pytest.mark.slow
def test_the_plan_it_writes_can_be_carried_out(tmp_path: Path) -> None:
    from bedside.plan.api import run

    rng = np.random.default_rng(5)
    columns = {"patient_id": rng.integers(0, 300, 400), **small(), "ward": rng.choice(["a: b", '"c"'], 400)}
    made = written(tmp_path, columns, ask=Answers())
    outcome = run(made.path, home=tmp_path / "home")
    assert outcome.decision.stage is not None and outcome.report.is_file()
