"""A service over a copy of the shared releases, and who calls it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tests.serving import Node, running, shared_home

from bedside.cohort.workspace import Workspace
from bedside.serve import ServeConfig, create_app


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_home(tmp_path_factory)


@pytest.fixture
def home(releases: Path, tmp_path: Path) -> Path:
    """A workspace of the test's own with the shared releases in it."""
    return Path(shutil.copytree(releases, tmp_path / "home"))


@pytest.fixture(scope="module")
def node(releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running service that a whole file may ask."""
    home = Path(shutil.copytree(releases, tmp_path_factory.mktemp("node") / "home"))
    config = ServeConfig(port=0)
    with running(create_app(Workspace(home), config), config) as found:
        yield found
