"""A plan says what it must, or is refused with the line."""

from __future__ import annotations

import pytest

from bedside.errors import PlanError
from bedside.plan.file.defaults import baselines, checks_of
from bedside.plan.file.plan import Plan, parse_plan
from bedside.plan.file.refuse import refuse_bad_plan

GOOD = """\
plan: 1
name: sepsis
cohort: {read: tables, path: sepsis.csv, subject: patient}
task: {classify: died, positive: yes}
split: {by: subject, test: 0.3, seed: 7}
model: {name: logistic}
threshold: {choose: sensitivity, at_least: 0.9, on: tune}
checks:
  - performance
  - calibration
gates:
  auroc: {at_least: 0.8}
  calibration_slope: {between: [0.8, 1.2]}
release: {as: sepsis, stage: assist}
"""


def refusal(text: str) -> str:
    with pytest.raises(PlanError) as caught:
        plan, document = parse_plan(text, "plan.yaml")
        refuse_bad_plan(plan, document)
    return str(caught.value)


def test_a_good_plan_is_read_and_nothing_is_wrong_with_it() -> None:
    plan, document = parse_plan(GOOD, "plan.yaml")
    refuse_bad_plan(plan, document)
    assert plan.model.name == "logistic"
    assert [gate.id for gate in plan.declared_gates()] == ["auroc>=0.8", "calibration_slope>=0.8<=1.2"]


def test_words_that_yaml_takes_for_booleans_stay_the_keys_they_are() -> None:
    plan, _ = parse_plan(GOOD)
    assert plan.threshold == {"choose": "sensitivity", "at_least": 0.9, "on": "tune"}


def test_layout_and_comments_do_not_change_the_digest_but_content_does() -> None:
    plan, _ = parse_plan(GOOD)
    same, _ = parse_plan("# a comment\n" + GOOD.replace("{name: logistic}", "\n  name: logistic"))
    other, _ = parse_plan(GOOD.replace("0.3", "0.31"))
    assert plan.digest == same.digest != other.digest


def test_yaml_and_model_are_inverse() -> None:
    plan, _ = parse_plan(GOOD)
    again, _ = parse_plan(plan.to_yaml())
    assert again == plan and again.digest == plan.digest


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("name: sepsis\n", "name: sepsis\ncolour: red\n"), 3, "unknown key"),
        (("test: 0.3", "test: 1.3"), 5, "less than 1"),
        (("test: 0.3", "test: 0.3, folds: 5"), 5, "exclude each other"),
        (("{name: logistic}", "{name: logistik}"), 6, "did you mean logistic"),
        (("  - performance\n", "  - performanse\n"), 9, "performance"),
        (("auroc: {at_least: 0.8}", "aurok: {at_least: 0.8}"), 11, "no metric is called 'aurok'"),
        (("auroc: {at_least: 0.8}", "net_benefit: {at_least: 0.1}"), 12, "without its check"),
        (("auroc: {at_least: 0.8}", "worst_group: {sensitivity: 0.8}"), 12, "subgroups"),
        (("auroc: {at_least: 0.8}", "beats: {auroc: catboost}"), 12, "no baseline is called 'catboost'"),
        (("split:", "clean: [impute]\nsplit:"), 5, "fitted step"),
        (("split:", "split: {}\nsplit:"), 6, "given twice"),
        (("model:", "\tmodel:"), 6, "not valid YAML"),
        (("plan: 1", "plan: 2"), 1, ""),
        (("task: {classify: died, positive: yes}", "task: {positive: yes}"), 4, "exactly one"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_with_the_line(change: tuple[str, str], line: int, said: str) -> None:
    message = refusal(GOOD.replace(*change, 1))
    assert f"plan.yaml, line {line}" in message
    assert said in message


def test_a_group_gate_needs_a_declared_group_field() -> None:
    text = GOOD.replace("  - calibration\n", "  - subgroups\n").replace(
        "auroc: {at_least: 0.8}", "worst_group: {auroc: 0.7}"
    )
    text = text.replace("  calibration_slope: {between: [0.8, 1.2]}\n", "")
    assert "without a declared group field" in refusal(text)
    declared = text.replace("- subgroups", "- subgroups: {by: [sex]}")
    refuse_bad_plan(*parse_plan(declared))


def test_every_plan_has_a_baseline_and_the_integrity_checks() -> None:
    plan, _ = parse_plan(GOOD)
    assert list(baselines(plan)) == ["majority"]  # logistic regression is itself the model
    assert list(baselines(plan.model_copy(update={"model": plan.model.model_copy(update={"name": "lightgbm"})}))) == [
        "logistic"
    ]
    assert checks_of(plan)[-2:] == ["leakage", "baseline"]


def test_a_baseline_named_twice_gets_two_names() -> None:
    plan, _ = parse_plan(GOOD + "baseline: [logistic, {name: logistic, C: 0.1}]\n")
    assert list(baselines(plan)) == ["logistic", "logistic-2"]


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        *("", "- a\n- b\n", "just words", "a: &x [*x]\n", "!!python/object:os.system {}\n"),
        *("a: " + "[" * 3000, BOMB, "a: .inf\n", "a: .nan\n", "a: 123456789012345678901\n"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError):
        parse_plan(text)


def test_the_published_schema_accepts_the_plan() -> None:
    import jsonschema
    import yaml

    from bedside.plan.file.plan import json_schema

    jsonschema.validate(yaml.safe_load(GOOD.replace("on: tune", "'on': tune").replace("yes", "'yes'")), json_schema())
    assert isinstance(Plan.model_json_schema(), dict)
