"""The page Jobs with a worker behind it: a table goes in by the form, the list follows, the answers come out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("dbos", reason="the extra serve is not installed")

from tests.serving import Node, running, shared_home
from tests.web.browser import Browser

from bedside.cohort.workspace import Workspace
from bedside.serve import ServeConfig
from bedside.synth.admissions import simulate
from bedside.web import create_app


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    home = Path(shutil.copytree(shared_home(tmp_path_factory), tmp_path_factory.mktemp("node") / "home"))
    config = ServeConfig(port=0, worker=True)
    with running(create_app(Workspace(home), config), config) as found:
        yield found


def test_a_table_goes_in_by_the_form_and_its_answers_come_out(node: Node, browser: Browser, tmp_path: Path) -> None:
    simulate(700, seed=9).frame.drop("died_in_hospital").write_csv(tmp_path / "table.csv")
    browser.open(f"{node.address}/start#{node.service.sessions.start_token}")
    browser.wait("location.pathname === '/today' && document.readyState === 'complete'")
    browser.open(f"{node.address}/jobs?lang=en&theme=light")
    for _ in range(60):  # until the worker has made its database the page says to come again
        browser.run("document.querySelector('[name=release]').value = 'trees'; window.here = true")
        browser.choose_file("[name=table]", tmp_path / "table.csv")
        browser.click("#batch button")
        browser.wait("!window.here || !document.querySelector('#batch .error').hidden")
        if not browser.run("Boolean(window.here)"):
            break
        browser.run("new Promise(go => setTimeout(go, 500))")
        browser.run("document.querySelector('#batch .error').hidden = true")
    browser.complaints.clear()  # the browser notes each refusal
    browser.wait("document.querySelector('[data-state=done]')")
    assert "700 / 700" in browser.text() and browser.complaints == []
    address = browser.run("document.querySelector('[data-state=done] a').href")
    text = browser.run(f"fetch({address!r}).then(answer => answer.text())")
    assert len(text.splitlines()) == 701
