"""The words of the pages: English stands in the templates, Chinese in zh.json; evidence speaks through the glossary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

from starlette.requests import Request

from bedside.evidence.glossary import Lang

TAGS: Mapping[Lang, str] = {"en": "en", "zh": "zh-CN"}
THEMES = ("auto", "light", "dark")


@cache
def chinese() -> Mapping[str, str]:
    """English → Chinese of every text of the pages."""
    found: dict[str, str] = json.loads(resources.files("bedside.web").joinpath("zh.json").read_text(encoding="utf-8"))
    return found


def translate(text: str, lang: Lang) -> str:
    """A text of the pages in a language; one that is not in zh.json stays English (a test finds it)."""
    return chinese().get(text, text) if lang == "zh" else text


def language_of(request: Request) -> Lang:
    """What the address asks for, else the cookie, else the browser's own preference."""
    for asked in (request.query_params.get("lang"), request.cookies.get("lang")):
        if asked in TAGS:
            return "zh" if asked == "zh" else "en"
    accepted = request.headers.get("accept-language", "").lower()
    chinese_at, english_at = accepted.find("zh"), accepted.find("en")
    return "zh" if chinese_at >= 0 and (english_at < 0 or chinese_at < english_at) else "en"


def theme_of(request: Request) -> str:
    """light, dark, or auto: as the system has it."""
    for asked in (request.query_params.get("theme"), request.cookies.get("theme")):
        if asked in THEMES:
            return str(asked)
    return "auto"
