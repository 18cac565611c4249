"""Work: one plan's actions done in one workspace, each remembered; an error names the plan's line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, DataError, LeakError, PlanError
from bedside.plan.actions.bench import Bench
from bedside.plan.file.plan import Plan
from bedside.plan.file.yaml_lines import Document, Path
from bedside.plan.memo.memo import Done, Memo

Progress = Callable[[str, str, float], None]
"""Called with (label, "start" | "done" | "cached", seconds) for each action."""


@dataclass
class Work:
    """A plan, the document that knows its lines, and where its actions work; `done` lists them in order."""

    plan: Plan
    document: Document
    workspace: Workspace
    bench: Bench
    memo: Memo
    progress: Progress
    done: list[tuple[str, Done]] = field(default_factory=list)

    def remembered(
        self,
        action: str,
        layer: str,
        path: Path,
        parameters: Mapping[str, Any],
        inputs: Mapping[str, Any],
        work: Callable[[], dict[str, Any]],
        label: str = "",
    ) -> dict[str, Any]:
        """The output of one action, remembered or worked out; an error names the plan's line of `path`."""
        name = label or action

        def loudly() -> dict[str, Any]:
            self.progress(name, "start", 0.0)
            return work()

        with self.at(path):
            done = self.memo.do(action, layer, parameters, inputs, loudly, name)
        self.done.append((name, done))
        self.progress(name, "cached" if done.cached else "done", done.seconds)
        return done.output

    def anew(self, name: str, path: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The output of an action that is never remembered."""
        self.progress(name, "start", 0.0)
        started = time.monotonic()
        with self.at(path):
            done = Done(work(), False, time.monotonic() - started)
        self.done.append((name, done))
        self.progress(name, "done", done.seconds)
        return done.output

    @contextmanager
    def at(self, path: Path) -> Iterator[None]:
        """Say the plan's line when what a part of it asks for cannot be done."""
        try:
            yield
        except (DataError, PlanError, LeakError) as error:
            if self.document.line(path) is None or ", line " in error.what:
                raise
            placed = self.document.error(self._place(path, error), error.what, error.way_out)
            raise type(error)(placed.what, placed.way_out) from error

    def _place(self, path: Path, error: BedsideError) -> Path:
        """Where the plan says what the error quotes: under `path`, else under task or cohort; else `path` itself."""
        for root in (path, ("task",), ("cohort",)):
            for place in sorted(self.document.lines, key=len, reverse=True):
                value = self.document.at(place)
                if place[: len(root)] == root and isinstance(value, str) and f"'{value}'" in error.what:
                    return place
        return path
