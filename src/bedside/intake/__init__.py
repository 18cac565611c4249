"""Intake: data from outside becomes a Cohort. Nothing is changed; everything inferred is told in the lineage.

Readers are found by name (entry points `bedside.readers`); frames already in memory come in by `from_polars` and
`from_pandas`.
"""

from __future__ import annotations

from bedside.intake.frames import from_pandas, from_polars, to_pandas
from bedside.intake.protocol import Reader
from bedside.intake.tables import Tables

__all__ = ["Reader", "Tables", "from_pandas", "from_polars", "to_pandas"]
