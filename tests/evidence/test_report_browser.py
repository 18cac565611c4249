"""The page in a real browser: languages and themes switch without a reload, and no hostile value runs."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bedside.evidence.estimate import Evidence, Finding
from bedside.evidence.report import ReportData, render

HOSTILE = "<script>document.documentElement.dataset.broken = 1</script><img src=x onerror='document.title=\"broken\"'>"
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
]


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        if os.environ.get("BEDSIDE_PEERS") == "required":
            pytest.fail("Chromium is not installed, and BEDSIDE_PEERS=required")
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    return found


@pytest.fixture(scope="module")
def html() -> str:
    piece = Evidence("quality", findings=(Finding("finding_of_a_plugin", "caution", {"label": HOSTILE}),))
    return render(ReportData(HOSTILE, "assess", (("cohort", HOSTILE),), (piece,), notes=(HOSTILE,)))


def visit(chromium: str, folder: Path, html: str, query: str = "", *more: str) -> str:
    """The document as the browser holds it after its scripts have run."""
    file = folder / "report.html"
    file.write_text(html, encoding="utf-8")
    command = [chromium, *QUIET, f"--user-data-dir={folder / 'profile'}", *more, "--dump-dom", file.as_uri() + query]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def clicking(html: str, selector: str) -> str:
    """The page with a visitor in it who clicks; the policy is told of the visitor's script."""
    click = f"document.querySelector('{selector}').click()"
    digest = base64.b64encode(hashlib.sha256(click.encode()).digest()).decode()
    html = html.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    return html.replace("</body>", f"<script>{click}</script></body>", 1)


def root(dom: str) -> str:
    found = re.search(r"<html[^>]*>", dom)
    assert found is not None
    return found.group()


def test_it_opens_in_english_and_nothing_hostile_runs(chromium: str, html: str, tmp_path: Path) -> None:
    dom = visit(chromium, tmp_path, html)
    assert 'lang="en"' in root(dom) and "data-broken" not in dom
    assert "<title>broken" not in dom
    assert 'class="switches"' in dom and 'class="switches" hidden' not in dom, "the page's own script did run"


@pytest.mark.parametrize(
    ("selector", "says"),
    [("[data-lang=zh]", 'lang="zh-CN"'), ("[data-theme-switch]", 'data-theme="dark"')],
    ids=["language", "theme"],
)
def test_a_click_switches(chromium: str, html: str, tmp_path: Path, selector: str, says: str) -> None:
    assert says in root(visit(chromium, tmp_path, clicking(html, selector)))


def test_the_address_chooses_language_and_theme(chromium: str, html: str, tmp_path: Path) -> None:
    dom = visit(chromium, tmp_path, html, "?lang=zh&theme=dark")
    assert 'lang="zh-CN"' in root(dom) and 'data-theme="dark"' in root(dom)
    assert "预测结果评估报告" in re.search(r"<title>(.*?)</title>", dom, re.DOTALL).group(1)  # type: ignore[union-attr]
    assert re.search(r'data-lang="zh"[^>]*aria-pressed="true"', dom)


def test_without_scripts_it_is_english_and_whole(chromium: str, html: str, tmp_path: Path) -> None:
    forbidden = re.sub(r"script-src '[^']*'", "script-src 'none'", html, count=1)
    dom = visit(chromium, tmp_path, forbidden, "?lang=zh")
    assert 'lang="en"' in root(dom)
    assert "No gate was declared: nothing was judged" in dom and 'class="switches" hidden' in dom
