"""The service beside a plain FastAPI handler over the same pipeline, one client: milliseconds a request, in one run.

Ours checks access, limits and inputs, explains where asked, and has the audit row on the disk before it answers; the
plain handler does none of it. `python benchmarks/serving.py [requests]`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI

import bedside
from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import trusted_keys
from bedside.plan.release import open_release
from bedside.serve import ServeConfig, create_app
from bedside.synth.admissions import simulate

PLAN: dict[str, Any] = {
    "name": "speed",
    "task": {"classify": "died_in_hospital", "risk": "high"},
    "model": "lightgbm",
    "checks": ["performance"],
    "gates": {"auroc": {"at_least": 0.6}},
    "release": {"as": "speed", "stage": "assist"},
}


def listening(app: FastAPI) -> tuple[uvicorn.Server, str]:
    """A server in a thread, and its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return server, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


def timed(ask: Callable[[], httpx.Response], n: int) -> np.ndarray[Any, Any]:
    """Milliseconds of n requests after ten to warm up."""
    out = []
    for i in range(n + 10):
        began = time.perf_counter()
        answer = ask()
        if answer.status_code != 200:
            raise SystemExit(answer.text)
        if i >= 10:
            out.append(1000 * (time.perf_counter() - began))
    return np.array(out)


def main(n: int) -> None:
    """Print p50 and p99 of each, and the ratios to the plain handler."""
    home = Path(tempfile.mkdtemp()) / "home"
    outcome = bedside.run(PLAN, simulate(6000, seed=1), home=home, threads=1)
    if outcome.release is None:
        raise SystemExit("the plan was refused")
    workspace = Workspace(home)
    release = open_release(outcome.release, trusted_keys(workspace.keys))

    plain = FastAPI()

    @plain.post("/predict")
    def predict(row: dict[str, Any]) -> dict[str, float]:
        return {"probability": float(release.predict(release.row(row)).score[0])}

    app = create_app(workspace, ServeConfig(port=0))
    service = app.state.service
    ours, address = listening(app)
    while not service.ready:
        time.sleep(0.1)
    peer, other = listening(plain)
    cookie, session = service.sessions.open("bench", ["clinician"])
    headers = {"x-csrf-token": session.csrf, "cookie": f"bedside={cookie}"}
    row = service.registry.state.find("speed").example
    with httpx.Client(headers=headers) as client:
        cases = {
            "plain FastAPI handler": lambda: client.post(f"{other}/predict", json=row),
            "bedside, audited": lambda: client.post(
                f"{address}/predict", json={"release": "speed", "row": row, "explain": False}
            ),
            "bedside, audited and explained": lambda: client.post(
                f"{address}/predict", json={"release": "speed", "row": row}
            ),
        }
        found = {name: timed(ask, n) for name, ask in cases.items()}
    base = np.quantile(found["plain FastAPI handler"], [0.5, 0.99])
    print(f"tabular release (LightGBM, {len(row)} fields), {n} requests, one client; load {os.getloadavg()[0]:.1f}")
    for name, times in found.items():
        p50, p99 = np.quantile(times, [0.5, 0.99])
        print(
            f"{name:32} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   {p50 / base[0]:.2f} × and {p99 / base[1]:.2f} × plain"
        )
    ours.should_exit = peer.should_exit = True
    time.sleep(1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
