"""The catalogue of models: what there is, how a plan names one, and which to begin with."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.errors import MissingExtra, PlanError
from bedside.models.task import Classify, Task

_TABULAR = ("number", "boolean", "category", "ordinal")
_MODULE_OF = {"ebm": "interpret", "explain": "shap", "tune": "optuna", "imaging": "torch", "onnx": "onnxruntime"}


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue, as its class describes it."""

    name: str
    tasks: tuple[str, ...]
    modality: str
    extra: str | None
    installed: bool
    interpretable: bool
    keeps_rows: bool
    summary_en: str
    summary_zh: str


def entries() -> list[Entry]:
    """Every model by name. Imports no model library: classes import theirs when they fit or load."""
    found = []
    for name in plugins.catalogue("models"):
        kind = plugins.load("models", name)
        found.append(
            Entry(
                name,
                tasks_of(kind),
                kind.modality,
                kind.extra,
                installed(kind.extra),
                kind.interpretable,
                kind.keeps_rows,
                *kind.summary,
            )
        )
    return found


def tasks_of(kind: Any) -> tuple[str, ...]:
    """The kinds of task a model can do: those it names, and several labels, one fit each, where it can classify."""
    own = tuple(kind.tasks)
    return (*own, "multilabel") if "classify" in own and "multilabel" not in own else own


def installed(extra: str | None) -> bool:
    """Whether a pip extra is there (one that is not ours counts as installed with its plug-in)."""
    module = _MODULE_OF.get(extra or "")
    return module is None or find_spec(module) is not None


def saved(name: str) -> Any:
    """The class that loads a saved model: one of the catalogue, or the serving form of a network."""
    from bedside.models.imaging.onnx_network import OnnxNetwork

    return OnnxNetwork if name == OnnxNetwork.name else plugins.load("models", name)


def named(spec: Any) -> tuple[str, dict[str, Any]]:
    """Name and parameters of a model's spec; `sklearn:dotted.path` is the model `sklearn` with that path."""
    name, parameters = plugins.parse_spec(spec)
    if name.startswith("sklearn:"):
        return "sklearn", {"path": name.removeprefix("sklearn:"), **parameters}
    return name, parameters


def build(spec: Any) -> Any:
    """An unfitted model from its spec: a name, {name: …, parameter: …} or `sklearn:dotted.path`.

    Raises PlanError for an unknown name or parameter (with the ones there are), MissingExtra naming what to install.
    """
    name, parameters = named(spec)
    kind = plugins.load("models", name)
    known = inspect.signature(kind).parameters
    if not any(item.kind is inspect.Parameter.VAR_KEYWORD for item in known.values()):
        main = getattr(kind, "main", None)
        for unknown in sorted(set(parameters) - set(known) - ({"main"} if main is not None else set())):
            near = difflib.get_close_matches(unknown, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise PlanError(
                f"model '{name}' has no parameter '{unknown}'", f"{hint}it has: {', '.join(known) or 'none'}"
            )
    if not installed(kind.extra):
        raise MissingExtra(kind.extra, f"the model '{name}'")
    return plugins.build("models", {name: parameters})


def default_calibration(spec: Any) -> Any:
    """How a model's probabilities are calibrated when the plan does not say: as its class does, else (and where class
    weights bend them) "auto"."""
    name, parameters = named(spec)
    if parameters.get("class_weight") is not None:
        return "auto"
    return getattr(plugins.load("models", name), "default_calibration", "auto")


def recommend(cohort: Cohort, task: Task, interpretable: bool = False) -> tuple[str, str, str]:
    """A model to begin with, and why, in English and Chinese: by size, events per input and need to be read.

    Fewer than 10 events an input (20 rows for a number; the smaller class counts) asks for a penalty that leaves inputs
    out (Riley 2020); large tables for boosted trees; in between, logistic or ridge regression.
    """
    tabular = sum(item.kind in _TABULAR for item in cohort.schema.inputs)
    if tabular == 0:
        raise PlanError("no input is a number, a boolean or a category", "models for tables need some")
    rows = len(cohort)
    if isinstance(task, Classify):
        counts = np.bincount(task.truth(cohort)[task.truth(cohort) >= 0], minlength=len(task.classes))
        n, each, plain = int(counts.min()), 10, "logistic"
        unit, unit_zh = f"{n} rows of the rarest class", f"最少类别仅 {n} 行"
    else:
        n, each, plain = rows, 20, "ridge"
        unit, unit_zh = f"{n} rows", f"共 {n} 行"
    if n < each * tabular:
        return (
            "lasso",
            f"{unit} for {tabular} inputs, fewer than {each} each: a penalty that leaves inputs out",
            f"{unit_zh}，却有 {tabular} 个输入变量，每个不足 {each} 例：宜用可剔除变量的惩罚回归",
        )
    large = rows >= 2000 and n >= 200
    if large and interpretable and installed("ebm"):
        return (
            "ebm",
            f"{rows} rows ({unit}) and it must be readable: a sum of curves",
            f"{rows} 行（{unit_zh}）且需可读：曲线之和的模型",
        )
    if large and not interpretable:
        return (
            "lightgbm",
            f"{rows} rows ({unit}), enough for boosted trees to find what a line cannot",
            f"{rows} 行（{unit_zh}），足以让提升树发现直线模型无法表达的关系",
        )
    reason = "it must be readable" if interpretable else "trees would overfit"
    reason_zh = "需可读" if interpretable else "树模型易过拟合"
    return (
        plain,
        f"{rows} rows ({unit}): {reason}, a regression is enough",
        f"{rows} 行（{unit_zh}）：{reason_zh}，回归即可",
    )
