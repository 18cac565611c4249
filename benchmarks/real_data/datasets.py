"""Two real data sets that are no table yet, made one: events summarised, an array of expression written out.

The files lie outside the repository and are never copied into it. All else about an analysis is in its recipe.
"""

from __future__ import annotations

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
