"""A run: the actions of a plan in their order, what became of it, and its report."""

from bedside.plan.conduct.conductor import Conductor
from bedside.plan.conduct.outcome import Outcome

__all__ = ["Conductor", "Outcome"]
