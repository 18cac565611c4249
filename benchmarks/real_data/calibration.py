"""Does calibrating boosted trees pay? Log loss on rows that had no say, within development parts only.

    python benchmarks/real_data/calibration.py --data ../shared/data --work DIR [--repeats 5]

The recipe's test rows are set aside and never looked at. What remains is split by patient, `repeats` times, into train,
search, calibrate and judged rows as the recipe would; LightGBM is fitted with its defaults, and each way to calibrate
is judged on the judged rows: mean log loss, its difference from no calibration with a standard error over repeats
(which share rows, so that it is a guide and no test), observed : expected events, and the calibration slope.
"""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from results import SOURCES

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.split import hold_out
from bedside.cohort.workspace import Workspace
from bedside.evidence.metrics.calibration import calibration_slope, oe_ratio
from bedside.models.calibrate import fit_calibration
from bedside.models.pipeline import Pipeline
from bedside.models.task import Classify
from bedside.plan import actions
from bedside.plan.actions.splitting import final_fold, get_split
from bedside.plan.file.plan import Plan, load_plan

WAYS = ("none", "intercept", "sigmoid", "beta", "isotonic")


def development(recipe: str, data: Path, work: Path) -> tuple[Cohort, Plan, Classify]:
    """The rows of a recipe that are not its (first fold's) test rows, cleaned, with its plan and task."""
    (source,) = [each for each in SOURCES if each.recipe == recipe]
    folder = work / recipe
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        source.lay(data, folder)
    text = resources.files("bedside.recipes").joinpath(f"{recipe}.yaml").read_text()
    (folder / f"{recipe}.yaml").write_text(text)
    plan, _ = load_plan(folder / f"{recipe}.yaml")
    workspace = Workspace(work / "home")
    bench = actions.Bench(workspace.store, workspace.cache / "scratch", 1)
    read = actions.read(bench, plan, folder / plan.cohort.path, folder)
    cohort = actions.clean(bench, plan, read["cohort"])["cohort"]
    kept = actions.split(bench, plan, cohort)
    fold = get_split(bench, kept).folds[0]
    rows = np.sort(np.concatenate([fold.train, fold.tune]))
    task = actions.make_task(bench.cohort(cohort), plan.task)
    if not isinstance(task, Classify):
        raise SystemExit(f"{recipe} does not classify")
    return bench.cohort(cohort).take(rows), plan, task


def calibrated(way: str, p: np.ndarray, y: np.ndarray, new: np.ndarray, task: Classify) -> np.ndarray:
    """New probabilities calibrated on (p, y)."""
    made, _ = fit_calibration(way, np.column_stack([1 - p, p]), y, task)
    return made.apply(np.column_stack([1 - new, new]))[:, 1]


def main() -> None:
    """Print one table a recipe."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--work", type=Path, required=True)
    asked.add_argument("--repeats", type=int, default=5)
    asked.add_argument("--only", nargs="+", default=["physionet-2012", "diabetes-130"])
    given = asked.parse_args()
    for recipe in given.only:
        cohort, plan, task = development(recipe, given.data, given.work)
        losses: dict[str, list[float]] = {way: [] for way in WAYS}
        pooled: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
        truth, subjects, sizes = [], [], []
        for seed in range(given.repeats):
            outer = hold_out(cohort, test=0.2, tune=0, by="subject", stratify=task.target, seed=seed).folds[0]
            rest, judged = cohort.take(outer.train), cohort.take(outer.test)
            held = final_fold(rest, plan.model_copy(update={"split": plan.split.model_copy(update={"seed": seed})}),
                              task.target)  # fmt: skip
            calibrate = rest.take(held.calibrate)
            with TemporaryDirectory() as folder:
                made = Pipeline("lightgbm", calibration="none", threshold=0.5).fit(
                    rest.take(held.train), rest.take(held.search), None, task=task,
                    run=Run(Path(folder), seed=seed, threads=1),
                )  # fmt: skip
            p, y = made.predict(calibrate).score, task.truth(calibrate).astype(np.int64)
            new, outcome = made.predict(judged).score, task.truth(judged).astype(np.float64)
            for way in WAYS:
                q = np.clip(calibrated(way, p, y, new, task), 1e-6, 1 - 1e-6)
                losses[way].append(float(-(outcome * np.log(q) + (1 - outcome) * np.log1p(-q)).mean()))
                pooled[way].append(q)
            truth.append(outcome)
            subjects.append([f"{seed}:{each}" for each in judged.frame["subject"].to_list()])
            sizes.append((len(calibrate), int(y.sum()), made.model.learnt.estimator.num_trees()))
        print(f"\n{recipe}: {len(cohort)} development rows, {given.repeats} repeats, {sizes[0][0]} to calibrate on")
        print(f"events there and trees by repeat: {[size[1:] for size in sizes]}\n")
        print("| calibration | log loss | minus none | O : E | slope |\n| --- | --- | --- | --- | --- |")
        for way in WAYS:
            gap = np.array(losses[way]) - np.array(losses["none"])
            y_all, q_all = np.concatenate(truth), np.concatenate(pooled[way])
            oe, slope = oe_ratio(y_all, q_all), calibration_slope(y_all, q_all)
            error = gap.std(ddof=1) / np.sqrt(len(gap))
            loss, gained = f"{np.mean(losses[way]):.5f}", f"{gap.mean():+.5f} ± {error:.5f}"
            print(f"| {way} | {loss} | {gained} | {oe.value:.3f} | {slope.value:.3f} |")


if __name__ == "__main__":
    main()
