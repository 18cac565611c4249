"""Gates: a threshold on an estimate, judged on its interval, three-valued; and the release stages they decide.

pass: the interval lies wholly on the good side; fail: wholly on the bad side; otherwise not enough evidence, with the
n that would decide if the value stayed as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bedside.errors import PlanError
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.metrics.samplesize import n_to_decide

Verdict = Literal["pass", "fail", "not_enough"]
Stage = Literal["research", "shadow", "assist", "autonomous"]
# Rows whose group is not known: too few of them to judge is shown in the report, but is not a group that was declared.
UNKNOWN_GROUP = "missing"
JUDGED_PARTS = ("test", "external")
STAGES: tuple[Stage, ...] = ("research", "shadow", "assist", "autonomous")


@dataclass(frozen=True)
class Gate:
    """A pre-declared threshold: `low` <= metric <= `high`, for the whole part or for each declared group.

    `versus` judges a paired difference against a baseline instead of the value itself; `at` chooses among estimates
    of one metric (a threshold, a class).
    """

    metric: str
    low: float | None = None
    high: float | None = None
    each_group: bool = False
    versus: str | None = None
    at: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise PlanError(f"gate on '{self.metric}' has no threshold", "say at_least, at_most or between")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise PlanError(f"gate on '{self.metric}': {self.low} is not below {self.high}")

    @property
    def id(self) -> str:
        """A readable name, unique among the gates of a plan, such as `worst_group:sensitivity>=0.85`."""
        bounds = [
            f">={self.low:g}" if self.low is not None else "",
            f"<={self.high:g}" if self.high is not None else "",
        ]
        at = "".join(f"@{key}={value}" for key, value in sorted((self.at or {}).items()))
        versus = f"-{self.versus}" if self.versus is not None else ""
        return ("worst_group:" if self.each_group else "") + self.metric + versus + at + "".join(bounds)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        at = None if self.at is None else dict(self.at)
        return {
            "metric": self.metric,
            "low": self.low,
            "high": self.high,
            "each_group": self.each_group,
            "versus": self.versus,
            "at": at,
        }


@dataclass(frozen=True)
class Judgement:
    """A gate, its verdict, and the estimate that decided (for groups: the one that decided against).

    `n_deciding` is the n (of what the estimate counts) at which this value would decide; None when it has decided or
    no n can. `reason` is a glossary finding id when there was nothing to judge.
    """

    gate: Gate
    verdict: Verdict
    estimate: Estimate | None
    n_deciding: int | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "gate": self.gate.to_json(),
            "id": self.gate.id,
            "verdict": self.verdict,
            "estimate": None if self.estimate is None else self.estimate.to_json(),
            "n_deciding": self.n_deciding,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Judgement:
        """The inverse of `to_json`."""
        estimate = None if data["estimate"] is None else Estimate.from_json(data["estimate"])
        return cls(Gate(**data["gate"]), data["verdict"], estimate, data["n_deciding"], data["reason"])


def judge_estimate(gate: Gate, estimate: Estimate) -> Verdict:
    """The verdict of one estimate: its interval against the threshold, ends included on the good side."""
    if estimate.value is None:
        return "not_enough"
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    bottom = float("-inf") if gate.low is None else gate.low
    top = float("inf") if gate.high is None else gate.high
    if bottom <= low and high <= top:
        return "pass"
    if high < bottom or low > top:
        return "fail"
    return "not_enough"


def judge(gate: Gate, evidence: Evidence) -> Judgement:
    """Judge a gate on the evidence; what was not estimated is `not_enough` with a reason, never a pass."""
    found = [item for item in evidence.estimates if _matches(gate, item)]
    if not found:
        return Judgement(gate, "not_enough", None, reason="gate_without_estimate")
    judged = [(judge_estimate(gate, item), item) for item in found]
    for verdict in ("fail", "not_enough", "pass"):
        mine = [item for each, item in judged if each == verdict]
        if mine:
            worst = min(mine, key=lambda item: _margin(gate, item))
            n = _n_deciding(gate, worst) if verdict == "not_enough" else None
            reason = "not_estimable" if worst.value is None else None
            return Judgement(gate, verdict, worst, n, reason)
    raise AssertionError("unreachable: every estimate has one of three verdicts")


def _matches(gate: Gate, item: Estimate) -> bool:
    if item.metric != gate.metric or item.versus != gate.versus or item.part not in JUDGED_PARTS:
        return False
    if gate.each_group != (item.group is not None):
        return False
    if item.value is None and UNKNOWN_GROUP in (item.group or {}).values():
        return False
    if gate.at is None:
        return True
    return item.at is not None and all(item.at.get(key) == value for key, value in gate.at.items())


def _margin(gate: Gate, item: Estimate) -> float:
    """How far the interval's bad end lies on the good side; unknown is worst of all."""
    if item.value is None:
        return float("-inf")
    low = item.value if item.low is None else item.low
    high = item.value if item.high is None else item.high
    margins = [low - gate.low] if gate.low is not None else []
    if gate.high is not None:
        margins.append(gate.high - high)
    return min(margins)


def _n_deciding(gate: Gate, item: Estimate) -> int | None:
    if item.value is None or item.low is None or item.high is None or not item.n_rows or item.level is None:
        return None
    needed = [
        n_to_decide(item.value, item.low, item.high, item.n_rows, threshold, method=item.method or "", level=item.level)
        for threshold in (gate.low, gate.high)
        if threshold is not None and item.low <= threshold <= item.high
    ]
    known = [n for n in needed if n is not None]
    return max(known) if known and len(known) == len(needed) else None


@dataclass(frozen=True)
class StageDecision:
    """The highest stage whose rule holds, never above the one asked; None when integrity is broken.

    `reasons` are (glossary id, subject) pairs for every stage that was not reached.
    """

    stage: Stage | None
    asked: Stage
    reasons: tuple[tuple[str, str], ...] = ()


def decide_stage(
    judgements: Sequence[Judgement],
    *,
    asked: Stage,
    risk: str,
    broken: Sequence[str] = (),
    caps: Mapping[str, Stage] | None = None,
    autonomous_allowed: bool = False,
) -> StageDecision:
    """Decide the stage: `broken` integrity findings refuse any; `caps` bound it, each by its reason."""
    if broken:
        return StageDecision(None, asked, tuple(("stage_integrity_broken", item) for item in broken))
    reasons: list[tuple[str, str]] = []
    reached: Stage = "autonomous"
    if not judgements:
        reached = "research"
        reasons.append(("stage_no_gates", ""))
    for item in judgements:
        if item.verdict == "fail":
            reached = lower(reached, "research")
            reasons.append(("stage_gate_failed", item.gate.id))
        elif item.verdict == "not_enough":
            reached = lower(reached, "shadow")
            reasons.append(("stage_gate_undecided", item.gate.id))
    if reached == "autonomous" and (risk != "low" or not autonomous_allowed):
        reached = "assist"
        if asked == "autonomous":
            reasons.append(("stage_not_autonomous", risk))
    for reason, cap in (caps or {}).items():
        if STAGES.index(cap) < STAGES.index(reached):
            reached = cap
            reasons.append(("stage_capped", reason))
    stage = lower(reached, asked)
    return StageDecision(stage, asked, tuple(reasons) if stage != asked else ())


def lower(a: Stage, b: Stage) -> Stage:
    """The lower of two stages."""
    return min(a, b, key=STAGES.index)
