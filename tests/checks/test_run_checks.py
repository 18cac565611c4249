"""What every check keeps: the glossary knows its ids, JSON round trips, and nothing but the data decides the digest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bedside.checks import default_checks, run_checks
from bedside.cohort import plugins
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import PlanError
from bedside.evidence import glossary
from bedside.evidence.estimate import Evidence
from bedside.models.pipeline import Pipeline

SPECS = ["leakage", "baseline", "explain", {"optimism": 3}, "shuffled_labels"]


def everything(case, run: Run, **more) -> list[Evidence]:
    """All checks of the task, with a pipeline, a baseline and a procedure."""
    name = "ridge" if case.task.kind == "regress" else "logistic"

    def fit(cohort, seed):
        pipeline = Pipeline(name, calibration="none", threshold={"value": 0.3})
        return pipeline.fit(cohort, None, None, task=case.task, run=Run(run.folder, seed=seed))

    given = {
        "seed": 5,
        "model": fit(case.cohort, 0),
        "fit": fit,
        "reference": {"logistic": fit(case.cohort, 1).predict(case.cohort)},
    }
    return run_checks(
        [*default_checks(case.task), *SPECS], case.predictions, case.cohort, task=case.task, **{**given, **more}
    )


@pytest.fixture(scope="module")
def found(binary, multiclass, number, tmp_path_factory) -> list[Evidence]:
    run = Run(tmp_path_factory.mktemp("run"))
    hard = binary.take(np.arange(8))  # next to nothing can be known
    return [piece for case in (binary, multiclass, number, hard) for piece in everything(case, run)]


def test_every_check_is_in_the_catalogue_with_its_contract():
    for name in plugins.catalogue("checks"):
        check = plugins.load("checks", name)
        assert check.name == name
        assert check.needs in ("predictions", "model", "refit")
        assert check.looks_at in ("outcome", "groups", "inputs")
        assert set(check.tasks) <= {"classify", "multilabel", "regress"}
        assert check()  # every parameter has a default


def test_every_id_is_in_the_glossary_in_both_languages(found):
    lacking = set()
    for piece in found:
        ids = {item.metric for item in piece.estimates} | {item.method for item in piece.estimates}
        ids |= {item.why_not for item in piece.estimates} | {item.id for item in piece.figures}
        lacking |= {key for key in ids - {None} if key not in glossary.terms()}
        for item in piece.findings:
            for lang in ("en", "zh"):
                shown = glossary.text(item.id, lang, **item.values)
                assert "{" not in shown
            assert re.search(r"[\u4e00-\u9fff]", shown)
    assert lacking == set()


def test_every_finding_written_in_the_code_is_in_the_glossary():
    import bedside.checks

    folder = Path(bedside.checks.__file__).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    written = set(
        re.findall(
            r'"((?:why|leak|baseline|risks|missing|subgroups?|validation|development|optimism'
            r'|shuffled_labels|explained_by|contributions|worse_than|check)_[a-z_]+)"',
            source,
        )
    )
    unknown = {key for key in written if key not in glossary.terms()}
    assert unknown <= {"development_size", "missing_by_field"} | set(plugins.catalogue("checks"))


def test_metrics_declared_are_those_estimated(found):
    for piece in found:
        declared = plugins.load("checks", piece.check).metrics
        if piece.check != "baseline":
            assert {item.metric for item in piece.estimates} <= set(declared), piece.check


def test_evidence_survives_json(found):
    for piece in found:
        again = Evidence.from_json(json.loads(json.dumps(piece.to_json())))
        assert again.digest == piece.digest


def test_no_number_without_n_and_interval_unless_it_is_exact(found):
    for piece in found:
        for item in piece.estimates:
            assert item.n_rows is not None and item.n_subjects is not None, (piece.check, item)
            assert item.value is None or item.exact or item.low <= item.value <= item.high, (piece.check, item)


def test_no_identity_in_the_evidence(binary, found):
    ids = set(binary.cohort["row_id"]) | set(binary.cohort["subject"])
    for piece in found:
        assert not ids & set(re.findall(r'"([^"]*)"', json.dumps(piece.to_json())))


def test_same_seed_same_digest_and_names_of_subjects_do_not_matter(clustered, run):
    once = everything(clustered, run)
    renamed = clustered.cohort.frame.with_columns(
        (pl.lit("patient ") + pl.col("subject").str.reverse()).alias("subject")
    )
    other = type(clustered)(clustered.cohort.derive(renamed), clustered.task, clustered.predictions)
    for first, second, third in zip(once, everything(clustered, run), everything(other, run), strict=True):
        assert first.digest == second.digest == third.digest, first.check


def test_the_recomputable_checks_need_only_what_a_release_keeps(clustered):
    """Outcome and groups with keyed ids give the same evidence: what `verify` relies on."""
    from bedside.plan.release.rows import keyed_rows

    kept = keyed_rows(clustered.cohort, ["died", "age", "sex"], b"key")
    frame = clustered.predictions.frame.with_columns(kept["row_id"].alias("row_id"))
    keyed = type(clustered)(kept, clustered.task, type(clustered.predictions)(clustered.task, frame))
    for spec in [*default_checks(clustered.task), "baseline"]:
        if plugins.load("checks", spec).looks_at != "inputs":
            assert keyed.check(spec).digest == clustered.check(spec).digest, spec


def test_patients_entered_twice_do_not_narrow_the_intervals(binary):
    """Each row twice under its own subject: the clustered intervals stay; as new patients they would shrink."""
    twice = np.repeat(np.arange(400), 2)
    frame = binary.cohort.frame[twice].with_columns(pl.Series("row_id", [str(i) for i in range(800)]))
    doubled = binary.predictions.frame[twice].with_columns(frame["row_id"])
    case = type(binary)(binary.cohort.derive(frame), binary.task, type(binary.predictions)(binary.task, doubled))
    for metric in ("auroc", "brier", "sensitivity"):
        once, both = (each.check("performance").find(metric) for each in (binary, case))
        assert both.value == pytest.approx(once.value, abs=1e-12)
        assert both.high - both.low == pytest.approx(once.high - once.low, rel=0.02)


def test_shuffled_outcomes_hold_a_half(make_binary):
    # 4000 rows, level 0.9999: a right interval misses 0.5 once in 10⁴, and the seed is fixed.
    case = make_binary(4000, 7)
    labels = pl.Series(np.random.default_rng(0).permutation(case.cohort["died"].to_numpy()), dtype=pl.String)
    shuffled = type(case)(case.cohort.with_columns({"died": labels}), case.task, case.predictions)
    item = shuffled.check("performance", level=0.9999).find("auroc")
    assert item.low <= 0.5 <= item.high and item.high - item.low < 0.12


def test_what_cannot_be_asked_is_left_out_and_said(binary, number):
    left = binary.check("explain")
    assert [(item.id, item.severity) for item in left.findings] == [("check_needs_model", "info")]
    assert [item.id for item in number.check("utility").findings] == ["check_not_for_task"]
    with pytest.raises(PlanError, match="explain"):
        binary.check("explain", strict=True)
    with pytest.raises(PlanError, match="did you mean"):
        binary.check("performence")


def test_checks_of_two_classes_say_so_for_three(multiclass):
    for name in ("utility", "thresholds", "sample_size", "development_size"):
        assert [item.id for item in multiclass.check(name).findings] == ["check_needs_two_classes"]


def test_checks_load_no_model_library():
    import subprocess
    import sys

    code = (
        "import sys\nfrom bedside.cohort import plugins\n"
        "[plugins.load('checks', name) for name in plugins.catalogue('checks')]\n"
        "print([name for name in ('sklearn', 'lightgbm', 'shap', 'scipy', 'pandas') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "hostile", ["one row", "one patient", "two rows", "certain", "constant", "one class", "empty input", "weights"]
)
def test_hostile_predictions_are_answered_not_crashed_on(make_binary, hostile):
    case = make_binary(60)
    n = {"one row": 1, "two rows": 2}.get(hostile, 60)
    rows = np.flatnonzero(case.y == 0) if hostile == "one class" else np.arange(n)
    case = case.take(rows)
    frame = case.cohort.frame
    if hostile == "one patient":
        frame = frame.with_columns(pl.lit("same").alias("subject"))
    if hostile == "empty input":
        frame = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("marker"))
    cohort = case.cohort.derive(frame)
    if hostile == "weights":
        weights = pl.Series(np.arange(60) % 3 + 0.5)
        cohort = cohort.with_columns({"w": weights}, [Field("w", "number", ("weight",))])
    p = case.p
    if hostile == "certain":
        p = case.y.astype(float)
    if hostile == "constant":
        p = np.full(len(p), 0.5)
    made = case.predictions.with_columns(**{"p:yes": p, "p:no": 1 - p})
    changed = type(case)(cohort, case.task, made)
    reference = {"other": case.predictions}
    for spec in [*default_checks(case.task), "leakage", "baseline"]:
        found = changed.check(spec, reference=reference)
        assert Evidence.from_json(found.to_json()).digest == found.digest
        assert {item.why_not for item in found.estimates} - {None} <= set(glossary.terms())


def test_weights_are_those_of_the_field_with_that_role(binary):
    from sklearn import metrics as sk

    weights = np.random.default_rng(0).uniform(0.1, 3, 400)
    cohort = binary.cohort.with_columns({"w": pl.Series(weights)}, [Field("w", "number", ("weight",))])
    found = type(binary)(cohort, binary.task, binary.predictions).check("performance")
    assert found.find("auroc").value == pytest.approx(sk.roc_auc_score(binary.y, binary.p, sample_weight=weights))
    brier = np.average((binary.p - binary.y) ** 2, weights=weights)
    assert found.find("brier").value == pytest.approx(brier)
