"""The demos: plans whose answers stand side by side — released, refused, not enough evidence; with and without a
shortcut in the images."""

from __future__ import annotations

import csv
import io
import shutil
import time
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.workspace import Workspace
from bedside.errors import MissingExtra
from bedside.plan.actions.work import Progress
from bedside.plan.api import run
from bedside.plan.conduct.outcome import Outcome
from bedside.synth import phantom2d
from bedside.synth.admissions import simulate
from bedside.synth.export import write_csv, write_images

ROWS = 24_000
PATIENTS, SIDE = 2_000, 64  # about 1000 test images, 400 of them with the finding
SHORTCUT = 1.0
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


def demo_images(workspace: Workspace, *, threads: int | None = None, progress: Progress | None = None) -> list[Shown]:
    """One plan on simulated chest radiographs with a planted shortcut, and on the same without it.

    Raises MissingExtra without the extra `imaging`, before anything is simulated.
    """
    if any(find_spec(name) is None for name in ("torch", "lightning_fabric", "safetensors", "PIL")):
        raise MissingExtra("imaging", "the demo on images")
    folder = workspace.home / "demo"
    shown = []
    for title, name, shortcut in (
        ("simulated chests, a marker goes with the finding", "chest-with-shortcut", SHORTCUT),
        ("the same without the marker", "chest", 0.0),
    ):
        started = time.monotonic()
        if progress is not None:
            progress("simulate radiographs", "start", 0.0)
        plan = chests(folder / name, shortcut=shortcut)
        if progress is not None:
            progress("simulate radiographs", "done", time.monotonic() - started)
        outcome = run(plan, home=workspace.home, threads=threads, progress=progress)
        shown.append(Shown(title, plan, outcome))
    return shown


def chests(folder: Path, *, shortcut: float, patients: int = PATIENTS) -> Path:
    """Simulated chest radiographs as PNG files with their label table, and the plan; returns the plan's path."""
    make_folder(folder)
    images = folder / "chest"
    if images.is_dir():
        shutil.rmtree(images)  # what an interrupted or another demo left
    cohort = phantom2d.simulate(patients, SEED, size=SIDE, finding="effusion", shortcut=shortcut)
    write_images(cohort, images, "SIMULATED by bedside.synth.phantom2d: nobody in these images ever lived.")
    return recipe("demo-chest", folder)


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
