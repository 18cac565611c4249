"""Every text of the pages stands in both languages, and none is left over."""

from __future__ import annotations

from importlib import resources

import jinja2

from bedside.web.render import PAGES
from bedside.web.words import chinese


def texts() -> set[str]:
    environment = jinja2.Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
    found = {title for _, _, title in PAGES}
    for item in resources.files("bedside.web").joinpath("templates").iterdir():
        for _, _, message in environment.extract_translations(item.read_text(encoding="utf-8")):  # type: ignore[attr-defined]
            found |= {each for each in (message if isinstance(message, tuple) else (message,)) if each}
    return found


def test_each_text_has_its_chinese_and_each_chinese_its_text() -> None:
    assert len(texts()) > 50
    assert texts() == set(chinese())
    assert all(value.strip() for value in chinese().values())


def test_no_template_turns_escaping_off_or_carries_a_script() -> None:
    for item in resources.files("bedside.web").joinpath("templates").iterdir():
        text = item.read_text(encoding="utf-8")
        assert "|safe" not in text and "autoescape" not in text and " style=" not in text, item.name
        assert " onclick=" not in text and "http://" not in text and "https://" not in text, item.name
