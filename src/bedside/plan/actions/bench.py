"""Where actions work."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.quarantine import Quarantine
from bedside.cohort.store import Store
from bedside.plan.memo.artifacts import lay_folder
from bedside.plan.memo.scratch import scratch_folder


@dataclass
class Bench:
    """Where actions work: the store, scratch space, threads; cohorts read lately are kept in memory."""

    store: Store
    scratch: Path
    threads: int
    quarantine: Quarantine
    _cohorts: dict[str, Cohort] = field(default_factory=dict)
    _pipelines: dict[str, Any] = field(default_factory=dict)

    def cohort(self, digest: str) -> Cohort:
        """A cohort by digest."""
        if digest not in self._cohorts:
            self._cohorts[digest] = self.store.get_cohort(digest)
        return self._cohorts[digest]

    def keep(self, cohort: Cohort) -> str:
        """Store a cohort; returns its digest."""
        digest = self.store.put_cohort(cohort)
        self._cohorts[digest] = cohort if cohort.files is None else cohort.with_files(self.store)
        return digest

    def pipeline(self, digest: str) -> Any:
        """A fitted pipeline by the digest of its folder."""
        if digest not in self._pipelines:
            from bedside.models.pipeline import Pipeline

            with self.folder() as folder:
                self._pipelines[digest] = Pipeline.load(lay_folder(self.store, digest, folder))
        return self._pipelines[digest]

    @property
    def fitting(self) -> Path:
        """Where fits keep their checkpoints, so that a killed one goes on where it was."""
        return self.scratch.with_name("fitting")

    @property
    def cache(self) -> Path:
        """Disposable things that any run of the workspace may share."""
        return self.scratch.parent

    def folder(self) -> AbstractContextManager[Path]:
        """A scratch folder that is gone afterwards."""
        return scratch_folder(self.scratch)
