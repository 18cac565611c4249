"""The report: Evidence and verdicts as one self-contained HTML page (English and Chinese, light, dark, print) and as JSON."""
