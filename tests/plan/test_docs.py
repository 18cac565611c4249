"""The documentation says what the code does: its examples are plans, its tables name all there is."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from bedside.cli import app
from bedside.cohort import plugins
from bedside.cohort.schema import ROLES
from bedside.evidence.estimate import Estimate
from bedside.evidence.gates import STAGES
from bedside.evidence.policy import POLICIES
from bedside.intake.tables import Tables
from bedside.models.calibrate import METHODS
from bedside.models.threshold import RULES
from bedside.plan.file.defaults import ALWAYS
from bedside.plan.file.plan import Plan, ReleaseSpec, SearchSpec, SplitSpec, TaskSpec, json_schema, parse_plan
from bedside.plan.file.refuse import refuse_bad_plan
from bedside.plan.release import contents

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RECIPES = sorted((ROOT / "src" / "bedside" / "recipes").glob("*.yaml"))


def blocks(name: str, language: str = "yaml") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)


def said(name: str) -> set[str]:
    """Every word that stands in code in a page."""
    text = (DOCS / name).read_text(encoding="utf-8")
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    return {word for each in code for word in re.findall(r"[\w.]+", each)}


def merged(part: str) -> str:
    """A part of a plan put into the whole example."""
    (whole,) = [block for block in blocks("plan.md") if block.startswith("plan: 1")]
    return yaml.safe_dump({**yaml.safe_load(whole), **yaml.safe_load(part)}, sort_keys=False)


def test_the_published_schema_is_current() -> None:
    printed = CliRunner().invoke(app, ["schema"]).stdout
    assert json.loads(printed) == json_schema()
    kept = (DOCS / "schemas" / "plan.schema.json").read_text(encoding="utf-8")
    assert kept == printed, "bedside schema > docs/schemas/plan.schema.json"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_schema_takes_every_recipe(recipe: Path) -> None:
    errors = Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(recipe.read_text(encoding="utf-8")))
    assert [error.message for error in errors] == []


def test_the_schema_refuses_what_a_plan_may_not_say() -> None:
    plan = yaml.safe_load(RECIPES[0].read_text(encoding="utf-8"))
    validator = Draft202012Validator(json_schema())
    assert not validator.is_valid({**plan, "modle": "logistic"})
    assert not validator.is_valid({**plan, "split": {"folds": 1}})


def test_the_whole_example_is_a_plan() -> None:
    (whole,) = [block for block in blocks("plan.md") if block.startswith("plan: 1")]
    plan, document = parse_plan(whole, "docs/plan.md")
    refuse_bad_plan(plan, document)
    assert Draft202012Validator(json_schema()).is_valid(yaml.safe_load(whole))
    assert set(yaml.safe_load(whole)) == set(Plan.model_fields) - {"search", "actions"}


def fragments() -> list[str]:
    """Everything in code on the page that reads as a key of a plan with its value, gates and clean steps included."""
    text = (DOCS / "plan.md").read_text(encoding="utf-8")
    gates, cleans = (text[text.index(f"### `{key}`") :].split("\n### ")[0] for key in ("gates", "clean"))
    out = []
    for code in re.findall(r"`([^`\n]+)`", text):
        try:
            value = yaml.safe_load(code)
        except yaml.YAMLError:
            continue
        if isinstance(value, dict) and set(value) <= set(Plan.model_fields) - {"plan"}:
            out.append(code)
    for code in re.findall(r"^\| `(\w+: [^`]+)` \|", gates, re.MULTILINE):
        out.append(f"gates: {{{code}}}")
    for name, row in re.findall(r"^\| `(\w+)` \|(.*)\|$", cleans, re.MULTILINE):
        out += [f"clean: [{{{name}: {code}}}]" for code in re.findall(r"`([{\[][^`]+[}\]])`", row)]
    return out


@pytest.mark.parametrize("part", fragments())
def test_what_the_page_says_in_passing_can_be_said(part: str) -> None:
    plan, document = parse_plan(merged(part))
    refuse_bad_plan(plan, document)


def test_there_is_much_said_in_passing() -> None:
    keys = {part.split(":")[0] for part in fragments()}
    assert len(fragments()) >= 15 and {"gates", "clean", "model", "search"} <= keys


def test_the_tables_name_all_there_is() -> None:
    words = said("plan.md")
    expected: dict[str, Any] = {
        "keys": Plan.model_fields,
        "task": TaskSpec.model_fields,
        "split": SplitSpec.model_fields,
        "search": SearchSpec.model_fields,
        "release": {field.alias or name for name, field in ReleaseSpec.model_fields.items()},
        "reader": inspect.signature(Tables).parameters,
        "roles": set(ROLES) - {"input"},
        "calibration": METHODS,
        "threshold": RULES,
        "checks": plugins.catalogue("checks"),
        "steps": {name.removeprefix("clean.") for name in plugins.catalogue("steps")},
        "readers": plugins.catalogue("readers"),
        "always": ALWAYS,
        "stages": STAGES,
        "policies": {word for name in POLICIES for word in name.split("-")},
    }
    for what, names in expected.items():
        assert not set(names) - words, what


def test_the_parameters_of_every_check_are_named() -> None:
    table = (DOCS / "plan.md").read_text(encoding="utf-8").split("\n### `checks`")[1].split("\n### ")[0]
    for name in plugins.catalogue("checks"):
        (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", table, re.MULTILINE)
        named = set(re.findall(r"`(\w+)`", row.rsplit("|", 1)[1]))
        assert named == set(inspect.signature(plugins.load("checks", name)).parameters), name


def test_the_evidence_page_names_fields_stages_and_files() -> None:
    words = said("evidence.md")
    assert not set(Estimate.__dataclass_fields__) - words
    assert not set(STAGES) - words
    listed = re.findall(r"^([\w./]+)  ", contents.__doc__ or "", re.MULTILINE)
    assert len(listed) >= 14 and not {name.rstrip("/") for name in listed} - words
