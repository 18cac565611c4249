"""What Today and Map show: counts and shares over what the audit trail and the workspace hold, naming nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bedside.serve.audit import Recorded
from bedside.serve.problems import Busy
from bedside.serve.service import Service

ANSWERS = ("predict", "batch")
LOOKED_AT = 5000
DAY = timedelta(days=1)
UNUSUAL_SHARE = 0.05


@dataclass
class OfName:
    """What came in for one name in a day: answers, flagged ones, and unusual inputs by field."""

    name: str
    answers: int = 0
    flagged: int = 0
    unusual: Counter[str] = field(default_factory=Counter)

    @property
    def drifting(self) -> list[tuple[str, int]]:
        """Fields outside what training showed in at least one answer of twenty."""
        ordered = sorted(self.unusual.items(), key=lambda each: (-each[1], each[0]))[:5]
        return [(name, n) for name, n in ordered if n >= UNUSUAL_SHARE * self.answers]


@dataclass(frozen=True)
class Today:
    """A day at a glance; `cut` says that more came in than was looked at."""

    names: Sequence[OfName]
    to_confirm: int
    failed_jobs: int
    undecided: Sequence[str]
    cut: bool


def today(service: Service, account: str, *, everybody: bool) -> Today:
    """The last 24 hours: what came in, what needs a person, what leaves the training data."""
    since = (datetime.now(UTC) - DAY).isoformat()
    rows = [row for row in service.audit.page(limit=LOOKED_AT) if str(row["time"]) >= since]
    found: dict[str, OfName] = {}
    waiting: set[int] = set()
    judged: set[int] = set()
    for row in rows:
        if row["kind"] == "feedback":
            judged.add(int(row["answer"]))
        if row["kind"] not in ANSWERS:
            continue
        mine = found.setdefault(str(row["name"]), OfName(str(row["name"])))
        mine.answers += 1
        mine.flagged += _flagged(row)
        mine.unusual.update({str(each["field"]) for each in row["outside"]})
        if row["stage"] == "assist" and (everybody or row["account"] == account):
            waiting.add(row.index)
    undecided = [
        name
        for name in service.registry.state.names
        if (champion := service.registry.state.champion(name)) is not None
        and any(each["verdict"] == "not_enough" for each in champion.opened.record["judgements"])
    ]
    try:
        jobs = [job for job in service.jobs.all() if everybody or job.account == account]
    except Busy:
        jobs = []
    failed = sum(job.state == "failed" and job.created >= since for job in jobs)
    names = sorted(found.values(), key=lambda each: each.name)
    return Today(names, len(waiting - judged), failed, undecided, len(rows) == LOOKED_AT)


def _flagged(row: Recorded) -> bool:
    prediction = row["prediction"]
    labels = prediction.get("labels", [prediction])
    return any(each.get("verdict") == "flagged" for each in labels)


@dataclass(frozen=True)
class Layers:
    """What runs in each layer of the system, in numbers."""

    cohorts: int
    runs: int
    names: int
    releases: dict[str, int]
    refused: int
    audit: int
    accounts: int
    worker: bool


def layers(service: Service) -> Layers:
    """The layers data, model and application of this workspace."""
    state = service.registry.state
    last = service.audit.page(limit=1)
    return Layers(
        cohorts=len(service.workspace.store.cohorts()),
        runs=sum(each.is_dir() for each in service.workspace.runs.iterdir()),
        names=len(state.names),
        releases=dict(Counter(each.stage for each in state.served.values())),
        refused=len(state.refused),
        audit=last[0].index + 1 if last else 0,
        accounts=len(service.accounts.all()),
        worker=service.config.worker,
    )
