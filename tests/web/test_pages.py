"""The pages in a real browser: signed in by the printed address, clicked through, in both languages and themes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.serving import Node
from tests.web.browser import Browser

SHOTS = os.environ.get("BEDSIDE_SCREENSHOTS")  # a folder: one picture of each page is put there, to be looked at
ANSWERED = "document.querySelector('#answer .trace') || !document.querySelector('#row .error').hidden"


def look(browser: Browser, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        browser.screenshot(Path(SHOTS) / f"{name}.png")


def digest_of(node: Node, name: str) -> str:
    return node.service.registry.state.find(name).digest


@pytest.fixture(scope="module", autouse=True)
def signed_in(node: Node, browser: Browser) -> None:
    browser.open(f"{node.address}/start")
    look(browser, "start")
    browser.fill("#token", "a guess")
    browser.click("#start button")
    browser.wait("!document.querySelector('.error').hidden")
    assert "opens nothing" in browser.text()
    browser.complaints.clear()  # the browser notes the refusal
    browser.open(f"{node.address}/start?again#{node.service.sessions.start_token}")
    browser.wait("location.pathname === '/today' && document.readyState === 'complete'")
    assert node.service.sessions.start_token not in browser.run("location.href")


@pytest.fixture(autouse=True)
def nothing_amiss(browser: Browser, node: Node):  # type: ignore[no-untyped-def]
    """No script fails, no policy is broken, and nothing is asked of another host."""
    yield
    assert browser.complaints == []
    assert [url for url in browser.requested if not url.startswith((node.address, "data:", "blob:"))] == []


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", ["/try", "/models", "/models/linear", "/audit", "/accounts", "/jobs", "/today", "/map"]
)
def test_each_page_in_each_language_and_theme(node: Node, browser: Browser, path: str, lang: str, theme: str) -> None:
    browser.open(f"{node.address}{path}?lang={lang}&theme={theme}")
    if path == "/try":  # it leads on to a release
        browser.open(f"{browser.run('location.href')}?lang={lang}&theme={theme}")
    look(browser, f"{path.strip('/').replace('/', '-')}-{lang}-{theme}")
    assert browser.run("document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[lang]
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 18, 22)"}[theme]
    said = browser.text()
    assert {"en": "Not a cleared medical device", "zh": "非经批准的医疗器械"}[lang] in said
    assert {"en": "Models and releases", "zh": "模型与发布"}[lang] in said
    unnamed = """[...document.querySelectorAll('a, button, input:not([type=hidden]), select')].filter(
        e => !(e.textContent || e.ariaLabel || e.labels?.[0]?.textContent || '').trim()).map(e => e.outerHTML)"""
    assert browser.run(unnamed) == [], "everything that can be used has a name"


def test_the_synthetic_example_is_answered_with_reasons(node: Node, browser: Browser) -> None:
    browser.open(f"{node.address}/try/{digest_of(node, 'trees')}?lang=en&theme=light")
    browser.click("#fill")
    assert browser.run("document.querySelector('[name=age]').value") != ""
    browser.click("#row .primary")
    browser.wait(ANSWERED)
    said = browser.run("document.querySelector('#answer').innerText")
    assert "flagged: died_in_hospital" in said and "What moved the score" in said and "audit row" in said
    assert browser.run("document.querySelectorAll('#answer .bars rect').length") == 12
    look(browser, "try-answer")
    position = int(browser.run("document.querySelector('#answer .trace').innerText.match(/audit row (\\d+)/)[1]"))
    row = node.service.audit.get(position)
    assert row is not None and (row["kind"], row["account"], row["name"]) == ("try", "local", "trees")


def test_a_person_corrects_an_answer_and_it_is_kept_as_a_cohort(node: Node, browser: Browser) -> None:
    served = node.service.registry.state.find("linear")
    browser.open(f"{node.address}/try/{served.digest}?lang=en&theme=light")
    browser.click("#fill")
    browser.click("#row .primary")
    browser.wait(ANSWERED)
    browser.click(".feedback button[value=correct]")
    browser.wait("!document.querySelector('.feedback .error').hidden")
    browser.complaints.clear()  # the browser notes the refusal: there was no reason
    browser.fill(".feedback [name=reason]", "seen at the bedside")
    browser.click(".feedback button[value=correct]")
    browser.wait("!document.querySelector('.feedback .done').hidden")
    look(browser, "try-feedback")
    made = node.service.feedback.corrections(served.digest)
    call = browser.run("document.querySelector('.feedback [name=correction]').value")
    assert made["died_in_hospital"].to_list() == [call == "true"]


def test_an_unusual_value_is_marked_while_typed_and_in_the_answer(node: Node, browser: Browser) -> None:
    browser.open(f"{node.address}/try/{digest_of(node, 'linear')}?lang=zh&theme=dark")
    browser.click("#fill")
    browser.fill("[name=age]", "117")
    assert browser.run("document.querySelector('[name=age]').classList.contains('unusual')")
    browser.click("#row .primary")
    browser.wait(ANSWERED)
    assert "age高于训练数据的范围" in browser.run("document.querySelector('#answer').innerText")
    look(browser, "try-answer-zh-dark")


def test_a_refusal_is_told_in_its_place(node: Node, browser: Browser) -> None:
    browser.open(f"{node.address}/try/{digest_of(node, 'pictures')}?lang=en&theme=light")
    browser.click("#row .primary")
    browser.wait(ANSWERED)
    assert browser.run("document.querySelector('#row .error').innerText") != ""
    browser.complaints.clear()  # the browser notes the refusal


def test_an_image_is_dropped_and_answered_under_its_watermark(node: Node, browser: Browser, tmp_path: Path) -> None:
    import base64

    served = node.service.registry.state.find("pictures")
    (tmp_path / "image.png").write_bytes(base64.b64decode(served.example["image"]))
    browser.open(f"{node.address}/try/{served.digest}?lang=en&theme=light")
    browser.choose_file("#file", tmp_path / "image.png")
    browser.wait("!document.querySelector('#picture').hidden")
    browser.click("#row .primary")
    browser.wait(ANSWERED)
    assert "Research only: not for care" in browser.run("document.querySelector('#answer').innerText")
    look(browser, "try-image")


def test_today_says_what_waits_and_map_what_there_is(node: Node, browser: Browser) -> None:
    row = {**node.service.registry.state.find("linear").example, "age": 150.0}
    before = node.service.audit.verify()[0]
    with node.caller("clinician") as caller:
        caller.post("/predict", json={"release": "linear", "rows": [row, row, row]})
    browser.open(f"{node.address}/today?lang=en&theme=light")
    look(browser, "today")
    assert "answers at assist that nobody has confirmed" in browser.text() and "linear: age (3 / 3)" in browser.text()
    browser.open(f"{node.address}/map")
    look(browser, "map")
    assert f"Audit rows\n{before + 3}" in browser.text() and "Names served\n4" in browser.text()


def test_shadow_shows_nothing(node: Node, browser: Browser) -> None:
    browser.open(f"{node.address}/try/{digest_of(node, 'quiet')}?lang=en&theme=light")
    browser.click("#fill")
    browser.click("#row .primary")
    browser.wait(ANSWERED)
    said = browser.run("document.querySelector('#answer').innerText")
    assert "Computed and recorded, not shown" in said and "probability" not in said


def test_the_theme_switches_without_a_reload_and_stays(node: Node, browser: Browser) -> None:
    browser.open(f"{node.address}/models?theme=light&lang=en")
    browser.run("window.here = true")
    browser.click("[data-theme-switch]")
    assert browser.run("window.here && document.documentElement.dataset.theme") == "dark"
    browser.open(f"{node.address}/audit")
    assert browser.run("document.documentElement.dataset.theme") == "dark"


def test_the_report_opens_inside_its_own_policy(node: Node, browser: Browser) -> None:
    browser.open(f"{node.address}/releases/{digest_of(node, 'linear')}/report.html")
    assert "AUROC" in browser.text()
    browser.click("[data-lang=zh]")
    assert browser.run("document.documentElement.lang") == "zh-CN"
    assert browser.run("(() => { try { return document.cookie } catch { return 'none' } })()") == "none"


def test_a_stage_is_signed_down_from_the_page(node: Node, browser: Browser) -> None:
    browser.open(f"{node.address}/models/trees?lang=en&theme=light")
    browser.click("details.decide summary")
    browser.run("document.querySelector('select[name=stage]').value = 'shadow'")
    look(browser, "model-decide")
    browser.run("window.before = true")
    browser.click("details.decide form button")
    browser.wait("!window.before && document.readyState === 'complete'")
    assert "signed to shadow" in browser.text()
    assert node.service.registry.state.find("trees").stage == "shadow"


def test_signing_out_ends_the_session(node: Node, browser: Browser) -> None:
    browser.open(f"{node.address}/models?lang=en&theme=light")
    browser.click("[data-leave]")
    browser.wait("location.pathname === '/start'")
    browser.open(f"{node.address}/models")
    assert browser.run("location.pathname") == "/start"
