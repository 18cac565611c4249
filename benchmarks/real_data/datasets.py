"""The real tables of docs/results.md as cohorts: which rows count, which columns are left out, and why.

The files lie outside the repository and are never copied into it. What is decided here is what needs the meaning of
the outcome or of a whole table; the rest of each analysis is in its recipe.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field

Number = tuple[str, str, str, float | None, float | None]  # name, label, UCUM unit, low, high
NO_YES = ("no", "yes")


def number(spec: Number) -> Field:
    """A number input from its row of a table; age is sensitive too."""
    name, label, unit, low, high = spec
    roles = ("input", "sensitive") if name == "age" else ("input",)
    return Field(name, "number", roles, unit=unit, low=low, high=high, label=label)  # type: ignore[arg-type]


def category(name: str, levels: Sequence[str], label: str, *, kind: str = "category", sensitive: bool = False) -> Field:
    """A category input with its levels."""
    roles = ("input", "sensitive") if sensitive else ("input",)
    return Field(name, kind, roles, levels=tuple(levels), label=label)  # type: ignore[arg-type]


def target(name: str, label: str, levels: tuple[str, str] = NO_YES) -> Field:
    """A two-valued target, the event last."""
    return Field(name, "category", ("target",), levels=levels, label=label)


def yes(event: pl.Expr) -> pl.Expr:
    """A boolean expression as no or yes."""
    return pl.when(event).then(pl.lit("yes")).otherwise(pl.lit("no"))


def from_codes(column: str, levels: Sequence[str], first: int = 0) -> pl.Expr:
    """Whole-number codes first, first + 1, … as their levels; any other code is missing."""
    codes = {str(first + i): level for i, level in enumerate(levels)}
    text = pl.col(column).cast(pl.Int64, strict=False).cast(pl.String)
    return text.replace_strict(codes, default=None, return_dtype=pl.String).alias(column)


# ---------------------------------------------------------------------------------------------------------------- Pima
# Smith et al. 1988. Nobody alive has a zero of the five with a `low`: missing was coded as zero.
PIMA: tuple[Number, ...] = (
    ("pregnancies", "number of times pregnant", "1", 0, 25),
    ("glucose", "plasma glucose 2 h into an oral glucose tolerance test", "mg/dL", 20, 600),
    ("blood_pressure", "diastolic blood pressure", "mm[Hg]", 20, 200),
    ("skin", "triceps skin fold thickness", "mm", 2, 120),
    ("insulin", "2-hour serum insulin", "u[IU]/mL", 1, 1000),
    ("bmi", "body mass index", "kg/m2", 10, 80),
    ("pedigree", "diabetes pedigree function", "1", 0, 5),
    ("age", "age", "a", 18, 110),
)


def pima(data: Path) -> Cohort:
    """Pima Indians diabetes: 768 women, 268 with diabetes; one row a woman."""
    names = [name for name, *_ in PIMA]
    path = data / "ehr/uci_small/pima-indians-diabetes.csv"
    frame = pl.read_csv(path, has_header=False, new_columns=[*names, "diabetes"])
    fields = [*map(number, PIMA), target("diabetes", "diabetes by WHO criteria")]
    return Cohort.of(frame.with_columns(diabetes=yes(pl.col("diabetes") == 1)), fields, name="pima")


# ----------------------------------------------------------------------------------------------------------- Cleveland
CLEVELAND: tuple[Number, ...] = (
    ("age", "age", "a", 18, 110),
    ("trestbps", "resting systolic blood pressure on admission", "mm[Hg]", 60, 260),
    ("chol", "serum cholesterol", "mg/dL", 50, 700),
    ("thalach", "highest heart rate in the exercise test", "/min", 50, 230),
    ("oldpeak", "ST depression, exercise against rest", "mm", 0, 10),
    ("ca", "major vessels coloured by fluoroscopy", "1", 0, 3),
)


def cleveland(data: Path) -> Cohort:
    """Cleveland heart disease (Detrano et al. 1989): 297 patients, 137 with a vessel narrowed by more than half."""
    frame = pl.read_csv(data / "ehr/heart_cleveland/heart_cleveland_upload.csv").with_columns(
        from_codes("gender", ("female", "male")),
        from_codes("cp", ("typical", "atypical", "non-anginal", "asymptomatic")),
        from_codes("fbs", NO_YES),
        from_codes("exang", NO_YES),
        from_codes("restecg", ("normal", "ST-T abnormality", "left ventricular hypertrophy")),
        from_codes("slope", ("up", "flat", "down")),
        from_codes("thal", ("normal", "fixed defect", "reversible defect")),
        from_codes("condition", NO_YES),
    )
    frame = frame.rename({"gender": "sex", "condition": "disease"})
    fields = [
        *map(number, CLEVELAND),
        category("sex", ("female", "male"), "sex", sensitive=True),
        category("cp", ("typical", "atypical", "non-anginal", "asymptomatic"), "chest pain"),
        category("fbs", NO_YES, "fasting blood sugar above 120 mg/dL"),
        category("exang", NO_YES, "angina on exercise"),
        category("restecg", ("normal", "ST-T abnormality", "left ventricular hypertrophy"), "resting ECG"),
        category("slope", ("up", "flat", "down"), "slope of the ST segment at peak exercise"),
        category("thal", ("normal", "fixed defect", "reversible defect"), "thallium scan"),
        target("disease", "a coronary vessel narrowed by more than half"),
    ]
    return Cohort.of(frame, fields, name="cleveland-heart")


# ----------------------------------------------------------------------------------------------------------- Wisconsin
WISCONSIN = (
    "clump thickness",
    "uniformity of cell size",
    "uniformity of cell shape",
    "marginal adhesion",
    "single epithelial cell size",
    "bare nuclei",
    "bland chromatin",
    "normal nucleoli",
    "mitoses",
)


def wisconsin(data: Path) -> Cohort:
    """Wisconsin breast cytology (Wolberg and Mangasarian 1990): 699 aspirates, 241 malignant, no patient id left.

    All fields are scores from 1 to 10, so many rows are equal without being one patient: duplicates are kept.
    """
    names = [label.replace(" ", "_") for label in WISCONSIN]
    path = data / "ehr/uci_small/breast-cancer-wisconsin.csv"
    frame = pl.read_csv(path, has_header=False, new_columns=[*names, "diagnosis"], null_values="?")
    diagnosis = pl.when(pl.col("diagnosis") == 4).then(pl.lit("malignant")).otherwise(pl.lit("benign"))
    fields = [number((name, label, "{score}", 1, 10)) for name, label in zip(names, WISCONSIN, strict=True)]
    fields.append(target("diagnosis", "histology", ("benign", "malignant")))
    return Cohort.of(frame.with_columns(diagnosis=diagnosis), fields, name="wisconsin-cytology")


# -------------------------------------------------------------------------------------------------------- Diabetes-130
GONE = (11, 13, 14, 19, 20, 21)  # died or to hospice: they cannot be readmitted (Strack et al. 2014)
DIABETES: tuple[Number, ...] = (
    ("time_in_hospital", "length of stay", "d", 1, 14),
    ("num_lab_procedures", "laboratory tests", "1", 0, 200),
    ("num_procedures", "procedures other than laboratory tests", "1", 0, 20),
    ("num_medications", "distinct medications", "1", 0, 100),
    ("number_outpatient", "outpatient visits in the year before", "1", 0, 100),
    ("number_emergency", "emergency visits in the year before", "1", 0, 100),
    ("number_inpatient", "inpatient stays in the year before", "1", 0, 100),
    ("number_diagnoses", "diagnoses entered", "1", 1, 20),
)
CHAPTERS = (  # ICD-9 groups of Strack et al. 2014, table 2: (group, first, last, single codes)
    ("circulatory", 390, 459, 785),
    ("respiratory", 460, 519, 786),
    ("digestive", 520, 579, 787),
    ("genitourinary", 580, 629, 788),
    ("neoplasms", 140, 239, None),
    ("musculoskeletal", 710, 739, None),
    ("injury", 800, 999, None),
)
AGES = tuple(f"{decade}-{decade + 9}" for decade in range(0, 100, 10))
SPECIALTIES = 12  # the commonest, the rest are "other"


def icd9_chapter(column: str) -> pl.Expr:
    """The group of an ICD-9 code in text; 250.xx is diabetes, V and E codes and the rest are other."""
    code = pl.col(column).cast(pl.Float64, strict=False).floor()
    group = pl.when(code == 250).then(pl.lit("diabetes"))
    for name, first, last, single in CHAPTERS:
        group = group.when(code.is_between(first, last) | (code == (single or -1))).then(pl.lit(name))
    return group.when(pl.col(column).is_not_null()).then(pl.lit("other")).alias(column)


def diabetes130(data: Path) -> Cohort:
    """Diabetes in 130 US hospitals: encounters, readmission within 30 days against the rest, grouped by patient.

    Left out: stays that ended in death or hospice; weight (97 % missing) and payer (a proxy of wealth).
    """
    with zipfile.ZipFile(data / "ehr/diabetes130/dataset_diabetes.zip") as archive:
        raw = archive.read("dataset_diabetes/diabetic_data.csv")
    # "None" in the two test results means "not tested", a level of its own, so only "?" is missing
    frame = pl.read_csv(raw, infer_schema=False, null_values="?")
    frame = frame.filter(~pl.col("discharge_disposition_id").is_in([str(code) for code in GONE]))
    decade = pl.col("age").str.extract(r"\[(\d+)-").cast(pl.Int64) // 10
    common = frame["medical_specialty"].drop_nulls().value_counts(sort=True).head(SPECIALTIES)["medical_specialty"]
    specialty = pl.col("medical_specialty")
    discharge = pl.col("discharge_disposition_id")
    frame = frame.with_columns(
        *[icd9_chapter(name) for name in ("diag_1", "diag_2", "diag_3")],
        *[pl.col(name).cast(pl.Float64) for name, *_ in DIABETES],
        readmitted_30d=yes(pl.col("readmitted") == "<30"),
        sex=pl.col("gender").str.to_lowercase().replace("unknown/invalid", None),
        age=decade.cast(pl.String).replace_strict({str(i): age for i, age in enumerate(AGES)}),
        medical_specialty=pl.when(specialty.is_null() | specialty.is_in(common.to_list()))
        .then(specialty)
        .otherwise(pl.lit("other")),
        discharge=pl.when(discharge == "1")
        .then(pl.lit("home"))
        .when(discharge.is_in(["18", "25", "26"]))
        .then(None)
        .otherwise(pl.lit("elsewhere")),
        admission_type=_grouped("admission_type_id", {"1": "emergency", "2": "urgent", "3": "elective"}),
        admission_source=_grouped("admission_source_id", {"7": "emergency room", "1": "referral", "2": "referral"}),
    )
    used = ["race", "sex", "age", "diag_1", "diag_2", "diag_3", "medical_specialty", "discharge"]
    used += ["admission_type", "admission_source", "max_glu_serum", "A1Cresult", "change", "diabetesMed"]
    start = frame.columns.index("metformin")
    medicines = frame.columns[start : frame.columns.index("change")]
    used += [name for name in medicines if (frame[name] != "No").mean() >= 0.005]  # type: ignore[operator]
    fields = [*map(number, DIABETES)]
    for name in used:
        levels = AGES if name == "age" else sorted(frame[name].drop_nulls().unique().to_list())
        kind = "ordinal" if name == "age" else "category"
        fields.append(category(name, levels, name, kind=kind, sensitive=name in ("race", "sex", "age")))
    fields.append(target("readmitted_30d", "readmitted within 30 days"))
    return Cohort.of(frame, fields, subject=frame["patient_nbr"], row_id=frame["encounter_id"], name="diabetes-130")


def _grouped(column: str, groups: dict[str, str]) -> pl.Expr:
    unknown = {"admission_type_id": ["5", "6", "8"], "admission_source_id": ["9", "15", "17", "20", "21"]}[column]
    code = pl.col(column)
    named = code.replace_strict(groups, default="other", return_dtype=pl.String)
    return pl.when(code.is_in(unknown)).then(None).otherwise(named)


# ------------------------------------------------------------------------------------------------------ PhysioNet 2012
PHYSIONET: tuple[Number, ...] = (  # units and names of the Challenge (Silva et al. 2012); ranges: what can be
    ("ALP", "alkaline phosphatase", "[iU]/L", 1, 5000),
    ("ALT", "alanine transaminase", "[iU]/L", 1, 20000),
    ("AST", "aspartate transaminase", "[iU]/L", 1, 25000),
    ("Albumin", "albumin", "g/dL", 0.5, 7),
    ("BUN", "blood urea nitrogen", "mg/dL", 1, 300),
    ("Bilirubin", "bilirubin", "mg/dL", 0.05, 70),
    ("Cholesterol", "cholesterol", "mg/dL", 20, 800),
    ("Creatinine", "serum creatinine", "mg/dL", 0.1, 30),
    ("DiasABP", "diastolic arterial pressure, invasive", "mm[Hg]", 10, 200),
    ("FiO2", "inspired oxygen fraction", "1", 0.21, 1),
    ("GCS", "Glasgow coma score", "{score}", 3, 15),
    ("Glucose", "serum glucose", "mg/dL", 10, 2000),
    ("HCO3", "serum bicarbonate", "mmol/L", 2, 60),
    ("HCT", "haematocrit", "%", 5, 75),
    ("HR", "heart rate", "/min", 15, 300),
    ("K", "serum potassium", "mmol/L", 1, 12),
    ("Lactate", "lactate", "mmol/L", 0.1, 40),
    ("MAP", "mean arterial pressure, invasive", "mm[Hg]", 15, 220),
    ("MechVent", "mechanical ventilation", "1", 0, 1),
    ("Mg", "serum magnesium", "mg/dL", 0.3, 12),
    ("NIDiasABP", "diastolic pressure, cuff", "mm[Hg]", 10, 200),
    ("NIMAP", "mean pressure, cuff", "mm[Hg]", 15, 220),
    ("NISysABP", "systolic pressure, cuff", "mm[Hg]", 30, 300),
    ("Na", "serum sodium", "mmol/L", 95, 185),
    ("PaCO2", "arterial CO2 pressure", "mm[Hg]", 8, 150),
    ("PaO2", "arterial O2 pressure", "mm[Hg]", 15, 700),
    ("Platelets", "platelets", "10*3/uL", 1, 2000),
    ("RespRate", "respiratory rate", "/min", 2, 90),
    ("SaO2", "oxygen saturation", "%", 20, 100),
    ("SysABP", "systolic arterial pressure, invasive", "mm[Hg]", 30, 300),
    ("Temp", "temperature", "Cel", 25, 44),
    ("TroponinI", "troponin I", "ug/L", 0, 100),
    ("TroponinT", "troponin T", "ug/L", 0, 50),
    ("Urine", "urine output", "mL", 0, 5000),
    ("WBC", "leukocytes", "10*3/uL", 0.05, 500),
    ("Weight", "weight", "kg", 25, 350),
    ("pH", "arterial pH", "[pH]", 6.5, 8),
)
ICUS = ("coronary care", "cardiac surgery recovery", "medical", "surgical")
SUMMARIES: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "first": pl.Expr.first,
    "last": pl.Expr.last,
    "min": pl.Expr.min,
    "max": pl.Expr.max,
    "mean": pl.Expr.mean,
    "count": pl.Expr.len,
}


def physionet2012(data: Path) -> Cohort:
    """PhysioNet/CinC Challenge 2012, set A: 4000 ICU stays, 554 deaths in hospital, 48 hours summarised.

    Each parameter gives first, last, lowest, highest, mean and count of its plausible values. Length of stay and
    survival are outcomes, SAPS-I and SOFA came with them: none is an input.
    """
    folder = data / "ehr/physionet2012_set_a"
    long = pl.read_csv(folder / "long.csv.gz", schema_overrides={"Value": pl.Float64})
    general = ("Age", "Gender", "Height", "ICUType")
    limits = pl.DataFrame(
        [(name, low, high) for name, _, _, low, high in PHYSIONET],
        schema={"Parameter": pl.String, "low": pl.Float64, "high": pl.Float64},
        orient="row",
    )
    clock = pl.col("Time").str.split(":").list.eval(pl.element().cast(pl.Int64))
    values = (
        long.join(limits, on="Parameter")
        .filter(pl.col("Value").is_between(pl.col("low"), pl.col("high")))
        .with_columns(minute=clock.list.first() * 60 + clock.list.last())
        .sort("RecordID", "Parameter", "minute", maintain_order=True)
    )
    made = values.group_by("RecordID", "Parameter").agg(
        **{name: how(pl.col("Value")).cast(pl.Float64) for name, how in SUMMARIES.items()}
    )
    wide = made.pivot(on="Parameter", index="RecordID", values=list(SUMMARIES))
    static = long.filter(pl.col("Parameter").is_in(general) & (pl.col("Time") == "00:00"))
    wide = static.pivot(on="Parameter", index="RecordID", values="Value", aggregate_function="first").join(
        wide, on="RecordID", how="left"
    )
    outcomes = pl.read_csv(folder / "Outcomes-a.txt")
    frame = outcomes.select("RecordID", "In-hospital_death").join(wide, on="RecordID", how="left").sort("RecordID")
    fields = [number(("age", "age", "a", 15, 110)), number(("height", "height", "cm", 100, 230))]
    fields += [category("sex", ("female", "male"), "sex", sensitive=True), category("icu", ICUS, "type of ICU")]
    for name, label, unit, low, high in PHYSIONET:
        for how in SUMMARIES:
            if how == "count":
                frame = frame.with_columns(pl.col(f"count_{name}").fill_null(0.0))
                fields.append(number((f"{name}_count", f"{label}: values in 48 h", "1", 0, 10_000)))
            else:
                fields.append(number((f"{name}_{how}", f"{label}: {how} in 48 h", unit, low, high)))
            frame = frame.rename({f"{how}_{name}": f"{name}_{how}"})
    frame = frame.with_columns(
        from_codes("Gender", ("female", "male")),
        from_codes("ICUType", ICUS, first=1),
        died=yes(pl.col("In-hospital_death") == 1),
    ).rename({"Age": "age", "Height": "height", "Gender": "sex", "ICUType": "icu"})
    fields.append(target("died", "died in hospital"))
    ids = frame["RecordID"].cast(pl.String)
    return Cohort.of(frame, fields, subject=ids, row_id=ids, name="physionet-2012")


# --------------------------------------------------------------------------------------------------------------- Golub
def golub(data: Path) -> Cohort:
    """Golub leukaemia (1999): 72 patients, 7129 probes, acute myeloid (25) against lymphoblastic (47)."""
    with np.load(data / "omics/datamicroarray/golub.npz", allow_pickle=False) as arrays:
        x, y = arrays["x"].astype(np.float64), arrays["y"]
    names = [f"probe_{i:04d}" for i in range(x.shape[1])]
    frame = pl.DataFrame(x, schema=names).with_columns(leukaemia=pl.Series(y.tolist()))
    fields = [Field(name, "number", unit="1") for name in names]
    return Cohort.of(frame, [*fields, target("leukaemia", "acute leukaemia", ("ALL", "AML"))], name="golub-leukaemia")
