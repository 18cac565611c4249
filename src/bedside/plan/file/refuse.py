"""What can be known to be wrong with a plan before any data is read, each with its line."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from bedside.checks.labels import answers
from bedside.cohort import plugins
from bedside.errors import PlanError
from bedside.evidence.gates import Gate
from bedside.models import catalogue
from bedside.models.calibrate import method_of
from bedside.models.threshold import rule_of
from bedside.plan.file.defaults import ALWAYS, baselines
from bedside.plan.file.plan import Candidate, Plan
from bedside.plan.file.yaml_lines import Document, Path
from bedside.prepare import clean, steps


def refuse_bad_plan(plan: Plan, document: Document, *, in_memory: bool = False) -> None:
    """Raise PlanError, with the line, for the first thing that cannot be carried out (`in_memory`: nothing is read)."""
    if not in_memory:
        _known("readers", plan.cohort.read, document, ("cohort", "read"))
    _of_classes(plan, document)
    for i, spec in enumerate(plan.clean):
        _clean(spec, document, ("clean", i))
    for i, spec in enumerate(plan.steps or []):
        _step(spec, document, ("steps", i))
    _model(plan, plan.model, document, ("model",))
    for i, each in enumerate(plan.baseline):
        _model(plan, each, document, ("baseline", i))
    checks = [_for_task("checks", plan, spec, document, ("checks", i)) for i, spec in enumerate(plan.checks)]
    acts = [_for_task("actions", plan, spec, document, ("actions", i)) for i, spec in enumerate(plan.actions)]
    _gates(plan, checks, acts, document)


def refuse_unknown_groups(plan: Plan, names: Collection[str], document: Document) -> None:
    """Raise PlanError, with the line, for a check that groups by a field that the cleaned cohort does not have."""
    for i, spec in enumerate(plan.checks):
        check = plugins.build("checks", spec)
        if check.looks_at != "groups":
            continue
        by = getattr(check, "by", None) or []
        unknown = [name for name in ([by] if isinstance(by, str) else by) if name not in names]
        if unknown:
            shown = ", ".join(list(names)[:30])
            raise document.error(("checks", i), f"no field {unknown} to group by", f"fields: {shown}")


def _of_classes(plan: Plan, document: Document) -> None:
    """What speaks of classes only where there are some, and a threshold by costs only with costs."""
    if plan.task.regress is not None:
        given: list[tuple[Path, Any]] = [(("threshold",), plan.threshold), (("calibrate",), plan.calibrate)]
        given += [(("task", "positive"), plan.task.positive), (("task", "costs"), plan.task.costs)]
        for path, value in given:
            if value is not None:
                raise document.error(path, "this is for classes, and the task is to regress", "remove it")
        return
    _build(lambda: method_of(plan.calibrate), document, ("calibrate",))
    rule = None if plan.threshold is None else _build(lambda: rule_of(plan.threshold)[0], document, ("threshold",))
    if rule == "cost" and plan.task.costs is None:
        way_out = "declare task.costs: {false_negative: 5, false_positive: 1}"
        raise document.error(("threshold",), "a threshold by cost needs the task's costs", way_out)


def _known(group: str, name: str, document: Document, path: Path) -> None:
    if name not in plugins.catalogue(group):
        _build(lambda: plugins.load(group, name), document, path)


def _name(spec: Any, document: Document, path: Path) -> str:
    return str(_build(lambda: plugins.parse_spec(spec)[0], document, path))


def _clean(spec: Any, document: Document, path: Path) -> None:
    name = _name(spec, document, path)
    known = plugins.catalogue("steps")
    if f"clean.{name}" in known:
        _build(lambda: clean.build(spec), document, path)
        return
    if name in known:
        raise document.error(
            path,
            f"'{name}' is a fitted step: before the split it would learn from the test part",
            f"move it from clean to steps, which are fitted on the training part; clean knows {_cleaners()}",
        )
    raise document.error(path, f"no cleaning step is called '{name}'", f"known: {_cleaners()}")


def _cleaners() -> str:
    return ", ".join(name.removeprefix("clean.") for name in plugins.catalogue("steps") if name.startswith("clean."))


def _step(spec: Any, document: Document, path: Path) -> None:
    name = _name(spec, document, path)
    known = plugins.catalogue("steps")
    if name.startswith("clean.") or name not in known:
        if f"clean.{name.removeprefix('clean.')}" in known:
            raise document.error(path, f"'{name}' is a cleaning step", "move it from steps to clean")
        _known("steps", name, document, path)
    _build(lambda: steps.build(spec), document, path)


def _build(make: Callable[[], Any], document: Document, path: Path) -> Any:
    """What a spec names, made; its own complaint about its parameters gets the line."""
    try:
        return make()
    except PlanError as error:
        raise document.error(path, error.what, error.way_out) from None


def _model(plan: Plan, candidate: Candidate, document: Document, path: Path) -> None:
    name = candidate.name.split(":")[0]
    _known("models", name, document, (*path, "name"))
    kind = plan.task.kind
    tasks = catalogue.tasks_of(plugins.load("models", name))
    if kind not in tasks:
        does = "predict several labels" if kind == "multilabel" else kind
        raise document.error(
            (*path, "name"), f"'{name}' cannot {does}", f"it can {', '.join(tasks)}; see `bedside models`"
        )
    _build(lambda: catalogue.build(candidate.spec), document, path)
    for i, spec in enumerate(candidate.steps or []):
        _step(spec, document, (*path, "steps", i))


def _for_task(group: str, plan: Plan, spec: Any, document: Document, path: Path) -> Any:
    """A check or an action of the plan, made."""
    name = _name(spec, document, path)
    _known(group, name, document, path)
    made = _build(lambda: plugins.build(group, spec), document, path)
    if not (answers(made, plan.task.kind) if group == "checks" else plan.task.kind in made.tasks):
        what = f"the {group[:-1]} '{name}' is not for a task of the kind {plan.task.kind}"
        raise document.error(path, what, "remove it")
    refuse = getattr(made, "refuse_model", None)
    if refuse is not None:
        _build(lambda: refuse(catalogue.build(plan.model.spec)), document, path)
    return made


def _gates(plan: Plan, checks: list[Any], acts: list[Any], document: Document) -> None:
    everything = [*checks, *acts, *(plugins.load("checks", name) for name in ALWAYS)]
    names = baselines(plan)
    for gate in plan.declared_gates():
        place: Path = ("gates", gate.metric)
        _label(plan, gate, document)
        if gate.each_group:
            place = ("gates", "worst_group", gate.metric)
            if not any(check.looks_at == "groups" for check in checks):
                raise document.error(
                    place,
                    "a gate on groups needs the check that makes them",
                    "add {subgroups: {by: [sex, age]}} to checks",
                )
            if not any(_declares_groups(plan, check) for check in checks if check.looks_at == "groups"):
                raise document.error(
                    place, "a gate on groups without a declared group field", "say which: {subgroups: {by: [sex]}}"
                )
        elif gate.versus is not None:
            place = ("gates", "beats", gate.metric)
            if gate.versus not in names:
                raise document.error(place, f"no baseline is called '{gate.versus}'", "known: " + ", ".join(names))
        elif not any(gate.metric in check.metrics for check in everything):
            ways = []
            for group in ("checks", "actions"):
                offering = [
                    name for name in plugins.catalogue(group) if gate.metric in plugins.load(group, name).metrics
                ]
                ways += [f"add {' or '.join(offering)} to {group}"] if offering else []
            way_out = "; or ".join(ways) if ways else "no installed check estimates it"
            raise document.error(place, f"a gate on '{gate.metric}' without its check", way_out)


def _label(plan: Plan, gate: Gate, document: Document) -> None:
    """A gate on a label names one of the plan's."""
    label = (gate.at or {}).get("label")
    if label is not None and (plan.task.kind != "multilabel" or label not in plan.task.targets):
        place: Path = ("gates", "worst_group", gate.metric) if gate.each_group else ("gates", gate.metric)
        known = ", ".join(plan.task.targets) if plan.task.kind == "multilabel" else "none: the task has no labels"
        raise document.error(place, f"no label is called '{label}'", f"labels: {known}")


def _declares_groups(plan: Plan, check: Any) -> bool:
    return bool(getattr(check, "by", None)) or bool(plan.cohort.parameters.get("sensitive"))
