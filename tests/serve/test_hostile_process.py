"""Hostile callers and a hostile release against `bedside serve` as it is started: a process of its own, over HTTP."""

from __future__ import annotations

import csv
import io
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
import yaml
from tests.serve.test_process import SECONDS, wait_ready

import bedside
from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import load_or_create_key
from bedside.plan.release.publish import seal
from bedside.serve.database import Database
from bedside.serve.export import cell
from bedside.serve.registry import TABLE as VERIFIED

FIELD = "</script><script>alert(1)</script>"
FORMULA = "=cmd|' /C calc'!A0"
TEMPLATE = "{{7*7}}"
LEVEL = '" onmouseover=alert(3) x="'
EVENT, NONE = "<img src=x onerror=alert(2)>", "=no"
IDENTITY = "Erika-Mustermann-1964-08-12"


def make_hostile(home: Path, place: Path) -> None:
    """A signed release whose column names, levels and labels try to become markup, templates and formulas."""
    rng = np.random.default_rng(1)
    score = rng.normal(size=400)
    rows = {
        "subject": [f"MRN-{i}" for i in range(400)],
        FIELD: score,
        FORMULA: rng.normal(size=400),
        TEMPLATE: rng.choice([LEVEL, "b"], 400),
        "out": np.where(rng.random(400) < 1 / (1 + np.exp(-2 * score)), EVENT, NONE),
    }
    pl.DataFrame(rows).write_csv(place / "rows.csv")
    plan = {
        "plan": 1,
        "name": "hostile",
        "cohort": {"read": "tables", "path": str(place / "rows.csv"), "subject": "subject", "target": "out"},
        "task": {"classify": "out", "positive": EVENT, "risk": "high"},
        "split": {"by": "subject", "test": 0.3, "seed": 3},
        "model": "logistic",
        "checks": ["performance"],
        "gates": {"auroc": {"at_least": 0.6}},
        "release": {"as": "hostile", "stage": "assist"},
    }
    (place / "plan.yaml").write_text(yaml.safe_dump(plan))
    made = bedside.run(place / "plan.yaml", home=home, threads=1)
    if made.release is None:
        pytest.fail(f"the hostile release was refused: {made.decision}")
    with (database := Database(Workspace(home).service_url)).begin() as connection:
        digest = bedside.plan.release.opened.open_release(Path(made.release), {}).digest
        connection.execute(sa.insert(VERIFIED).values(release=digest, version=bedside.__version__, ok=True))
    database.close()


@dataclass(frozen=True)
class Started:
    """A running `bedside serve`: its process, where it listens, what it wrote so far, a caller with every role."""

    process: subprocess.Popen[str]
    address: str
    token: str
    caller: httpx.Client
    written: list[str]
    home: Path

    @property
    def resident(self) -> int:
        """Its memory now, in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * 4096


@pytest.fixture(scope="module")
def started(releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    place = tmp_path_factory.mktemp("hostile")
    home = Path(shutil.copytree(releases, place / "home"))
    make_hostile(home, place)
    linear = next((home / "releases").glob("linear-*"))
    forged = Path(shutil.copytree(linear, home / "releases" / "linear-000000000000"))
    (forged / "signature.dsse.json").unlink()
    (place / "theirs" / "trusted").mkdir(parents=True)
    seal(forged, "linear", load_or_create_key(place / "theirs"))
    command = [sys.executable, "-m", "bedside", "serve", "--home", str(home), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    written: list[str] = []
    told = threading.Event()

    def read() -> None:
        for line in process.stdout or ():
            written.append(line)
            if line.startswith("open "):
                told.set()

    threading.Thread(target=read, daemon=True).start()
    try:
        if not told.wait(SECONDS):
            pytest.fail(f"it did not start: {written}")
        opened = next(line for line in written if line.startswith("open "))
        found = re.fullmatch(r"open +(http://127\.0\.0\.1:\d+)/start#(\S+)\n", opened)
        assert found is not None
        wait_ready(found[1])
        with httpx.Client(base_url=found[1], timeout=60) as caller:
            caller.headers["x-csrf-token"] = caller.post("/start", json={"token": found[2]}).json()["csrf"]
            yield Started(process, found[1], found[2], caller, written, home)
            assert caller.get("/health").status_code == 200, "after all of it, it still answers"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)


def hostile(started: Started) -> tuple[str, dict[str, object]]:
    """The digest and example row of the hostile release."""
    digest = started.caller.get("/releases").json()["names"]["hostile"]["champion"]
    return digest, started.caller.get(f"/releases/{digest}").json()["example"]


def test_five_gigabytes_streamed_are_cut_off_and_memory_stays_flat(started: Started) -> None:
    """The bytes are really offered, in chunks that say no length, until the service closes: far before five gigabytes,
    and with less memory than twice the 32 MiB that it takes."""
    before, sent, most = started.resident, 0, 0
    head = f"POST /predict HTTP/1.1\r\nhost: {started.address.removeprefix('http://')}\r\n"
    head += f"cookie: bedside={started.caller.cookies['bedside']}\r\n"
    head += f"x-csrf-token: {started.caller.headers['x-csrf-token']}\r\n"
    head += "content-type: text/csv\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b"1" * 0x100000 + b"\r\n"
    host, port = started.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as link:
        link.sendall(head.encode())
        try:
            while sent < 5 << 30:
                link.sendall(chunk)
                sent += len(chunk)
                most = max(most, started.resident)
        except OSError:
            pass
    assert 16 << 20 < sent < 512 << 20
    assert most - before < 128 << 20


class Markup(HTMLParser):
    """What a page really holds: its elements, attributes and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.inline: list[str] = []
        self._kind: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.handlers += [name for name in named if name.startswith("on")]
        self._kind = (named.get("type") or "script") if tag == "script" and "src" not in named else None

    def handle_data(self, data: str) -> None:
        if self._kind is not None and self._kind != "application/json":
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._kind = None


@pytest.mark.parametrize("page", ["try", "answer", "model", "audit"])
def test_names_and_labels_of_a_release_are_text_on_every_page(started: Started, page: str) -> None:
    digest, row = hostile(started)
    caller = started.caller
    if page == "answer":
        got = caller.post(f"/try/{digest}/answer", json={"row": {**row, FIELD: 99.0}})
    else:
        path = {"try": f"/try/{digest}", "model": "/models/hostile", "audit": "/audit"}[page]
        caller.post("/models/hostile/rollback", json={"reason": f"{EVENT} {FIELD}"})
        got = caller.get(path, headers={"accept": "text/html"})
    assert got.status_code == 200 and got.headers["content-type"].startswith("text/html")
    seen = Markup()
    seen.feed(got.text)
    assert seen.inline == [] and seen.handlers == [] and "img" not in seen.tags
    assert "alert(1)</script>" not in got.text and EVENT not in got.text
    assert "script-src 'self'" in got.headers["content-security-policy"]
    assert "unsafe" not in got.headers["content-security-policy"]
    if page in ("try", "answer"):
        assert "49" not in re.findall(r"<label[^>]*>([^<]*)", got.text), "a name is no template"


def test_the_report_and_card_of_a_hostile_release_run_nothing_of_it(started: Started) -> None:
    digest, _ = hostile(started)
    report = started.caller.get(f"/releases/{digest}/report.html")
    assert report.status_code == 200 and EVENT not in report.text and FIELD not in report.text
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    card = started.caller.get(f"/releases/{digest}/card.md")
    assert card.headers["content-type"].startswith("text/plain") and card.headers["x-content-type-options"] == "nosniff"


def test_no_cell_of_an_export_begins_a_formula(started: Started) -> None:
    for name in ("=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1"):
        refused = started.caller.post("/login", json={"name": name, "password": "not the right password"})
        assert refused.status_code in (401, 422)
        reason = {"reason": f"{name} because it says so", "release": "0" * 64}
        assert started.caller.post("/models/hostile/champion", json=reason).status_code == 422
    _, row = hostile(started)
    started.caller.post("/predict", json={"release": "hostile", "row": {**row, FORMULA: 1e9}})
    got = started.caller.get("/audit.csv")
    assert got.headers["content-type"].startswith("text/csv") and "attachment" in got.headers["content-disposition"]
    head, *rows = csv.reader(io.StringIO(got.text))
    assert len(rows) > 3 and rows[-1][head.index("kind")] == "export"
    assert [int(each[0]) for each in rows] == list(range(len(rows))), "every row, in order"
    assert not [value for each in rows for value in each if value[:1] in tuple("=+-@\t\r\n")]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1"])
def test_a_cell_that_would_begin_a_formula_is_text(text: str) -> None:
    assert cell(text) == "'" + text
    assert cell("a=1") == "a=1" and cell(None) == "" and cell(3) == "3"


def test_a_forged_release_laid_into_the_folder_answers_nobody(started: Started) -> None:
    there = started.caller.get("/releases").json()
    assert len(there["names"]["linear"]["releases"]) == 1
    assert {each["folder"] for each in there["refused"]} == {"linear-000000000000"}
    assert "not trusted here" in there["refused"][0]["why"]


@pytest.mark.parametrize(
    "name", ["../keys/local.pem", "%2e%2e", "%2e%2e%2fkeys", "a\0b", "linear/../..", "~root", "C:\\x"]
)
def test_a_name_or_alias_is_no_path(started: Started, name: str) -> None:
    caller, reason = started.caller, {"reason": "a sentence of good length", "release": "0" * 64}
    for at in (name, quote(name, safe=""), f"{name}@challenger"):
        for method, path, body in (
            ("GET", f"/releases/{quote(at, safe='%')}", None),
            ("GET", f"/static/{quote(at, safe='%')}", None),
            ("GET", f"/models/{quote(at, safe='%')}", None),
            ("POST", f"/models/{quote(at, safe='%')}/champion", reason),
            ("POST", "/predict", {"release": at, "row": {}}),
        ):
            got = caller.request(method, path, json=body)
            led_home = (
                got.status_code == 303 and str(got.request.url) == f"{started.address}/"
            )  # by httpx, before sending
            assert 400 <= got.status_code < 500 or led_home, f"{method} {path}: {got.status_code}"
            assert "PRIVATE KEY" not in got.text


def test_a_start_token_is_worth_one_session(started: Started) -> None:
    with httpx.Client(base_url=started.address) as thief:
        assert thief.post("/start", json={"token": started.token}).status_code == 401
        assert thief.get("/releases").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"x-csrf-token": ""}, 403),
    ],
)
def test_another_host_or_origin_changes_nothing(started: Started, headers: dict[str, str], status: int) -> None:
    body = {"release": "hostile", "row": hostile(started)[1]}
    assert started.caller.post("/predict", json=body, headers=headers).status_code == status


def test_a_patients_name_stands_in_no_log_metric_error_page_or_database(started: Started) -> None:
    digest, row = hostile(started)
    caller = started.caller
    named = {**row, "subject": IDENTITY}
    said = [
        caller.post("/predict", json={"release": "hostile", "row": named}),
        caller.post(f"/try/{digest}", json={"row": named}),
        caller.post("/predict", json={"release": "hostile", "row": {**named, FIELD: IDENTITY}}),
        caller.post("/predict", json={"release": "hostile", "row": {**named, TEMPLATE: IDENTITY}}),
        caller.post("/predict", json={"release": IDENTITY, "row": named}),
        caller.post(
            f"/predict?release=hostile&subject={IDENTITY}", content=IDENTITY, headers={"content-type": "image/png"}
        ),
        caller.post("/predict?release=hostile", content=f"a,b\n{IDENTITY},1\n", headers={"content-type": "text/csv"}),
        caller.post("/predict", content=f'{{"release": "{IDENTITY}', headers={"content-type": "application/json"}),
        caller.get(f"/releases/{IDENTITY}"),
        caller.get(f"/{IDENTITY}?q={IDENTITY}", headers={"user-agent": IDENTITY, "referer": IDENTITY}),
    ]
    assert said[0].status_code == 200 and {each.status_code for each in said[4:]} <= {404, 422}
    said += [caller.get(path) for path in ("/metrics", "/audit.json", "/audit.csv", "/audit", "/releases")]
    assert [each.request.url.path for each in said if IDENTITY in each.text] == []
    assert IDENTITY not in "".join(started.written) and any('"route"' in line for line in started.written)
    kept = [path for path in started.home.glob("service.sqlite*") if IDENTITY.encode() in path.read_bytes()]
    assert kept == []
