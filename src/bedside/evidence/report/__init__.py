"""The report: Evidence and verdicts as one self-contained HTML page (both languages, light, dark, print) and JSON."""
