"""What the actions of a run gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Output = Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """The outputs of a run's actions: digests and small values, by the action that gave them.

    `pooled` and each `reference` (a baseline, by its name) are pooled test predictions with the folds' fits under
    `pipelines`; `pipeline` is the fit that a release holds; `evidence` are digests in the report's order; `judged` is
    what the gates said; `actions` are those that the plan names.
    """

    read: Output
    cleaned: Output
    split: Output
    pooled: Output
    reference: Mapping[str, Output]
    pipeline: Output
    evidence: tuple[str, ...]
    actions: tuple[Output, ...]
    judged: Output
