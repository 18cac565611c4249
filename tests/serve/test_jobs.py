"""Jobs: batches and plans in a worker of their own; accepted is durable, killed is resumed, cancelled stops."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("dbos", reason="the extra serve is not installed")

from tests.serving import Node, running

from bedside.cohort.workspace import Workspace
from bedside.errors import PlanError
from bedside.serve import ServeConfig, create_app
from bedside.serve.batch import as_csv
from bedside.serve.plan_job import checked
from bedside.synth.admissions import simulate

SECONDS = 120
PLAN = """
plan: 1
name: by-job
cohort:  {read: tables, path: data.csv, target: died_in_hospital, subject: subject}
task:    {classify: died_in_hospital, risk: low}
split:   {by: subject, test: 0.3, seed: 3}
model:   logistic
checks:  [performance]
release: {as: by-job, stage: research}
"""


@pytest.fixture(scope="module")
def working(releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A service with its worker."""
    home = Path(shutil.copytree(releases, tmp_path_factory.mktemp("working") / "home"))
    config = ServeConfig(port=0, worker=True)
    with running(create_app(Workspace(home), config), config) as found:
        yield found


@pytest.fixture(scope="module")
def table() -> str:
    return simulate(2600, seed=9).frame.drop("died_in_hospital").write_csv()


def until(caller: httpx.Client, job: str, *states: str) -> dict[str, Any]:
    """The job once it is in one of these states."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found: dict[str, Any] = caller.get(f"/jobs/{job}.json").json()
        if found["state"] in states:
            return found
        time.sleep(0.1)
    raise TimeoutError(f"never {states}: {found}")


def enter(caller: httpx.Client, path: str, **what: Any) -> str:
    """A job's id, once it is taken: the worker makes the database when it starts."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        taken = caller.post(path, **what)
        if taken.status_code == 202:
            return str(taken.json()["job"])
        assert taken.status_code == 429, taken.text
        time.sleep(0.3)
    raise TimeoutError("the worker never came")


def batch(caller: httpx.Client, table: str) -> str:
    return enter(caller, "/jobs/batch?release=trees", content=table.encode(), headers={"content-type": "text/csv"})


def test_a_killed_worker_goes_on_and_every_row_is_answered_and_recorded_once(working: Node, table: str) -> None:
    with working.caller("clinician") as caller:
        job = batch(caller, table)
        until(caller, job, "running", "done")
        worker = working.service._worker
        assert worker is not None
        os.kill(worker.pid, signal.SIGKILL)
        done = until(caller, job, "done", "failed")
        assert done["error"] is None and done["result"]["rows"] == 2600
        assert done["progress"] == {"done": 2600, "of": 2600}
        rows = list(csv.DictReader(io.StringIO(caller.get(f"/jobs/{job}/result.csv").text)))
        assert [int(row["row"]) for row in rows] == list(range(2600))
        few = "\n".join(table.splitlines()[:3]).encode()
        asked = caller.post("/predict?release=trees", content=few, headers={"content-type": "text/csv"})
        assert asked.status_code == 200, asked.text
        one = asked.json()["answers"]
        for answer, row in zip(one, rows, strict=False):
            assert abs(answer["prediction"]["probability"] - float(row["p:true"])) < 1e-12
    recorded = [row["row"] for row in working.service.audit.rows() if row["kind"] == "batch"]
    assert sorted(recorded) == list(range(2600)), "once each, whatever was killed"
    working.service.audit.verify()


def test_a_job_is_its_owners(working: Node, table: str) -> None:
    with working.caller("clinician", name="ann") as ann, working.caller("clinician", name="bob") as bob:
        job = batch(ann, table)
        assert job in {each["id"] for each in ann.get("/jobs.json").json()["jobs"]}
        assert job not in {each["id"] for each in bob.get("/jobs.json").json()["jobs"]}
        for method, path in (("GET", ".json"), ("POST", "/cancel"), ("GET", "/result.csv")):
            assert bob.request(method, f"/jobs/{job}{path}", json={}).status_code == 404
        until(ann, job, "done")
    with working.caller("admin") as admin:
        assert admin.get(f"/jobs/{job}.json").json()["account"] == "ann"


def test_a_cancelled_job_stops(working: Node, table: str) -> None:
    with working.caller("clinician") as caller:
        first, second = batch(caller, table), batch(caller, table)  # the second waits for the first
        assert caller.post(f"/jobs/{second}/cancel", json={}).json()["state"] == "cancelled"
        until(caller, first, "done")
        assert caller.get(f"/jobs/{second}.json").json()["state"] == "cancelled"
        assert caller.get(f"/jobs/{second}/result.csv").status_code == 404
        assert caller.get("/jobs/nothing.json").status_code == 404


def test_a_plan_runs_and_its_release_is_served(working: Node) -> None:
    data = simulate(1500, seed=11).frame.write_csv()
    with working.caller("scientist") as caller:
        job = enter(caller, "/jobs/plan", json={"plan": PLAN, "data": data})
        done = until(caller, job, "done", "failed")
        assert done["error"] is None and done["result"]["release"] == "by-job", done
        bad = enter(caller, "/jobs/plan", json={"plan": PLAN, "data": "a,b\n1,2\n"})
        failed = until(caller, bad, "done", "failed")
        assert failed["state"] == "failed" and "column" in failed["error"], "told as the command line tells it"
    assert "by-job" in working.service.registry.refresh().names


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("path: data.csv", "path: /etc/passwd"), "something else than the table"),
        (("path: data.csv", "path: ../keys/local.pem"), "something else than the table"),
        (("read: tables", "read: images"), "something else than the table"),
        (("path: data.csv", "path: data.csv, dictionary: ../secret.csv"), "names a file on this machine"),
        (("model:   logistic", "model:   nothing"), "nothing"),
    ],
)
def test_a_plan_reads_only_what_was_sent_with_it(change: tuple[str, str], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        checked(PLAN.replace(*change))
    assert checked(PLAN).name == "by-job"


def test_no_cell_of_a_result_is_a_formula() -> None:
    """OWASP: CSV injection. A label and a row id as an attacker would choose them."""
    label = '=HYPERLINK("http://evil.example","x")'
    prediction = {"target": "t", "probabilities": {label: 0.5}, "call": "@SUM(A1)", "threshold": -0.5}
    row = {"row": 0, "id": "+1+cmd|' /C calc'!A0", "prediction": prediction, "outside": [{"field": "-x", "why": "y"}]}
    (head, cells) = list(csv.reader(io.StringIO(as_csv([row]).decode())))
    assert cells[1].startswith("'+1") and cells[head.index("call")] == "'@SUM(A1)"
    assert cells[head.index("outside")] == "'-x y" and cells[head.index("threshold")] == "-0.5", "a number stays one"
    assert not any(cell.startswith(("=", "+", "@", "\t")) for cell in [*head, *cells])


def test_a_worker_ends_when_the_service_that_started_it_has_gone(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bedside.serve.worker",
        str(tmp_path),
        "1",
    ]  # started by a process that is not ours
    assert subprocess.run(command, timeout=SECONDS, check=False).returncode == 0
