"""A first plan as text: valid YAML in which each block says, in a comment, what it is for and why it stands so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.evidence.metrics import samplesize
from bedside.models.task import Classify, Task
from bedside.plan.look import Look, Suspect
from bedside.plan.names import plain

FEWEST = 8  # subjects of the rarer class: below, no split leaves one of each class in every part
HOLD_OUT_TEST = 0.25
ENOUGH_TO_HOLD_OUT = 200  # of each class in the test part
SPARE = 0.05  # how far above a gate the truth is taken to lie when its n is worked out


@dataclass(frozen=True)
class Choices:
    """What was asked and answered, or taken as default; `missing` are the suspects that do mean missing."""

    name: str
    path: str
    read: Mapping[str, Any]
    target: str
    kind: str
    positive: str | None
    by_word: bool
    subject: str | None
    row_id: str | None
    risk: str
    by: str
    interpretable: bool
    missing: tuple[Suspect, ...]


def reader_parameters(look: Look, choices: Choices) -> dict[str, Any]:
    """The parameters that the plan gives its reader, besides the path."""
    out: dict[str, Any] = {**choices.read}
    for name, value in (("subject", choices.subject), ("row_id", choices.row_id), ("time", _time(look, choices))):
        if value is not None:
            out[name] = value
    if look.site is not None and look.site != choices.target:
        out["site"] = look.site
    if sensitive := _sensitive(look, choices):
        out["sensitive"] = list(sensitive)
    if ignored := [name for names in _ignored(look, choices).values() for name in names]:
        out["ignore"] = ignored
    if fields := _fields(look, choices):
        out["fields"] = fields
    if choices.missing:
        out["missing"] = [entry for each in choices.missing for entry in _entries(look, each)]
    return out


def write(look: Look, choices: Choices, cohort: Cohort, task: Task) -> str:
    """The plan's text; `cohort` was read with `reader_parameters`, `task` is what the plan asks of it."""
    from bedside.models.catalogue import recommend

    size = Size.of(cohort, task)
    model, reason, _ = recommend(cohort, task, choices.interpretable)
    blocks = [
        _head(look, choices),
        _cohort(look, choices),
        _clean(look),
        _task(choices, task, size),
        *_split(look, choices, size),
        _model(choices, model, reason, task),
        _threshold(choices, task),
        _checks(look, choices, task),
        _gates(look, choices, task, size, model),
        _release(choices),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


@dataclass(frozen=True)
class Size:
    """How much there is: rows with a target, events (rows of the rarest class), subjects with it, and the split."""

    rows: int
    events: int
    rare_subjects: int
    prevalence: float
    test: float | None
    folds: int | None

    @classmethod
    def of(cls, cohort: Cohort, task: Task) -> Size:
        """Count, and choose folds or a hold-out. Raises DataError for too few of a class."""
        subjects = cohort.subject_codes
        if not isinstance(task, Classify):
            known = task.truth(cohort)
            rows, n = int((~np.isnan(known)).sum()), int(np.unique(subjects[~np.isnan(known)]).size)
            if n < 3 * FEWEST:
                raise DataError(f"{n} subjects have a value of '{task.target}'", f"a plan needs {3 * FEWEST} or more")
            large = rows >= 2000
            return cls(rows, rows, n, 1.0, HOLD_OUT_TEST if large else None, None if large else 5)
        truth = task.truth(cohort)
        counts = np.bincount(truth[truth >= 0], minlength=len(task.classes))
        rarest = int(counts.argmin())
        n = min(int(np.unique(subjects[truth == index]).size) for index in range(len(task.classes)))
        if n < FEWEST:
            raise DataError(
                f"target '{task.target}': only {n} subjects have its rarest class",
                f"to train, tune and test needs {FEWEST} or more, to decide a gate some hundreds",
            )
        rows, events = int(counts.sum()), int(counts[rarest])
        large = events * HOLD_OUT_TEST >= ENOUGH_TO_HOLD_OUT
        prevalence = float(counts[-1] / rows) if task.binary else events / rows
        folds = None if large else min(5, n // 4)
        return cls(rows, events, n, prevalence, HOLD_OUT_TEST if large else None, folds)

    def judged(self, count: int) -> int:
        """How many of a count the test part holds: all out of fold, a share with a hold-out."""
        return count if self.test is None else round(count * self.test)


def scalar(value: Any) -> str:
    """A value as YAML that is safe in block and flow: quoted where it must be, whatever it holds."""
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.strip()[1:-1]


def flow(value: Any) -> str:
    """A mapping or list on one line."""
    return yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False
    ).strip()


def listed(columns: Sequence[str], most: int = 6) -> str:
    """Columns in words, for a comment."""
    shown = ", ".join(plain(name) for name in columns[:most])
    return shown if len(columns) <= most else f"{shown} and {len(columns) - most} more"


# -- blocks -----------------------------------------------------------------------------------------------------------


def _head(look: Look, choices: Choices) -> list[str]:
    cohort = look.cohort
    return [
        "# A plan: what will be done with the data, declared before any result is seen.",
        f"# Written by `bedside init` after a look at {len(cohort):,} rows and {len(cohort.schema.fields)} columns. Read it,",
        "# change what is wrong, then `bedside run` it. Every key is explained in docs/plan.md.",
        "plan: 1",
        f"name: {scalar(choices.name)}",
    ]


def _cohort(look: Look, choices: Choices) -> list[str]:
    out = ["# What the data is. A row is one prediction; rows of one subject are never on both sides of a split."]
    out += ["cohort:", "  read: tables", f"  path: {scalar(choices.path)}"]
    out += [f"  {scalar(key)}: {flow(value)}" for key, value in choices.read.items()]
    if choices.subject is not None:
        out.append(f"  subject: {scalar(choices.subject)}")
    else:
        out.append("  # subject: COLUMN     # none is declared: each row counts as another patient, and the report says so")
    if choices.row_id is not None:
        out.append(f"  row_id: {scalar(choices.row_id)}")
    time = _time(look, choices)
    if time is not None:
        out.append(f"  time: {scalar(time)}")
    if look.site is not None and look.site != choices.target:
        out.append(f"  site: {scalar(look.site)}")
    sensitive = _sensitive(look, choices)
    if sensitive:
        out.append("  # Fields by which results are looked at group by group; they stay inputs too.")
        out.append(f"  sensitive: {flow(list(sensitive))}")
    ignored = _ignored(look, choices)
    if ignored:
        out.append("  # Columns that are not read at all.")
        out.append("  ignore:")
        for reason, columns in ignored.items():
            out.append(f"    # {reason}")
            out += [f"    - {scalar(name)}" for name in columns]
    out += _doubtful_inputs(look, choices)
    fields = _fields(look, choices)
    if fields:
        out.append("  # What a column is, where its values alone do not say: kind, unit (UCUM), low, high, label.")
        out.append("  fields:")
        out += [f"    {scalar(name)}: {flow(about)}" for name, about in fields.items()]
    return out + _coded(look, choices) + _missing(look, choices)


def _doubtful_inputs(look: Look, choices: Choices) -> list[str]:
    """Inputs that sound as though they were known only after the outcome."""
    named = [name for name in look.after if name not in (choices.target, choices.subject, choices.row_id)]
    if not named:
        return []
    return [
        "  # Known only after the outcome? Then a model may not look at it: add it to `ignore`.",
        *(f"  #   - {scalar(name)}" for name in named[:20]),
    ]


def _coded(look: Look, choices: Choices) -> list[str]:
    codes = [name for name in look.coded if name not in {choices.target, *_fields(look, choices)}]
    if not codes:
        return []
    return [
        "  # Whole numbers with few values are read as quantities. Where they are codes, declare it under `fields`:",
        *(f"  #   {scalar(name)}: {{kind: category}}" for name in codes[:20]),
        *([f"  #   … and {len(codes) - 20} more"] if len(codes) > 20 else []),
    ]


def _missing(look: Look, choices: Choices) -> list[str]:
    out = []
    if choices.missing:
        out += ['  # Values that stand for "not known".', "  missing:"]
        out += [line for each in choices.missing for line in _missing_lines(look, each, "    - ")]
    doubtful = [each for each in look.suspects if each not in choices.missing and _columns(each, choices)]
    if doubtful:
        out.append('  # These look as though they stood for "not known", and are read as values until you say so:')
        if not choices.missing:
            out.append("  # missing:")
        out += [line for each in doubtful for line in _missing_lines(look, each, "  #   - ")]
    return out


def _missing_lines(look: Look, suspect: Suspect, start: str) -> list[str]:
    entries = _entries(look, suspect)
    text = [scalar(each) if not isinstance(each, Mapping) else flow(each) for each in entries[:30]]
    if len(entries) > 30:
        text.append(f"…and {len(entries) - 30} more")
    lines = [f"{start}{each}" for each in text]
    lines[0] += f"     # in {suspect.rows:,} cells: {listed(list(suspect.columns), 4)}"
    return lines


def _entries(look: Look, suspect: Suspect) -> list[Any]:
    """A suspect as the reader's `missing` takes it: everywhere for a word or a code seen in many columns."""
    code = int(suspect.code) if isinstance(suspect.code, float) else suspect.code
    if isinstance(code, str) or (code != 0 and len(suspect.columns) > 4 and not _elsewhere(look, suspect)):
        return [code]
    return [{name: [code]} for name in suspect.columns]


def _elsewhere(look: Look, suspect: Suspect) -> bool:
    """Whether the value also stands in a column where it seems to be a value."""
    return any(
        bool((look.cohort[item.name] == suspect.code).any())
        for item in look.cohort.schema.fields
        if item.kind == "number" and item.name not in suspect.columns
    )


def _clean(look: Look) -> list[str]:
    out = [
        "# Repairs before the split. They learn nothing; what they remove is counted in the report.",
    ]
    if look.duplicates:
        out += [
            f"# {look.duplicates:,} rows repeat an earlier one in every field. `group` keeps such rows on one side of the split,",
            "# `drop` keeps the first; where rows may be alike by chance (few, coarse fields), leave them.",
        ]
    out.append("# clean:")
    if look.duplicates:
        out.append("#   - {duplicates: group}")
    out.append("#   - {ranges: missing}     # drops values outside the low and high declared under `fields`")
    return out


def _task(choices: Choices, task: Task, size: Size) -> list[str]:
    spec: dict[str, Any] = {choices.kind: choices.target}
    out = ["# The question, and what a wrong answer may do to a patient (risk: low, medium, high)."]
    if isinstance(task, Classify) and task.binary:
        spec["positive"] = _as_written(str(task.positive))
        share = f"{size.prevalence:.1%}"
        count = round(size.prevalence * size.rows)
        out.append(f"# The event is {plain(str(task.positive))}: {count:,} of {size.rows:,} rows ({share}).")
        if not choices.by_word:
            out.append("# It is taken because it is the rarer class: make sure that it is the one you mean.")
    elif isinstance(task, Classify):
        out.append(f"# {len(task.classes)} classes; the rarest has {size.events:,} of {size.rows:,} rows.")
    else:
        out.append(f"# A number, known in {size.rows:,} rows.")
    spec["risk"] = choices.risk
    return [*out, f"task: {flow(spec)}"]


def _as_written(label: str) -> int | str:
    """0 and 1 as numbers, all else as text (quoted where YAML needs it)."""
    return int(label) if label in ("0", "1") else label


def _split(look: Look, choices: Choices, size: Size) -> list[list[str]]:
    spec: dict[str, Any] = {"by": choices.by}
    if choices.by == "time" or (choices.by == "subject" and size.test is not None):
        spec["test"] = HOLD_OUT_TEST
        if choices.by == "time":
            why = "The subjects seen last are set aside for the test, as a model meets them in service."
        else:
            why = f"{size.events:,} rows of the rarer class are enough to set a quarter of the subjects aside for the test."
            if size.events == size.rows:
                why = f"{size.rows:,} rows are enough to set a quarter of the subjects aside for the test."
    elif choices.by == "site":
        sites = look.cohort[look.site or ""].n_unique()
        if sites < 3:
            spec["test"] = HOLD_OUT_TEST
        else:
            spec["folds"] = min(5, sites)
        why = "Whole sites are left out in turn: does the model hold where it was not made?"
    else:
        spec["folds"] = size.folds
        why = "Too few to set some aside: each subject is judged once, by a model that never saw them."
    spec |= {"tune": 0.15, "seed": 7}
    tune = "`tune` is for early stopping, calibration and the threshold. The seed fixes who goes where."
    return [[f"# {why}", f"# {tune}", f"split: {flow(spec)}"]]


def _model(choices: Choices, model: str, reason: str, task: Task) -> list[str]:
    usual = "logistic" if isinstance(task, Classify) else "ridge"
    baseline = "majority" if model == usual else usual
    return [
        f"# Why this one: {reason}.",
        "# Its own steps (imputing, encoding, scaling) are learnt from the training part alone; `bedside models` lists others.",
        f"model: {{name: {model}}}",
        "# A simple model beside it, judged on the same rows: the report says so when it does as well.",
        f"baseline: [{baseline}]",
    ]


def _threshold(choices: Choices, task: Task) -> list[str]:
    if not (isinstance(task, Classify) and task.binary):
        return []
    if choices.risk == "high":
        return [
            "# From which probability on the event is called. Here: so that nine of ten events are found in the tune part,",
            "# because a missed one does most harm. Or choose: specificity, youden, cost (with task.costs), fixed (value: 0.2).",
            "threshold: {choose: sensitivity, at_least: 0.9, on: tune}",
        ]
    return [
        "# From which probability on the event is called. Here: the most sensitivity + specificity in the tune part.",
        "# Or choose: sensitivity or specificity (at_least: 0.9), cost (with task.costs), fixed (value: 0.2).",
        "threshold: {choose: youden, on: tune}",
    ]


def _checks(look: Look, choices: Choices, task: Task) -> list[str]:
    sensitive = _sensitive(look, choices)
    wanted: dict[str, tuple[Any, str]] = {
        "performance": ("performance", "how well it tells, with intervals by patient"),
        "calibration": ("calibration", "whether 20 % means 20 in 100"),
        "utility": ("utility", "whether acting on it does more good than treating all or none"),
        "thresholds": ("thresholds", "what a threshold means for 100 patients"),
        "subgroups": ({"subgroups": {"by": list(sensitive)}}, "the same in every group that is large enough"),
        "missingness": ("missingness", "what is missing, and whether that tells the outcome"),
        "sample_size": ("sample_size", "how many patients such answers need"),
        "explain": ("explain", "what the model looks at"),
    }
    kind = "classify" if isinstance(task, Classify) else "regress"
    binary = isinstance(task, Classify) and task.binary
    out = ["# What is asked of the predictions. A leakage check and the comparison with the baseline always run.", "checks:"]
    for name, (spec, why) in wanted.items():
        if name not in plugins.catalogue("checks") or kind not in plugins.load("checks", name).tasks:
            continue
        if (name == "subgroups" and not sensitive) or (name in ("utility", "thresholds") and not binary):
            continue
        text = flow(spec) if isinstance(spec, Mapping) else spec
        out.append(f"  - {text}{' ' * max(1, 30 - len(text))}# {why}")
    return out


def _gates(look: Look, choices: Choices, task: Task, size: Size, model: str) -> list[str]:
    out = [
        "# What must hold, declared beforehand and judged on the interval: pass when all of it is on the good side, fail when",
        "# all is on the bad side, else not enough evidence. These numbers are a start: put in those that you would act on.",
        "gates:",
    ]
    if not isinstance(task, Classify):
        return [*out, "  r2: {at_least: 0.2}      # better than guessing the mean, by this share of the variance"]
    if not task.binary:
        out.append("  auroc_macro: {at_least: 0.75}     # each class told from the rest, averaged over classes")
        return out
    n, events = size.judged(size.rows), size.judged(round(size.prevalence * size.rows))
    bound = 0.75
    needed = _n(lambda: samplesize.n_for_auroc(bound, bound + SPARE, size.prevalence))
    out += _gate(
        f"auroc: {{at_least: {bound}}}",
        f"a patient with the event is ranked above one without, {bound:.0%} of times",
        needed,
        n,
        f"rows if it is truly {bound + SPARE:.2f}",
    )
    found = 0.8
    needed = _n(lambda: samplesize.n_for_proportion(found, 0.9))
    if choices.risk == "high":
        out += _gate(
            f"sensitivity: {{at_least: {found}}}",
            "of those with the event, so many are called",
            needed,
            events,
            "events if it is truly 0.90",
        )
    needed = _n(lambda: _n_for_slope(size.prevalence))
    out += _gate(
        "calibration_slope: {between: [0.8, 1.2]}",
        "1 is right; below, the risks are too extreme",
        needed,
        n,
        "rows if it is truly 1",
    )
    if _sensitive(look, choices):
        out.append("  # No group may fall below this; each is judged on an interval that holds for all groups at once.")
        out.append("  worst_group: {auroc: 0.65}")
    if model != "logistic":
        out.append("  # beats: {auroc: logistic}      # better than the baseline, on the same rows")
    return out


def _gate(text: str, means: str, needed: int | None, there: int, of: str) -> list[str]:
    out = [f"  # {means[0].upper()}{means[1:]}."]
    if needed is not None:
        verdict = "enough" if there >= needed else "too few, most likely"
        out.append(f"  # To decide it takes about {needed:,} {of}; {there:,} will be judged: {verdict}.")
    return [*out, f"  {text}"]


def _n(work: Callable[[], int]) -> int | None:
    try:
        return work()
    except ValueError:
        return None  # no n decides, so none is told


def _n_for_slope(prevalence: float, c_statistic: float = 0.8) -> int:
    """Rows for a slope's interval of 0.8 to 1.2 when risks are spread so that the c-statistic is as given (binormal)."""
    from scipy.special import ndtri

    spread = float(np.sqrt(2) * ndtri(c_statistic))
    quantiles = ndtri((np.arange(1, 1000) - 0.5) / 999)
    risks = np.log(prevalence / (1 - prevalence)) + spread * quantiles
    return samplesize.validation_size(prevalence, c_statistic, risks, slope_width=0.4).slope


def _release(choices: Choices) -> list[str]:
    return [
        "# The stage asked for: research, shadow (runs unseen), assist (a person confirms), autonomous. `run` gives the highest",
        "# one that the gates allow. `rows: false` leaves the test rows out (then their numbers cannot be recomputed).",
        f"release: {{as: {scalar(choices.name)}, stage: assist}}",
    ]


# -- what the cohort block says ---------------------------------------------------------------------------------------


def _columns(suspect: Suspect, choices: Choices) -> list[str]:
    return [name for name in suspect.columns if name != choices.target]


def _time(look: Look, choices: Choices) -> str | None:
    return look.time if look.time != choices.target else None


def _sensitive(look: Look, choices: Choices) -> tuple[str, ...]:
    return tuple(name for name in look.sensitive if name != choices.target)


def _ignored(look: Look, choices: Choices) -> dict[str, list[str]]:
    """Reason → columns: those of no use, and ids that are neither subject nor row id."""
    taken = {choices.subject, choices.row_id, choices.target}
    out: dict[str, list[str]] = {}
    for name, reason in look.ignore.items():
        if name not in taken:
            out.setdefault(reason, []).append(name)
    for name in (*look.subjects, *look.row_ids):
        if name not in taken:
            out.setdefault("an id", []).append(name)
    return out


def _fields(look: Look, choices: Choices) -> dict[str, dict[str, str]]:
    """Declarations that the look suggests: ages in years, and sensitive or site codes as categories."""
    sensitive = _sensitive(look, choices)
    out = {name: {"unit": "a"} for name in sensitive if name in look.ages}
    schema = look.cohort.schema
    for name in (*sensitive, *([look.site] if look.site is not None else [])):
        if name not in look.ages and schema[name].kind == "number" and schema[name].unit is None and name != choices.target:
            out[name] = {"kind": "category"}
    return out
