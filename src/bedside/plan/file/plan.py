"""The Plan: the pre-declared analysis plan, the one file a user writes (YAML or Python)."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bedside.cohort.digest import json_digest
from bedside.errors import PlanError
from bedside.evidence.gates import Gate, Stage
from bedside.models.threshold import rule_of
from bedside.plan.file import yaml_lines
from bedside.plan.file.places import files_named, without_folders
from bedside.plan.file.yaml_lines import Document

Spec = str | dict[str, Any]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Costs(_Strict):
    """Cost of a miss and of a false alarm, per case, in one unit."""

    false_negative: Annotated[float, Field(gt=0)]
    false_positive: Annotated[float, Field(gt=0)]


class CohortSpec(BaseModel):
    """Which reader reads what; every further key is a parameter of the reader."""

    model_config = ConfigDict(extra="allow", frozen=True)
    read: str = "tables"
    path: str

    @property
    def parameters(self) -> dict[str, Any]:
        """The reader's own parameters."""
        return dict(self.__pydantic_extra__ or {})


class TaskSpec(_Strict):
    """What is predicted: exactly one of classify and regress names the target field; a list under classify, labels.

    `positive` is the event: one for all labels, or by label.
    """

    classify: str | list[str] | None = None
    regress: str | None = None
    positive: str | int | bool | dict[str, str | int | bool] | None = None
    risk: Literal["low", "medium", "high"] = "high"
    costs: Costs | None = None

    @model_validator(mode="after")
    def _one_target(self) -> TaskSpec:
        if (self.classify is None) == (self.regress is None):
            raise ValueError("name the target under exactly one of classify, regress")
        if isinstance(self.classify, list) and (len(self.classify) < 2 or len(set(self.classify)) < len(self.classify)):
            raise ValueError("labels are two or more different fields; one field alone stands without a list")
        if isinstance(self.positive, dict) and not set(self.positive) <= set(self.classify or ()):
            raise ValueError("positive names fields that are no labels")
        return self

    @property
    def kind(self) -> Literal["classify", "multilabel", "regress"]:
        """The kind of task."""
        if isinstance(self.classify, list):
            return "multilabel"
        return "regress" if self.classify is None else "classify"

    @property
    def targets(self) -> tuple[str, ...]:
        """The target field, or the fields of the labels."""
        if isinstance(self.classify, list):
            return tuple(self.classify)
        return (self.classify if self.classify is not None else str(self.regress),)


class SplitSpec(_Strict):
    """How subjects are divided: `folds` for cross-validation, else one hold-out with share `test`."""

    by: str = "subject"
    folds: Annotated[int, Field(ge=2, le=50)] | None = None
    test: Share | None = None
    tune: Share = 0.15
    stratify: str | list[str] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    waive: Literal["shared_subjects"] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> SplitSpec:
        if self.folds is not None and self.test is not None:
            raise ValueError("folds and test exclude each other")
        return self


class SearchSpec(_Strict):
    """A hyper-parameter search inside every training part (so its optimism stays out of the numbers)."""

    trials: Annotated[int, Field(ge=2, le=1000)] | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None
    folds: Annotated[int, Field(ge=2, le=10)] = 3
    space: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _some_budget(self) -> SearchSpec:
        if self.trials is None and self.minutes is None:
            raise ValueError("give the search a budget: trials or minutes")
        return self


class Candidate(BaseModel):
    """A model with the steps before it; every further key is a parameter of the model."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str
    steps: list[Spec] | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """The model's spec: its name and parameters."""
        return {"name": self.name, **(self.__pydantic_extra__ or {})}


class ReleaseSpec(_Strict):
    """Under which name, up to which stage, whether per-row predictions go along, and the
    fewest subjects of a group that is named."""

    name: Annotated[str, Field(alias="as", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    stage: Stage = "assist"
    rows: bool = True
    smallest_group: Annotated[int, Field(ge=1, le=100)] = 5


class Plan(_Strict):
    """A whole analysis plan, format 1."""

    plan: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    cohort: CohortSpec
    clean: list[Spec] = []
    task: TaskSpec
    split: SplitSpec = SplitSpec()
    steps: list[Spec] | None = None
    model: Candidate
    search: SearchSpec | None = None
    baseline: list[Candidate] = []
    calibrate: Spec | None = None
    threshold: float | Spec | None = None
    checks: list[Spec] = ["performance", "calibration"]
    actions: list[Spec] = []
    gates: dict[str, Any] = {}
    release: ReleaseSpec | None = None
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95

    @field_validator("model", mode="before")
    @classmethod
    def _bare_model(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("baseline", mode="before")
    @classmethod
    def _bare_baselines(cls, value: Any) -> Any:
        return (
            [{"name": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value
        )

    @field_validator("threshold")
    @classmethod
    def _known_rule(cls, value: Any) -> Any:
        if value is not None:
            try:
                rule_of(value)
            except PlanError as error:
                raise ValueError(str(error)) from None
        return value

    @property
    def threshold_rule(self) -> Any:
        """How the operating threshold is chosen: as declared, else by the task's costs, else by Youden's index."""
        if self.threshold is not None:
            return self.threshold
        return "cost" if self.task.costs is not None else "youden"

    @property
    def digest(self) -> str:
        """SHA-256 of the plan's content; layout, comments and where the data lies do not count."""
        return json_digest(self.without_places().to_json())

    def without_places(self) -> Plan:
        """The plan with the names of files but not of folders, and of a database no more than its kind (its URL may
        hold a password)."""
        spec = self.cohort
        path = f"{spec.path.split('://', 1)[0]}://" if "://" in spec.path else PurePath(spec.path).name
        named = files_named("readers", {"name": spec.read, **spec.parameters})
        files = {key: PurePath(each).name for key, each in named.items()}
        cohort = CohortSpec(**{**spec.model_dump(exclude_unset=True), "path": path, **files})
        changed: dict[str, Any] = {"cohort": cohort}
        if self.actions:
            changed["actions"] = [without_folders("actions", each) for each in self.actions]
        return self.model_copy(update=changed)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with defaults filled in."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """YAML without the defaults, in the order of the plan."""
        import yaml

        return yaml.safe_dump(
            self.model_dump(mode="json", by_alias=True, exclude_unset=True),
            sort_keys=False,
            allow_unicode=True,
            width=120,
        )

    def declared_gates(self) -> list[Gate]:
        """The gates, a named policy expanded; raises PlanError for one that says nothing."""
        from bedside.evidence.policy import expand

        return expand(self.gates)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a plan (for editors)."""
    schema = Plan.model_json_schema(by_alias=True)
    candidate = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Candidate"}]}  # a bare name is one too
    schema["properties"]["model"] = candidate
    schema["properties"]["baseline"]["items"] = candidate
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Bedside plan, format 1"}


def load_plan(path: Path) -> tuple[Plan, Document]:
    """Read a plan file; raises PlanError naming the file, the line and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PlanError(f"{path}: no such plan", "write one with `bedside init DATA`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read: {error}", "a plan is a UTF-8 text file") from None
    return parse_plan(text, str(path))


def parse_plan(text: str, source: str = "plan") -> tuple[Plan, Document]:
    """A plan from YAML text, with the document that knows its lines."""
    document = yaml_lines.parse(text, source)
    if not isinstance(document.value, dict):
        raise document.error((), "a plan is a mapping of keys", "start with `plan: 1`")
    try:
        plan = Plan.model_validate(document.value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = tuple(item for item in first["loc"] if item not in ("str", "dict[str,any]"))
        message = first["msg"].removeprefix("Value error, ")
        way_out = "`bedside schema` prints what may stand here"
        if first["type"] == "extra_forbidden":
            message, way_out = "unknown key", _known_keys(path)
        elif first["type"] == "string_pattern_mismatch":
            message, way_out = "not a name", "at most 64 letters, digits and . _ -, a letter or digit first"
        raise document.error(path, message, way_out) from None
    _check_gates(plan, document)
    return plan, document


def _check_gates(plan: Plan, document: Document) -> None:
    try:
        plan.declared_gates()
    except PlanError as error:
        raise document.error(("gates",), error.what, error.way_out) from None


def _known_keys(path: tuple[str | int, ...]) -> str:
    model: Any = Plan
    for item in path[:-1]:
        annotation = (
            model.model_fields[item].annotation if isinstance(item, str) and item in model.model_fields else None
        )
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next((each for each in options if isinstance(each, type) and issubclass(each, BaseModel)), None)
        if model is None:
            return ""
    return "known keys: " + ", ".join(field.alias or name for name, field in model.model_fields.items())
