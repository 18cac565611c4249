"""The ready plans: each can be carried out as it stands, and on real data says what is known and what is not."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import pytest

from bedside.plan.api import run
from bedside.plan.file.plan import load_plan
from bedside.plan.file.refuse import refuse_bad_plan

RECIPES = sorted(
    (Path(str(item)) for item in resources.files("bedside.recipes").iterdir() if item.name.endswith(".yaml")),
    key=lambda path: path.name,
)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_carried_out(recipe: Path) -> None:
    plan, document = load_plan(recipe)
    refuse_bad_plan(plan, document)
    assert plan.release is not None and plan.declared_gates()
    assert "://" not in plan.cohort.path and "/" not in plan.cohort.path  # the table lies beside the plan


@pytest.mark.slow
def test_pima_is_too_small_for_its_gates(shared_data: Path, tmp_path: Path) -> None:
    shutil.copy(shared_data / "ehr/uci_small/pima-indians-diabetes.csv", tmp_path)
    recipe = next(path for path in RECIPES if path.stem == "pima")
    outcome = run(shutil.copy(recipe, tmp_path), home=tmp_path / "home", threads=1)
    assert outcome.exit_code == 3 and outcome.release is not None
    # Smith et al. 1988 and every later user: 268 of 768; the zeros of insulin alone are 374
    performance = next(piece for piece in outcome.evidence if piece.check == "performance")
    auroc = performance.find("auroc")
    assert auroc is not None and (auroc.n_rows, auroc.n_events) == (768, 268)
    assert 0.79 <= auroc.value <= 0.87
    cleaned = next(piece for piece in outcome.evidence if piece.check.startswith("clean"))
    removed = {
        (each.at or {}).get("field"): each.value
        for each in cleaned.estimates
        if (each.at or {}).get("step") == "missing_codes"
    }
    assert removed["insulin"] == 374 and removed["glucose"] == 5 and removed["bmi"] == 11
    undecided = [each for each in outcome.judgements if each.verdict == "not_enough"]
    assert undecided and any(each.n_deciding is not None and each.n_deciding > 768 for each in undecided)
