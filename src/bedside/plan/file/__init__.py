"""The Plan file: its keys, the lines they stand on, what it means where it says nothing, and what is wrong with it."""

from bedside.plan.file.defaults import baselines, checks_of
from bedside.plan.file.plan import Plan, json_schema, load_plan, parse_plan
from bedside.plan.file.refuse import refuse_bad_plan

__all__ = ["Plan", "baselines", "checks_of", "json_schema", "load_plan", "parse_plan", "refuse_bad_plan"]
