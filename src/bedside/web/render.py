"""Render: one environment of templates that escapes everything, in the reader's language and theme."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from bedside.evidence.estimate import Estimate
from bedside.evidence.glossary import Lang, terms, text
from bedside.evidence.report import palette
from bedside.evidence.report.numbers import bound_text, estimate_text, fixed, plain, unit_text
from bedside.serve.config import ServeConfig
from bedside.web.words import TAGS, language_of, theme_of, translate

PAGES = (
    ("today", "/today", "Today"),
    ("try", "/try", "Try it"),
    ("models", "/models", "Models and releases"),
    ("jobs", "/jobs", "Jobs"),
    ("audit", "/audit", "Audit"),
    ("map", "/map", "Map"),
    ("accounts", "/accounts", "Accounts"),
)
YEAR = 365 * 24 * 3600
MEDIA = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@cache
def environment(lang: Lang) -> jinja2.Environment:
    """The templates in a language; `_` translates, `g` names an id of the glossary."""
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("bedside.web"), jinja2.PackageLoader("bedside.evidence.report")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: translate(message, lang),
        lambda one, many, n: translate(one if n == 1 else many, lang),
        newstyle=True,
    )
    made.filters |= {
        "plain": lambda value: plain(value, lang),
        "fixed": fixed,
        "share": share,
        "bound": lambda value, metric: bound_text(value, terms().get(metric), lang),
        "estimate": lambda found: _estimate(found, lang),
        "unit": lambda value: unit_text(value, lang),
        "said": lambda words: words[lang],
        "short": lambda digest: str(digest)[:12],
        "moment": lambda time: str(time)[:19].replace("T", " "),
    }

    def name(key: str) -> str:
        return terms()[key].name(lang) if key in terms() else key

    made.globals |= {"g": name, "lang": lang, "told": lambda key, **values: text(key, lang, **values)}
    return made


def _estimate(found: Mapping[str, Any], lang: Lang) -> str:
    """An estimate of a release's record, as it reads everywhere."""
    estimate = Estimate.from_json(found)
    return estimate_text(estimate, terms().get(estimate.metric), lang)


def share(p: float) -> str:
    """A probability with two decimals that never claims to be 0 or 1."""
    return "<\u20090.01" if p < 0.005 else ">\u20090.99" if p >= 0.995 else fixed(p, 2)


@cache
def static_files() -> Mapping[str, bytes]:
    """Every file the pages load, by name; nothing else can be asked for."""
    folder = resources.files("bedside.web").joinpath("static")
    found = {item.name: item.read_bytes() for item in folder.iterdir() if item.name.rpartition(".")[2] in MEDIA}
    report = resources.files("bedside.evidence.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    return {**found, "style.css": (palette.css() + report).encode() + b"\n" + found["app.css"]}


@cache
def version_of_files() -> str:
    """A digest of what the pages load, so that a browser keeps it until it changes."""
    state = hashlib.sha256()
    for name, data in sorted(static_files().items()):
        state.update(name.encode() + b"\0" + data)
    return state.hexdigest()[:12]


def shown_pages(request: Request) -> list[tuple[str, str, str]]:
    """The pages that the reader may see: key, path, title."""
    session = getattr(request.state, "session", None)
    if session is None:
        return []
    permissions = request.app.state.permissions
    return [each for each in PAGES if permissions["GET", each[1]].roles & session.roles]


def page(request: Request, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """A page for the reader who asks; the language and theme that the address asks for are kept in cookies."""
    lang, theme = language_of(request), theme_of(request)
    session = getattr(request.state, "session", None)
    view = {
        "tag": TAGS[lang],
        "theme": theme,
        "session": session,
        "pages": shown_pages(request),
        "here": request.url.path,
        "files": version_of_files(),
        **values,
    }
    response = HTMLResponse(environment(lang).get_template(template).render(view), status)
    config: ServeConfig = request.app.state.service.config
    for name, value in (("lang", lang), ("theme", theme)):
        if request.query_params.get(name) == value:
            response.set_cookie(name, value, max_age=YEAR, path="/", secure=config.secure, samesite="strict")
    return response
