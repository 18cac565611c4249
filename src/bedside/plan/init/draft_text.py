"""A first plan as text: valid YAML in which each block says, in a comment, what it is for and why it stands so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.models.task import Classify, Task
from bedside.plan.init import draft
from bedside.plan.init.draft import Choices, Size
from bedside.plan.init.draft_gates import gates
from bedside.plan.init.look import Look, Suspect
from bedside.plan.init.names import plain

SHOWN = 20  # columns that a comment lists


def write(look: Look, choices: Choices, cohort: Cohort, task: Task) -> str:
    """The plan's text; `cohort` was read with `draft.reader_parameters`, `task` is what the plan asks of it."""
    from bedside.models.catalogue import recommend

    size = Size.of(cohort, task)
    model, reason, _ = recommend(cohort, task, choices.interpretable)
    groups = draft.sensitive_of(look, choices)
    blocks = [
        head(look, choices),
        _cohort(look, choices),
        _clean(look),
        task_of(choices, task, size),
        split(look, choices, size),
        _model(model, reason, task),
        threshold(choices, task),
        _checks(look, choices, task),
        gates(cohort, task, size, model, risk=choices.risk, groups=groups),
        release(choices),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def scalar(value: Any) -> str:
    """A value as YAML that is safe in block and flow: quoted where it must be, whatever it holds."""
    return flow([value])[1:-1]


def flow(value: Any) -> str:
    """A mapping or list as YAML on one line."""
    text = yaml.dump(
        value, Dumper=_OneLine, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False
    )
    return str(text).strip()


class _OneLine(yaml.SafeDumper):
    """Writes text that holds a line break, or another character that cannot be seen, in double quotes with escapes."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')


_OneLine.add_representer(str, _text)


def listed(columns: Sequence[str], most: int) -> str:
    """Columns in words, for a comment."""
    shown = ", ".join(plain(name) for name in columns[:most])
    return shown if len(columns) <= most else f"{shown} and {len(columns) - most} more"


def head(look: Look, choices: Choices) -> list[str]:
    """The opening comment, `plan` and `name`."""
    rows, columns = len(look.cohort), len(look.cohort.schema.fields)
    return [
        "# A plan: what will be done with the data, declared before any result is seen.",
        f"# Written by `bedside init` after a look at {rows:,} rows and {columns:,} columns. Read it, change what is",
        "# wrong, then `bedside run` it. Every key is explained in docs/plan.md.",
        "plan: 1",
        f"name: {scalar(choices.name)}",
    ]


def _cohort(look: Look, choices: Choices) -> list[str]:
    out = ["# What the data is. A row is one prediction; rows of one subject are never on both sides of a split."]
    out += ["cohort:", "  read: tables", f"  path: {scalar(choices.path)}"]
    out += [f"  {scalar(key)}: {flow([value])[1:-1]}" for key, value in choices.read.items()]
    if choices.subject is None:
        out.append("  # subject: COLUMN    # none is declared: each row counts as a patient, and the report says so")
    roles = {"subject": choices.subject, "row_id": choices.row_id}
    roles |= {"time": draft.time_of(look, choices), "site": draft.site_of(look, choices)}
    out += [f"  {role}: {scalar(name)}" for role, name in roles.items() if name is not None]
    if sensitive := draft.sensitive_of(look, choices):
        out += ["  # Results are looked at by group in these; they are inputs too."]
        out += [f"  sensitive: {flow(list(sensitive))}"]
    return [*out, *_ignored(look, choices), *_fields(look, choices), *_missing(look, choices)]


def _ignored(look: Look, choices: Choices) -> list[str]:
    out = []
    if columns := draft.ignored(look, choices):
        out += ["  # Columns that are not read at all.", "  ignore:"]
        for reason, names in columns.items():
            out += [f"    # {reason}", *(f"    - {scalar(name)}" for name in names)]
    late = [name for name in look.after if name not in (choices.target, choices.subject, choices.row_id)]
    if late:
        out += ["  # Known only after the outcome? Then no model may look at it, and it belongs under `ignore`:"]
        out += _commented(f"- {scalar(name)}" for name in late)
    return out


def _fields(look: Look, choices: Choices) -> list[str]:
    out, fields = [], draft.declared(look, choices)
    if fields:
        out += [
            "  # What a column is, where its values do not say it: kind, unit (UCUM), low, high, label.",
            "  fields:",
        ]
        out += [f"    {scalar(name)}: {flow(about)}" for name, about in fields.items()]
    if codes := [name for name in look.coded if name not in fields and name != choices.target]:
        out += [
            "  # Whole numbers with few values are taken as quantities; where they are codes, say so under `fields`:"
        ]
        out += _commented(f"{scalar(name)}: {{kind: category}}" for name in codes)
    return out


def _missing(look: Look, choices: Choices) -> list[str]:
    out = []
    if choices.missing:
        out += ['  # Values that stand for "not known".', "  missing:"]
        out += [f"    - {line}" for each in choices.missing for line in _suspect(look, each)]
    doubtful = [each for each in look.suspects if each not in choices.missing and choices.target not in each.columns]
    if doubtful:
        out += ['  # These look as though they stood for "not known"; they are read as values unless you say so:']
        out += ["  # missing:"] if not choices.missing else []
        out += _commented(f"- {line}" for each in doubtful for line in _suspect(look, each))
    return out


def _suspect(look: Look, suspect: Suspect) -> list[str]:
    lines = [scalar(each) if not isinstance(each, Mapping) else flow(each) for each in draft.entries(look, suspect)]
    lines[0] += f"    # in {suspect.rows:,} cells: {listed(list(suspect.columns), 4)}"
    return lines


def _commented(lines: Any) -> list[str]:
    found = list(lines)
    more = [f"  #   … and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return [*(f"  #   {line}" for line in found[:SHOWN]), *more]


def _clean(look: Look) -> list[str]:
    out = ["# Repairs before the split. They learn nothing, and the report counts what they remove."]
    ranged = any(item.low is not None or item.high is not None for item in look.cohort.schema.fields)
    mark = "" if ranged else "# "
    out += [
        f"{mark}clean:",
        f"{mark}  - {{ranges: missing}}     # values outside the low and high of their field are removed",
    ]
    if look.duplicates:
        out.insert(1, f"# {look.duplicates:,} rows repeat an earlier one in every field: copies, or alike by chance?")
        out.append("#   - {duplicates: group}  # keeps equal rows on one side of the split; drop keeps one")
    return out


def task_of(choices: Choices, task: Task, size: Size) -> list[str]:
    """The block `task`."""
    spec: dict[str, Any] = {choices.kind: choices.target}
    out = ["# The question, and what a wrong answer may do to a patient (risk: low, medium or high)."]
    if isinstance(task, Classify) and task.binary:
        label = str(task.positive)
        spec["positive"] = {"0": 0, "1": 1, "false": False, "true": True}.get(label, label)
        count = round(size.prevalence * size.rows)
        out.append(f"# The event is {plain(label)}: {count:,} of {size.rows:,} rows ({size.prevalence:.1%}).")
        if not choices.by_word:
            out.append("# It was taken because it is the rarer class: make sure that it is the one you mean.")
    elif isinstance(task, Classify):
        out.append(f"# {len(task.classes)} classes; the rarest has {size.rarest:,} of {size.rows:,} rows.")
    else:
        out.append(f"# A number, known in {size.rows:,} rows.")
    return [*out, f"task: {flow({**spec, 'risk': choices.risk})}"]


def split(look: Look, choices: Choices, size: Size) -> list[str]:
    """The block `split`, with the reason for folds or a hold-out."""
    spec: dict[str, Any] = {"by": choices.by}
    sites = look.cohort[look.site].n_unique() if choices.by == "site" and look.site is not None else 0
    if choices.by == "time":
        spec["test"] = draft.HOLD_OUT_TEST
        why = "The subjects seen last are set aside for the test, as a model meets them in service."
    elif choices.by == "site":
        spec |= {"folds": min(5, sites)} if sites > 2 else {"test": draft.HOLD_OUT_TEST}
        why = "Whole sites are left out: does the model hold where it was not made?"
    elif size.test is not None:
        spec["test"] = size.test
        why = "There is enough to set a quarter of the subjects aside for the test."
    else:
        spec["folds"] = size.folds
        few = f"{size.rarest:,} rows" + (" of the rarest class" if size.rarest < size.rows else "")
        why = f"{few} are too few to set some aside: every subject is judged, by a model that did not see them."
    return [
        f"# {why}",
        "# `tune` serves early stopping, calibration and the threshold. The seed says who goes where.",
        f"split: {flow({**spec, 'tune': 0.15, 'seed': 7})}",
    ]


def _model(model: str, reason: str, task: Task) -> list[str]:
    usual = "logistic" if isinstance(task, Classify) else "ridge"
    return [
        f"# Why this one: {reason}.",
        "# Its steps (imputing, scaling, encoding) are learnt from the training part. `bedside models` lists others.",
        f"model: {{name: {model}}}",
        "# A simple model beside it, judged on the same rows: the report says so when it does as well.",
        f"baseline: [{'majority' if model == usual else usual}]",
    ]


def threshold(choices: Choices, task: Task) -> list[str]:
    """The block `threshold`; none but of two classes."""
    if not (isinstance(task, Classify) and task.binary):
        return []
    rule, why = "youden", "most sensitivity + specificity in the tune part"
    if choices.risk == "high":
        rule, why = "{sensitivity: 0.9}", "9 of 10 events of the tune part, since a missed one harms most"
    return [
        f"# From which probability on the event is called. Here: {why}.",
        "# Others: {specificity: 0.9}, youden, cost (with task.costs), {net_benefit: 0.1}, or a number such as 0.2.",
        f"threshold: {rule}",
    ]


def _checks(look: Look, choices: Choices, task: Task) -> list[str]:
    sensitive = list(draft.sensitive_of(look, choices))
    two = isinstance(task, Classify) and task.binary
    wanted: list[tuple[str, bool, str]] = [
        ("performance", True, "how well it tells, with intervals by patient"),
        ("calibration", True, "whether a risk of 20 % means 20 in 100"),
        ("utility", two, "whether acting on it does more good than treating all, or none"),
        ("thresholds", two, "what a threshold means for 100 patients"),
        ("subgroups", bool(sensitive), "the same in every group that is large enough"),
        ("missingness", True, "what is missing, and whether that tells the outcome"),
        ("sample_size", two, "how many patients such answers need"),
        ("explain", True, "what the model looks at"),
    ]
    kind = "classify" if isinstance(task, Classify) else "regress"
    out = ["# What is asked of the predictions. A leakage check and the comparison with the baseline always run."]
    out.append("checks:")
    for name, of_use, why in wanted:
        if of_use and name in plugins.catalogue("checks") and kind in plugins.load("checks", name).tasks:
            text = flow({name: {"by": sensitive}}) if name == "subgroups" else name
            out.append(f"  - {text:<28}  # {why}")
    return out


def release(choices: Choices) -> list[str]:
    """The block `release`."""
    return [
        "# The stage asked for: research, shadow (runs unseen), assist (a person confirms) or autonomous. `run` gives",
        "# the highest that the gates allow. `rows: false` keeps the test rows here: nobody can recompute the numbers.",
        f"release: {{as: {scalar(choices.name)}, stage: assist}}",
    ]
