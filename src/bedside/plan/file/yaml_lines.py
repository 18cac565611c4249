"""YAML that remembers its lines, so that an error can name one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import yaml

from bedside.errors import PlanError

Path = tuple[str | int, ...]

MOST_VALUES = 100_000  # keys and items of a document once its aliases are written out
_LARGEST = 2**53 - 1  # beyond it, whole numbers are no longer exact in JSON, so they have no digest


@dataclass(frozen=True)
class Document:
    """A YAML document as plain values, with the line (from 1) of every key and item."""

    value: Any
    source: str
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """The line of a path, or of the nearest parent that has one."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def at(self, path: Path) -> Any:
        """The value at a path; None where there is none."""
        value = self.value
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def error(self, path: Path, what: str, way_out: str = "") -> PlanError:
        """A PlanError that names the file, the line and the path."""
        line = self.line(path)
        place = f"{self.source}, line {line}" if line is not None else self.source
        where = ".".join(str(item) for item in path)
        return PlanError(f"{place}{f' ({where})' if where else ''}: {what}", way_out)


def parse(text: str, source: str = "plan") -> Document:
    """Parse one YAML document with safe types only.

    Raises PlanError for bad YAML, a key given twice, a number too large for JSON, and a document too deep or, its
    aliases written out, too large to be a plan.
    """
    document = Document(None, source)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = _value(node, (), document, yaml.SafeLoader(""), set())
    except RecursionError:
        raise PlanError(f"{source}: nested too deeply", "a plan needs a few levels") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise PlanError(f"{source}{line}: not valid YAML: {problem}", "check the indentation and the quotes") from None
    return Document(value, source, document.lines)


def _value(node: Any, path: Path, document: Document, loader: yaml.SafeLoader, open_nodes: set[int]) -> Any:
    if node is None:
        return None
    if id(node) in open_nodes:
        raise document.error(path, "an alias refers to itself")
    document.lines.setdefault(path, node.start_mark.line + 1)
    if len(document.lines) > MOST_VALUES:
        raise document.error(path, f"more than {MOST_VALUES:,} values", "a plan is short; are aliases nested?")
    open_nodes = open_nodes | {id(node)}
    if isinstance(node, yaml.MappingNode):
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # Plan keys are words; `on:` and `yes:` would be booleans in YAML 1.1, so the text itself is the key.
            key = str(key_node.value)
            here = (*path, key)
            document.lines[here] = key_node.start_mark.line + 1
            if key in out:
                raise document.error(here, f"the key '{key}' is given twice", "keep one")
            out[key] = _value(value_node, here, document, loader, open_nodes)
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), document, loader, open_nodes) for i, item in enumerate(node.value)]
    try:
        scalar = loader.construct_object(node)
    except (yaml.YAMLError, ValueError):
        raise document.error(path, f"the tag {node.tag!r} is not allowed here", "write a plain value") from None
    if (isinstance(scalar, float) and not math.isfinite(scalar)) or (
        isinstance(scalar, int) and abs(scalar) > _LARGEST
    ):
        raise document.error(
            path, f"the number {str(node.value)[:40]} is infinite or too large", "quote it where it is text"
        )
    return scalar if isinstance(scalar, str | int | float | bool | None) else str(node.value)
