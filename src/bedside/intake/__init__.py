"""Intake: data from outside becomes a Cohort. Nothing is changed; everything inferred is told in the lineage."""

from __future__ import annotations
