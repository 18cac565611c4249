"""The demo: three plans whose answers stand side by side — released, refused, not enough evidence."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.workspace import Workspace
from bedside.plan.actions.work import Progress
from bedside.plan.api import run
from bedside.plan.conduct.outcome import Outcome
from bedside.synth.admissions import simulate
from bedside.synth.export import write_csv

ROWS = 24_000
SEED = 7


@dataclass(frozen=True)
class Shown:
    """One of the demo's plans: what it is, where its plan lies, and what came of it."""

    title: str
    plan: Path
    outcome: Outcome


def demo(workspace: Workspace, *, threads: int | None = None, progress: Progress | None = None) -> list[Shown]:
    """Write the demo's data and plans below the workspace, and carry them out."""
    folder = workspace.home / "demo"
    shown = []
    for title, plan in (
        ("simulated admissions", admissions(folder / "admissions", leak=False)),
        ("the same with a planted leak", admissions(folder / "admissions-with-leak", leak=True)),
        ("breast cancer, 569 patients", breast_cancer(folder / "breast-cancer")),
    ):
        outcome = run(plan, home=workspace.home, threads=threads, progress=progress)
        shown.append(Shown(title, plan, outcome))
    return shown


def admissions(folder: Path, *, leak: bool) -> Path:
    """Simulated admissions as CSV with its data dictionary, and the plan; returns the plan's path."""
    make_folder(folder)
    write_csv(simulate(ROWS, SEED, leak=leak), folder / "admissions.csv")
    return recipe("demo-admissions", folder)


def breast_cancer(folder: Path) -> Path:
    """scikit-learn's breast cancer table as CSV, and the plan; returns the plan's path."""
    from sklearn.datasets import load_breast_cancer

    make_folder(folder)
    data = load_breast_cancer()
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*(name.replace(" ", "_") for name in data.feature_names), "diagnosis"])
    for row, label in zip(data.data, data.target, strict=True):
        writer.writerow([*(repr(float(value)) for value in row), data.target_names[label]])
    atomic_write(folder / "breast_cancer.csv", text.getvalue().encode())
    return recipe("demo-breast-cancer", folder)


def recipe(name: str, folder: Path) -> Path:
    """Copy a ready plan into a folder as plan.yaml; returns its path."""
    data = resources.files("bedside.recipes").joinpath(f"{name}.yaml").read_bytes()
    atomic_write(folder / "plan.yaml", data)
    return folder / "plan.yaml"
