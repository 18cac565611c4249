"""The report: Evidence and verdicts as one self-contained HTML page (both languages, light, dark, print) and JSON."""

from bedside.evidence.report.data import ReportData
from bedside.evidence.report.headline import headline
from bedside.evidence.report.page import render, render_json
from bedside.evidence.report.schema import evidence_schema

__all__ = ["ReportData", "evidence_schema", "headline", "render", "render_json"]
