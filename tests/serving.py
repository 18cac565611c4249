"""What the tests of the service share: a workspace with releases, a running service, and a caller of each role."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI

import bedside
from bedside.cohort.manifest import manifest
from bedside.cohort.workspace import Workspace
from bedside.evidence.signing import Envelope
from bedside.models.example_images import example_images
from bedside.plan.release.layout import SIGNATURE
from bedside.serve.config import ServeConfig
from bedside.serve.database import Database
from bedside.serve.limits import watched
from bedside.serve.registry import TABLE as VERIFIED
from bedside.serve.service import Service
from bedside.synth.admissions import simulate

TABLE: dict[str, Any] = {
    "task": {"classify": "died_in_hospital", "risk": "high"},
    "split": {"by": "subject", "test": 0.3, "seed": 3},
    "baseline": ["majority"],
    "checks": ["performance"],
    "gates": {"auroc": {"at_least": 0.6}},
}
IMAGES = """
plan: 1
name: pictures
cohort:   {read: images, path: blobs, labels: labels.csv, target: blob, subject: subject}
task:     {classify: blob, positive: "yes", risk: high}
split:    {by: subject, test: 0.35, tune: 0.3, stratify: blob, seed: 7}
steps:    [image_statistics, scale]
model:    logistic
checks:   [performance]
release:  {as: pictures, stage: research}
"""


def plan(name: str, model: Any, stage: str) -> dict[str, Any]:
    """A small plan on simulated admissions that reaches a stage."""
    return {**TABLE, "name": name, "model": model, "release": {"as": name, "stage": stage}}


def make_images(folder: Path, n: int = 90) -> Path:
    """Example images with their labels and a plan; the plan's path."""
    cohort = example_images(n)
    if cohort.files is None:
        pytest.fail("example images have no files")
    (folder / "blobs").mkdir(parents=True)
    with (folder / "blobs" / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "blob", "subject"])
        for name, digest, blob, subject in cohort.frame.select("row_id", "image", "blob", "subject").iter_rows():
            (folder / "blobs" / f"{name}.png").write_bytes(cohort.files.get(manifest(cohort.files, digest).items[0]))
            writer.writerow([f"{name}.png", blob, subject])
    (folder / "plan.yaml").write_text(IMAGES)
    return folder / "plan.yaml"


def make_releases(home: Path) -> None:
    """Four releases: `linear` and `trees` at assist, `quiet` at shadow, `pictures` (of images) at research."""
    admissions = simulate(2500, seed=5)
    for name, model, stage in (
        ("linear", "logistic", "assist"),
        ("trees", {"name": "lightgbm", "rounds": 40}, "assist"),
        ("quiet", {"name": "logistic", "C": 0.1}, "shadow"),
    ):
        made = bedside.run(plan(name, model, stage), admissions, home=home, threads=1)
        if made.decision.stage != stage:
            pytest.fail(f"{name} reached {made.decision}")
    made = bedside.run(make_images(home.parent / "images"), home=home, threads=1)
    if made.release is None:
        pytest.fail(f"the image plan was refused: {made.decision}")
    # Just made here: their `bedside verify`, four seconds each, is asked in test_registry alone.
    database = Database(Workspace(home).service_url)
    with database.begin() as connection:
        for folder in (home / "releases").iterdir():
            digest = json.loads(Envelope.from_bytes((folder / SIGNATURE).read_bytes()).payload)["predicate"]["release"]
            connection.execute(sa.insert(VERIFIED).values(release=digest, version=bedside.__version__, ok=True))
    database.close()


@dataclass(frozen=True)
class Node:
    """A running service and where it listens."""

    app: FastAPI
    address: str

    @property
    def service(self) -> Service:
        """Its parts."""
        found: Service = self.app.state.service
        return found

    def caller(self, *roles: str, name: str | None = None) -> httpx.Client:
        """A client signed in with these roles."""
        cookie, session = self.service.sessions.open(name or "-".join(roles) or "nobody", roles)
        headers = {"x-csrf-token": session.csrf, "cookie": f"bedside={cookie}"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=30)


@contextmanager
def running(app: FastAPI, config: ServeConfig) -> Iterator[Node]:
    """The application behind a real server on a free port, its releases loaded."""
    settings = uvicorn.Config(
        app, host=config.host, port=0, http=watched(config.limits.header_seconds), ws="none", log_config=None
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    service: Service = app.state.service
    try:
        for _ in range(1200):
            if server.started and service.ready:
                break
            threading.Event().wait(0.05)
        else:
            pytest.fail("the service did not become ready")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Node(app, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(30)


def shared_home(factory: pytest.TempPathFactory) -> Path:
    """A workspace with releases, made once for all of pytest's processes. Read it, do not change it."""
    root = factory.getbasetemp()
    root = root.parent if root.name.startswith("popen-") else root
    place = root / "serving"
    workspace = Workspace(place / "home")
    with workspace.lock("made"):
        if not (place / "made").exists():
            make_releases(workspace.home)
            (place / "made").touch()
    return workspace.home
