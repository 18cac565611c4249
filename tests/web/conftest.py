"""A service with its pages, over the shared releases, and a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tests.serving import Node, running, shared_home
from tests.web.browser import Browser, find_chromium

from bedside.cohort.workspace import Workspace
from bedside.serve import ServeConfig
from bedside.web import create_app


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    home = Path(shutil.copytree(shared_home(tmp_path_factory), tmp_path_factory.mktemp("node") / "home"))
    config = ServeConfig(port=0)
    with running(create_app(Workspace(home), config), config) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        if os.environ.get("BEDSIDE_PEERS") == "required":
            pytest.fail("Chromium is not installed, and BEDSIDE_PEERS=required")
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with Browser(chromium, tmp_path_factory.mktemp("profile")) as found:
        yield found
