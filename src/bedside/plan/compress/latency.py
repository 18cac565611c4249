"""How fast two forms of one network answer, measured here and now: bound to this machine, never remembered."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.digest import json_digest
from bedside.evidence.estimate import Estimate, Evidence, Finding

MACHINE = "machine"  # the part of an estimate that is of a machine, not of patients
WARM_UP = 5
FEWEST, MOST = 30, 300
SECONDS = 20.0
REPLICATES = 1000
Milliseconds = NDArray[np.float64]


def machine() -> dict[str, Any]:
    """What decides how fast a network runs here: processor, cores, system, ONNX Runtime. No name of the host."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "onnxruntime": version("onnxruntime"),
    }


def timed(*calls: Callable[[], Any]) -> list[Milliseconds]:
    """Times of calls in turn, 30 to 300 of each, until 20 seconds are over: what disturbs one disturbs all."""
    for _ in range(WARM_UP):
        for call in calls:
            call()
    times: list[list[float]] = [[] for _ in calls]
    end = time.monotonic() + SECONDS
    while len(times[0]) < FEWEST or (len(times[0]) < MOST and time.monotonic() < end):
        for call, kept in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            kept.append(1e3 * (time.perf_counter() - started))
    return [np.array(each) for each in times]


def latency(original: Milliseconds, compressed: Milliseconds, level: float) -> Evidence:
    """The evidence of times in turn: p50 and p99 of each form, and how many times faster the second is."""
    n = len(original)
    draws = np.random.default_rng(0).integers(0, n, size=(REPLICATES, n))
    estimates = []
    for form, times in (("original", original), ("compressed", compressed)):
        for metric, share in (("latency_p50", 0.5), ("latency_p99", 0.99)):
            value, found = np.quantile(times, share), np.quantile(times[draws], share, axis=1)
            estimates.append(_estimate(metric, value, found, level, n, at={"form": form}, unit="ms"))
    ratio = np.median(original[draws], axis=1) / np.median(compressed[draws], axis=1)
    value = np.median(original) / np.median(compressed)
    estimates.append(_estimate("speed_up", value, ratio, level, n))
    here = machine()
    said = Finding("measured_here", "info", {"processor": here["processor"], "cores": here["cores"], "runs": n})
    return Evidence("latency", tuple(estimates), (), (said,)).with_sources(machine=json_digest(here))


def _estimate(metric: str, value: Any, found: NDArray[np.float64], level: float, n: int, **more: Any) -> Estimate:
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    low, high = min(low, value), max(high, value)
    return Estimate(
        metric, float(value), float(low), float(high), level, n_rows=n, part=MACHINE, method="bootstrap_runs", **more
    )
