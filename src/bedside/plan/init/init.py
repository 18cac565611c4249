"""Init: look at the data, ask what it cannot know, and write a first plan."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from bedside.cohort import plugins
from bedside.cohort.atomic import atomic_write
from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, PlanError
from bedside.plan.actions import declare_target, make_task
from bedside.plan.file.plan import Plan, TaskSpec, parse_plan
from bedside.plan.file.refuse import refuse_bad_plan
from bedside.plan.init import images
from bedside.plan.init import look as looking
from bedside.plan.init.draft import Choices, entries, reader_parameters
from bedside.plan.init.draft_text import listed, write
from bedside.plan.init.look import Look, Suspect
from bedside.plan.init.modality import refuse_no_table

NONE = "none"
RISKS = ("low", "medium", "high")
WAYS = ("subject", "site", "time")
OF_THE_FILE = (
    "separator", "quote", "decimal", "encoding", "header", "names", "sheet", "member", "dictionary", "columns",
)  # fmt: skip


class Ask(Protocol):
    """Somebody who can be asked."""

    def choose(self, question: str, options: Sequence[str], default: str | None, known: Sequence[str]) -> str:
        """One of `known` (or "none" where that is an option); `options` are the likely ones, shown."""
        ...

    def confirm(self, question: str, default: bool) -> bool:
        """Yes or no."""
        ...


class Defaults:
    """Nobody to ask: every default is taken, and a question without one is an error with the way out."""

    def choose(self, question: str, options: Sequence[str], default: str | None, known: Sequence[str]) -> str:
        """The default; raises PlanError when there is none."""
        if default is None:
            likely = f" (likely: {', '.join(options)})" if options else ""
            raise PlanError(f"the data does not say: {question}{likely}", "say it with --target COLUMN")
        return default

    def confirm(self, question: str, default: bool) -> bool:
        """Never: what is only suspected is not assumed, it is written into the plan as a comment."""
        return False


@dataclass(frozen=True)
class Wishes:
    """What the command line already says; None where it does not."""

    target: str | None = None
    subject: str | None = None
    positive: str | None = None
    risk: str | None = None
    by: str = "subject"
    interpretable: bool | None = None


@dataclass(frozen=True)
class Written:
    """The plan that was written, where, and what a person should still look at in it."""

    path: Path
    plan: Plan
    notes: tuple[str, ...]


def init(
    data: Path, out: Path, wishes: Wishes = Wishes(), *, read: Mapping[str, Any] | None = None, ask: Ask | None = None
) -> Written:
    """Write a plan for a table, or for a folder of images with their labels, at `out`, which must not exist; `read` are
    reader parameters that describe a table's file.

    Without `ask` every default is taken. Raises PlanError when the target cannot be told or a wish does not fit,
    DataError when the data is neither, cannot be read, or has too few of a class.
    """
    if out.exists():
        raise PlanError(f"{out} exists", "name another file with -o, or delete it")
    if data.is_dir() and (pictures := images.layout(data)) is not None:
        return _of_images(data, out, wishes, read or {}, ask if ask is not None else Defaults(), pictures)
    refuse_no_table(data)
    file = _file_parameters(data, read or {})
    found = looking.look(_read(data, file))
    relative = {key: _relative(Path(value), out) if key == "dictionary" else value for key, value in file.items()}
    name = _named_after(Path(str(file.get("member", data.name))))
    choices = _asked(found, wishes, ask if ask is not None else Defaults(), name, _relative(data, out))
    cohort = _read(data, reader_parameters(found, replace(choices, read=file)))
    cohort, _ = declare_target(cohort, _task_spec(choices))
    text = write(found, replace(choices, read=relative), cohort, make_task(cohort, _task_spec(choices)))
    return _written(out, text, _notes(found, choices))


def _of_images(
    data: Path, out: Path, wishes: Wishes, read: Mapping[str, Any], ask: Ask, pictures: images.Layout
) -> Written:
    """The plan of a folder of images; the label table is asked what a table is asked."""
    if read:
        raise PlanError(f"--read {next(iter(read))} describes a table", "leave it out for a folder of images")
    if wishes.target is None and pictures.labels is None:
        wishes = replace(wishes, target=images.CLASS)
    found = looking.look(pictures.cohort)
    choices = _asked(found, wishes, ask, _named_after(data), _relative(data, out))
    cohort = pictures.cohort
    if choices.subject is not None and pictures.labels is not None:
        cohort = _read(data / pictures.labels, {"subject": choices.subject})
    cohort, _ = declare_target(cohort, _task_spec(choices))
    text = images.write(pictures, found, choices, cohort, make_task(cohort, _task_spec(choices)))
    return _written(out, text, _notes(found, choices))


def _written(out: Path, text: str, notes: Sequence[str]) -> Written:
    plan, document = parse_plan(text, str(out))
    refuse_bad_plan(plan, document)
    atomic_write(out, text.encode())
    return Written(out, plan, tuple(notes))


def _read(data: Path, parameters: Mapping[str, Any]) -> Cohort:
    try:
        cohort: Cohort = plugins.build("readers", {"name": "tables", **parameters}).read(data)
    except DataError as error:
        raise DataError(error.what, f"{error.way_out} (here with --read KEY=VALUE)") from None
    if len(cohort) == 0:
        raise DataError(f"{data}: no rows", "check the file")
    if looking.headless(cohort):
        raise DataError(
            f"{data}: the first row looks like a patient's, not like the names of columns",
            "give the names: --read header=false --read 'names=[age, sex, …]'",
        )
    return cohort


def _task_spec(choices: Choices) -> TaskSpec:
    return TaskSpec.model_validate({choices.kind: choices.target, "positive": choices.positive, "risk": choices.risk})


def _asked(found: Look, wishes: Wishes, ask: Ask, name: str, path: str) -> Choices:
    """Every choice: as wished, else as answered, else by default."""
    cohort = found.cohort
    names = cohort.schema.names
    target = wishes.target
    if target is None:
        best = found.targets[0] if found.sure else None
        target = ask.choose("which column is to be predicted?", found.targets[:8], best, names)
    cohort.schema[target]  # raises with the fields there are
    kind = looking.kind_of_target(cohort, target)
    positive, by_word = _positive(cohort, target, kind, wishes.positive, ask)
    subject = _subject(found, wishes.subject, target, ask)
    row_id = found.row_id or next((each for each in found.row_ids if each not in (subject, target)), None)
    risk = wishes.risk or ask.choose("what may a wrong answer do to a patient?", RISKS, "high", RISKS)
    if risk not in RISKS:
        raise PlanError(f"no risk is called '{risk}'", "one of " + ", ".join(RISKS))
    if wishes.by not in WAYS:
        raise PlanError(f"no split is by '{wishes.by}'", "one of " + ", ".join(WAYS))
    if wishes.by != "subject" and getattr(found, wishes.by) is None:
        raise PlanError(f"no column looks like a {wishes.by}", f"give one under `{wishes.by}:` in the plan")
    readable = wishes.interpretable
    if readable is None:
        readable = ask.confirm("must a person be able to read the model itself?", False)
    missing = tuple(each for each in found.suspects if target not in each.columns and _means_missing(each, ask))
    return Choices(
        name=name,
        path=path,
        read={},
        target=target,
        kind=kind,
        positive=positive,
        by_word=by_word,
        subject=subject,
        row_id=row_id,
        risk=risk,
        by=wishes.by,
        interpretable=readable,
        missing=missing,
    )


def _positive(cohort: Cohort, target: str, kind: str, wish: str | None, ask: Ask) -> tuple[str | None, bool]:
    """The event's class, and whether it is known to be: said, answered, or told by its word. None unless of two."""
    if kind == "regress":
        if wish is not None:
            raise PlanError(f"'{target}' is a number, so it has no positive class", "leave --positive out")
        return None, True
    values = cohort[target].drop_nulls().n_unique()
    if values > looking.MOST_CLASSES:  # said without showing any: they may be names
        raise PlanError(
            f"'{target}' has {values} different values, too many for classes", "name another column with --target"
        )
    counts = looking.classes(cohort, target)
    if wish is not None and wish not in counts:
        raise PlanError(f"'{wish}' is no value of '{target}'", f"it has {listed(list(counts), 10)}")
    if len(counts) != 2:
        if wish is not None:
            raise PlanError(f"'{target}' has {len(counts)} classes: none of them is the event", "leave --positive out")
        return None, True
    if wish is not None:
        return wish, True
    likely, by_word = looking.likely_positive(counts)
    answer = ask.choose(f"which class of '{target}' is the event?", list(counts), likely, list(counts))
    return answer, by_word or not isinstance(ask, Defaults)


def _subject(found: Look, wish: str | None, target: str, ask: Ask) -> str | None:
    """The column that says who the patient is, or None."""
    names = found.cohort.schema.names
    candidates = [found.subject] if found.subject is not None else [name for name in found.subjects if name != target]
    if wish is None:
        question = "which column says who the patient is? Rows of one patient are kept together"
        default = candidates[0] if candidates else NONE
        wish = default
        if found.subject is None:
            wish = ask.choose(question, [*candidates, NONE], default, [*names, NONE])
    if wish == NONE and NONE not in names:
        return None
    if wish != found.subject:
        empty = found.cohort[wish].null_count()
        if wish == target:
            raise PlanError(f"'{wish}' cannot be both the target and the patient", "name another with --subject")
        if empty:
            raise DataError(f"column '{wish}' has {empty} missing values", "who a row belongs to must be known")
    return wish


def _means_missing(suspect: Suspect, ask: Ask) -> bool:
    columns = listed(list(suspect.columns), 4)
    code = f"{suspect.code:g}" if isinstance(suspect.code, float) else f"'{suspect.code}'"
    return ask.confirm(f'{code} stands in {suspect.rows:,} cells of {columns}: does it mean "not known"?', True)


def _notes(found: Look, choices: Choices) -> list[str]:
    """What a person should still look at."""
    out = []
    if choices.subject is None:
        out.append("no column says who the patient is: if one patient has several rows, the results will be too good")
    if choices.positive is not None and not choices.by_word:
        out.append(f"the event is taken to be {choices.positive}, the rarer class")
    open_ = [each for each in found.suspects if each not in choices.missing and choices.target not in each.columns]
    if open_:
        codes = ", ".join(str(entry) for each in open_[:4] for entry in entries(found, each)[:1])
        out.append(
            f"values that may mean missing are left as they are ({len(open_)}: {codes}{' …' if len(open_) > 4 else ''})"
        )
    if [name for name in found.after if name != choices.target]:
        out.append("some columns sound as though they were known only after the outcome: see `ignore`")
    if found.duplicates:
        out.append(f"{found.duplicates:,} rows repeat an earlier one: see `clean`")
    return out


def _file_parameters(data: Path, read: Mapping[str, Any]) -> dict[str, Any]:
    """Reader parameters that describe the file, and a data dictionary that lies beside it."""
    unknown = sorted(set(read) - set(OF_THE_FILE))
    if unknown:
        raise PlanError(f"--read {unknown[0]} does not describe a file", "one of " + ", ".join(OF_THE_FILE))
    beside = data.with_suffix(".dictionary.json")
    return {**({"dictionary": str(beside)} if beside.is_file() else {}), **read}


def _relative(path: Path, out: Path) -> str:
    """A path as the plan says it: relative to its own folder."""
    return Path(os.path.relpath(path.resolve(), out.resolve().parent)).as_posix()


def _named_after(data: Path) -> str:
    """A plan's name from the file's: letters, digits, dots and dashes."""
    stem = data.name.split(".")[0] or "plan"
    return re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")[:64].strip("-") or "plan"
