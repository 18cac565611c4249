"""The actions of a plan, each a plain function of digests and parameters that leaves its result in the store.

What is done in which order, and what depends on what, is in `conduct`. Heavy libraries are imported only when an
action really works, so a run that finds everything remembered imports none.
"""

from bedside.plan.actions.acting import act
from bedside.plan.actions.bench import Bench
from bedside.plan.actions.checking import check
from bedside.plan.actions.cleaning import clean, describe, doubts_about_identity
from bedside.plan.actions.deciding import decide
from bedside.plan.actions.fitting import FINAL, fit, fit_seed, refit_on
from bedside.plan.actions.made import Made
from bedside.plan.actions.predicting import pool, predict
from bedside.plan.actions.reading import kept_as_read, read, reader_paths
from bedside.plan.actions.splitting import split
from bedside.plan.actions.target import declare_target, make_task
from bedside.plan.actions.work import Progress, Work

__all__ = [
    "FINAL",
    "Bench",
    "Made",
    "Progress",
    "Work",
    "act",
    "check",
    "clean",
    "decide",
    "declare_target",
    "describe",
    "doubts_about_identity",
    "fit",
    "fit_seed",
    "kept_as_read",
    "make_task",
    "pool",
    "predict",
    "read",
    "reader_paths",
    "refit_on",
    "split",
]
