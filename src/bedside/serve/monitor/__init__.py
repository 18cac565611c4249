"""Monitoring: whether what a served release is asked, and what it answers, still looks like what it was made on."""

from bedside.serve.monitor.watch import answers_drift, inputs_drift

__all__ = ["answers_drift", "inputs_drift"]
