"""What `verify` answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Result = Literal["ok", "fail", "unknown"]


@dataclass(frozen=True)
class Answer:
    """One question put to a release: `id` is a glossary word, `detail` plain facts without identity."""

    id: str
    result: Result
    detail: str
