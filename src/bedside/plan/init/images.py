"""A first plan for a folder of images: with a label table, or with a subfolder a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.intake.image_files import listing, looks_like_image
from bedside.intake.tables import Tables
from bedside.models.task import Classify, Task
from bedside.plan.init import draft
from bedside.plan.init.draft import Choices, Size
from bedside.plan.init.draft_gates import gates
from bedside.plan.init.draft_text import flow, head, release, scalar, split, task_of, threshold
from bedside.plan.init.look import Look
from bedside.plan.init.modality import kind_of

CLASS = "class"  # the field that a subfolder's name fills
SIDE = 96


@dataclass(frozen=True)
class Layout:
    """How the images of a folder are labelled: a table and its column of paths, or neither (a subfolder a class).

    `cohort` is the table as read with nothing declared, without its column of paths; or the one field `class`.
    """

    images: int
    labels: str | None
    file: str | None
    cohort: Cohort


def layout(folder: Path) -> Layout | None:
    """What lies in a folder, None where there is no image; raises DataError where the images have no label."""
    names = [name for name in listing(folder) if looks_like_image(folder / name)]
    if not names:
        return None
    tables = [name for name in listing(folder) if kind_of(folder / name) == "table"]
    found = [made for name in tables if (made := _labelled(folder, name, names)) is not None]
    if len(found) > 1:
        told = ", ".join(str(each.labels) for each in found)
        raise DataError(f"{folder}: more than one table names its images: {told}", "leave one of them in the folder")
    if found:
        return found[0]
    classes = [name.split("/")[0] for name in names if "/" in name]
    if len(classes) < len(names) or len(set(classes)) < 2:
        besides = f", and none of {', '.join(tables[:5])} names them" if tables else ""
        raise DataError(
            f"{folder}: {len(names):,} images without a label{besides}",
            "put a table (file, label, patient) beside them, or each class into a subfolder of its own",
        )
    frame = pl.DataFrame({CLASS: classes})
    return Layout(len(names), None, None, Cohort.of(frame, [Field(CLASS, "category", ("target",))]))


def _labelled(folder: Path, name: str, images: Sequence[str]) -> Layout | None:
    table, there = Tables().read(folder / name), set(images)
    texts = [item.name for item in table.schema.fields if item.kind in ("text", "category")]
    hits = {each: int(table[each].is_in(list(there)).sum()) for each in texts}
    best = max(hits, key=lambda each: hits[each], default=None)
    if best is None or hits[best] == 0 or "/" in name:
        return None
    kept = table.take(table[best].is_in(list(there)).arg_true().to_list())
    return Layout(len(kept), name, best, kept.keeping([each for each in kept.schema.names if each != best]))


def reader_parameters(found: Layout, look: Look, choices: Choices) -> dict[str, Any]:
    """What the plan tells the reader `images`, besides the path."""
    sensitive = list(draft.sensitive_of(look, choices))
    told = {
        "labels": found.labels,
        "file": found.file,
        "target": choices.target,
        "subject": choices.subject,
        "site": draft.site_of(look, choices),
        "sensitive": sensitive,
    }
    return {key: value for key, value in told.items() if value not in (None, [])}


def write(found: Layout, look: Look, choices: Choices, cohort: Cohort, task: Task) -> str:
    """The plan's text. Raises PlanError for a target that is a number: networks on images tell classes."""
    if not isinstance(task, Classify):
        raise PlanError(f"'{choices.target}' is a number", "models of images tell classes; name another --target")
    size = Size.of(cohort, task)
    parameters = reader_parameters(found, look, choices)
    groups = draft.sensitive_of(look, choices)
    blocks = [
        head(look, choices),
        _cohort(choices, parameters),
        _clean(),
        task_of(choices, task, size),
        split(look, choices, size),
        _model(groups),
        threshold(choices, task),
        _checks(groups, task),
        gates(cohort, task, size, "small_cnn", risk=choices.risk, groups=groups),
        release(choices),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _cohort(choices: Choices, parameters: Mapping[str, Any]) -> list[str]:
    out = ["# What the data is. A row is one image; images of one subject are never on both sides of a split."]
    out += ["cohort:", "  read: images", f"  path: {scalar(choices.path)}"]
    out += [f"  {key}: {flow([value])[1:-1]}" for key, value in parameters.items()]
    if choices.subject is None:
        out.append("  # subject: COLUMN    # none is declared: the report says that patients are unknown")
    return [
        *out,
        "  # unreadable: quarantine    # leaves out files that cannot be read; without it, one stops the run",
        "  # mask: FOLDER              # masks called like their images: heat maps are measured against them",
    ]


def _clean() -> list[str]:
    return [
        "# Near-duplicates become one subject, so that no copy is both trained on and judged on. Where images of one",
        "# kind merely look alike (the report says so), ask for more: {duplicates: {how: group, correlation: 0.9}}.",
        "clean: [{duplicates: group}]",
    ]


def _model(groups: Sequence[str]) -> list[str]:
    out = [
        "# A small network that a processor trains; it stops early, and at the latest after these minutes a fit.",
        f"model: {{name: small_cnn, image: {SIDE}, budget: {{minutes: 10}}}}",
        "# Simple models on the same rows: mere statistics of the pixels"
        + (", and no image at all." if groups else "."),
        "baseline:",
        "  - {name: logistic, steps: [image_statistics, scale]}",
    ]
    if groups:
        out.append(f"  - {{name: logistic, steps: [{{select: {flow(list(groups))}}}, impute, encode, scale]}}")
    return out


def _checks(groups: Sequence[str], task: Classify) -> list[str]:
    blind = ["logistic", *(["logistic-2"] if groups else [])]
    wanted: list[tuple[Any, bool, str]] = [
        ("performance", True, "how well it tells, with intervals by patient"),
        ("calibration", True, "whether a risk of 20 % means 20 in 100"),
        ("utility", task.binary, "whether acting on it does more good than treating all, or none"),
        ({"subgroups": {"by": list(groups)}}, bool(groups), "the same in every group that is large enough"),
        ({"shortcuts": blind}, task.binary, "what these baselines tell, and whether the score follows them"),
        ({"explain": "grad_cam"}, True, "where in the image the network looks"),
    ]
    out = [
        "# What is asked of the predictions. A leakage check and the comparison with the baselines always run.",
        "checks:",
    ]
    return out + [
        f"  - {flow(spec) if isinstance(spec, dict) else spec:<28}  # {why}" for spec, use, why in wanted if use
    ]
