"""`bedside compress`: a smaller network in place of a released one, kept only where it is faster here and costs little.

The plan of the release is carried through again with the network compressed after each fit; the release's own
predictions stand beside as `original`. The new plan says the check `compression` and its gates, so the new release can
be verified like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.checks.rows import ORIGINAL
from bedside.cohort import plugins
from bedside.cohort.workspace import Workspace
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence
from bedside.evidence.gates import Gate, Judgement, judge_estimate
from bedside.models.imaging.compress import Methods
from bedside.models.task import Classify
from bedside.plan.actions import Made, Progress
from bedside.plan.compress.evaluation import CompressedEvaluation
from bedside.plan.conduct.conductor import Conductor
from bedside.plan.conduct.evaluation import Evaluation
from bedside.plan.conduct.outcome import Outcome
from bedside.plan.file.plan import Plan, load_plan
from bedside.plan.memo.artifacts import get_evidence, put_folder
from bedside.plan.release.opened import Opened

# What a smaller network may cost, judged on the interval of the paired difference.
COST: dict[str, Any] = {
    "auroc_change": {"at_least": -0.01},
    "brier_change": {"at_most": 0.005},
    "probability_shift": {"at_most": 0.02},
    "probability_shift_max": {"at_most": 0.1},
    "calibration_shift": {"between": [-0.02, 0.02]},
}
LONGEST_NAME = 64
FASTER = Gate("speed_up", low=1.0)


@dataclass(frozen=True)
class Compression:
    """What came of it: the run, the verdicts on cost and speed, and whether the network was kept."""

    outcome: Outcome
    judgements: tuple[Judgement, ...]

    @property
    def kept(self) -> bool:
        """Whether a release was written."""
        return self.outcome.release is not None

    @property
    def exit_code(self) -> int:
        """0 when it was kept, 3 when it was refused."""
        return 0 if self.kept else 3


def compress(
    workspace: Workspace,
    release: Opened,
    data: Path,
    methods: Methods,
    *,
    cost: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Compression:
    """Compress a release on its own data; `data` is its plan file, or the folder or file that its plan names. `cost`
    are gates of the check `compression` in place of those in `COST`; they stand in the new release's plan.

    Raises PlanError for a release without a network, one that is compressed already, or another plan; DataError for
    data that is not what the release was made of.
    """
    if "compressed" in release.record["facts"]:
        raise PlanError("this release is compressed already", "compress the one it was made of, by all methods at once")
    if release.task.kind == "multilabel":
        raise PlanError("a network of several labels is not compressed", "serve it as it is, or train a smaller one")
    plan, base = _plan(release, data)
    unknown = sorted(set(cost or {}) - set(COST))
    if unknown:
        raise PlanError(f"{unknown} is no cost of compressing", "one of " + ", ".join(COST))
    limits = {**COST, **(cost or {})}
    conductor = Compressor(release, plan, methods, limits, workspace, base=base, progress=progress)
    outcome = conductor.carry_out()
    return Compression(outcome, conductor.judgements)


class Compressor(Conductor):
    """The run of a release's plan in which its network is made smaller."""

    def __init__(
        self,
        release: Opened,
        plan: Plan,
        methods: Methods,
        cost: Mapping[str, Any],
        workspace: Workspace,
        *,
        base: Path,
        progress: Progress | None = None,
    ) -> None:
        facts = release.record["facts"]
        two = isinstance(release.task, Classify) and release.task.binary
        made = smaller(plan, methods, {name: each for name, each in cost.items() if two or name != "auroc_change"})
        super().__init__(made, workspace, base=base, threads=facts["threads"], progress=progress)
        self.release, self.methods = release, methods
        asked = {_name(spec) for spec in made.checks}
        self.left_out = [name for name in map(_name, [*plan.checks, *plan.actions]) if name not in asked]
        self.judgements: tuple[Judgement, ...] = ()

    def _refuse_bad_plan(self) -> None:
        """Nothing: the plan was carried out once, and what is added to it is ours."""

    def _read(self) -> dict[str, Any]:
        read = super()._read()
        self._same("read", read["cohort"])
        return read

    def _evaluation(self, cohort: str, split: dict[str, Any]) -> Evaluation:
        self._same("cohort", cohort)
        self._same("split", split["split"])
        original = self.release.pipeline
        kept = put_folder(self.work.bench.store, self.release.folder / "model")
        findings = [item.to_json() for item in original.findings()]
        released = {"pipeline": kept, "findings": findings, "figures": [], "keeps_rows": original.keeps_rows}
        released["asked"] = original.without_clock()
        return CompressedEvaluation(self.work, cohort, split, self.base, self.methods, released)

    def _same(self, what: str, digest: str) -> None:
        if digest != self.release.record["facts"]["digests"][what]:
            raise DataError(
                f"the data gives another {what} than that the release was made of",
                "name the plan file of the release with its data unchanged, read by this version of bedside",
            )

    def _facts(self, made: Made) -> dict[str, Any]:
        facts = super()._facts(made)
        lineage = {"release": self.release.digest, "methods": list(self.methods.names), "left_out": self.left_out}
        return {**facts, "baselines": [name for name in facts["baselines"] if name != ORIGINAL], "compressed": lineage}

    def _releases(self, made: Made) -> bool:
        """Only a network that is faster here and whose every cost passes."""
        pieces = [get_evidence(self.work.bench.store, digest) for digest in made.evidence]
        judged = (Judgement.from_json(each) for each in made.judged["judgements"])
        cost = [each for each in judged if each.gate.metric in COST]
        self.judgements = (*cost, _speed(pieces))
        return all(each.verdict == "pass" for each in self.judgements)


def smaller(plan: Plan, methods: Methods, cost: Mapping[str, Any]) -> Plan:
    """The plan of the compressed network: its checks that can be asked, with the check of the cost and its gates.

    What fits again would fit the original, and only torch's networks are explained. A gate whose check is not asked
    stays, and stays undecided. Raises PlanError without a release.
    """
    if plan.release is None:
        raise PlanError("the plan names no release", "say release: {as: NAME}")
    asked = {"predictions", "model"} if methods.names == ("distill",) else {"predictions"}
    kept = [spec for spec in plan.checks if plugins.build("checks", spec).needs in asked]
    by, cuts = _groups(kept)
    gates = {**plan.gates, **cost}
    if by:
        gates["worst_group"] = {**gates.get("worst_group", {}), "calibration_shift": cost["calibration_shift"]}
    check = {"name": "compression", "by": by, **({"cuts": cuts} if cuts else {})}
    suffix = "-".join(methods.names)
    release = plan.release.model_copy(update={"name": _with(plan.release.name, suffix)})
    changed = {
        "name": _with(plan.name, suffix),
        "checks": [*kept, check],
        "gates": gates,
        "actions": [],
        "release": release,
    }
    return plan.model_copy(update=changed)


def _with(name: str, suffix: str) -> str:
    """A name with a suffix, no longer than names may be."""
    return f"{name[: LONGEST_NAME - len(suffix) - 1]}-{suffix}"


def _groups(specs: Sequence[Any]) -> tuple[list[str], dict[str, Any]]:
    """The fields that the plan's checks group by, and where numbers are cut."""
    by: dict[str, None] = {}
    cuts: dict[str, Any] = {}
    for spec in specs:
        check = plugins.build("checks", spec)
        named = getattr(check, "by", None) if check.looks_at == "groups" else None
        by |= dict.fromkeys([named] if isinstance(named, str) else named or [])
        cuts |= getattr(check, "cuts", None) or {}
    return list(by), {name: cuts[name] for name in by if name in cuts}


def _name(spec: Any) -> str:
    return plugins.parse_spec(spec)[0]


def _speed(pieces: Sequence[Evidence]) -> Judgement:
    """The verdict on the speed measured here."""
    found = next((item for piece in pieces for item in piece.estimates if item.metric == FASTER.metric), None)
    if found is None:
        return Judgement(FASTER, "not_enough", None, reason="gate_without_estimate")
    return Judgement(FASTER, judge_estimate(FASTER, found), found)


def _plan(release: Opened, data: Path) -> tuple[Plan, Path]:
    """The release's plan with its places, and the folder that they are relative to."""
    if data.suffix.lower() in (".yaml", ".yml"):
        plan, _ = load_plan(data)
        if plan.digest != release.record["facts"]["plan"]:
            raise PlanError(f"{data} is not the plan that the release was made by", "name that plan, or its data")
        return plan, data.resolve().parent
    data = data.resolve()
    cohort = release.plan.cohort.model_copy(update={"path": data.name})
    return release.plan.model_copy(update={"cohort": cohort}), data.parent
