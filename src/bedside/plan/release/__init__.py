"""The Release: what passes its stage, by digest and signed. It is written and published here, opened, verified,
approved, asked for answers, and judged on another hospital's cohort."""

from bedside.plan.release.opened import Opened, open_release
from bedside.plan.release.verify import Verification, verify_release

__all__ = ["Opened", "Verification", "open_release", "verify_release"]
