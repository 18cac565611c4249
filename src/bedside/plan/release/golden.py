"""Golden rows: synthetic raw rows whose predictions travel with a release, so that what serves it can be tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bedside.cohort.cohort import Cohort
from bedside.cohort.manifest import file_fields
from bedside.models.observed import draw, observe
from bedside.plan.release.golden_events import golden_events

GOLDEN_ROWS = 256
GOLDEN_IMAGES = 32


def golden_rows(raw: Cohort, seed: int, *, without: Sequence[str]) -> Cohort:
    """Synthetic raw rows: every field but the targets (`without`) and masks, which no model sees, drawn independently
    of the others from its marginal, so that no row and no rare value is a patient's."""
    fields = [item for item in raw.schema.fields if item.name not in without and item.kind != "mask"]
    described = raw.keeping([item.name for item in fields]).with_fields([replace(f, roles=("input",)) for f in fields])
    n = GOLDEN_IMAGES if file_fields(described) else GOLDEN_ROWS
    drawn = draw(described.schema.fields, observe(described), n, seed).with_fields(fields)
    return drawn if raw.events is None else replace(drawn, events=golden_events(raw, drawn, seed))
