"""Hostile callers: huge, slow, crowded, crafted. The service refuses plainly and goes on answering."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.serving import Node, running

from bedside.cohort.workspace import Workspace
from bedside.serve import Limits, ServeConfig, create_app
from bedside.serve.problems import Busy, Late
from bedside.serve.workers import Workers

LIMITS = Limits(body=1 << 20, pixels=1_000_000, header_seconds=0.6, body_seconds=0.6, connections=60)


@pytest.fixture(scope="module")
def small(releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A service with small limits."""
    import shutil

    home = Path(shutil.copytree(releases, tmp_path_factory.mktemp("small") / "home"))
    config = ServeConfig(port=0, limits=LIMITS)
    with running(create_app(Workspace(home), config), config) as found:
        yield found
        assert httpx.get(f"{found.address}/health").status_code == 200, "after all of it, it still answers"


def raw(node: Node, data: bytes, seconds: float = 10) -> bytes:
    """What comes back for bytes sent as they are, until the service closes or nothing more comes."""
    host, port = node.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as link:
        link.sendall(data)
        out = b""
        try:
            while piece := link.recv(1 << 16):
                out += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return out


def head(node: Node, caller: httpx.Client, path: str, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: {node.address.removeprefix('http://')}"]
    lines += [f"{name}: {caller.headers[name]}" for name in ("cookie", "x-csrf-token")]
    return "\r\n".join([*lines, "content-type: application/json", *more, "", ""]).encode()


def test_a_body_of_five_gigabytes_is_refused_before_it_is_read(small: Node) -> None:
    with small.caller("clinician") as caller:
        answer = raw(small, head(small, caller, "/predict", "content-length: 5368709120"))
    assert b" 413 " in answer and b"larger than 1 MiB" in answer


def test_a_body_that_hides_its_length_is_cut_off(small: Node) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(400):
            yield b" " * 65536

    with small.caller("clinician") as caller:
        try:
            status = caller.post("/predict", content=pieces(), headers={"content-type": "application/json"}).status_code
        except httpx.TransportError:
            status = 413  # closed while we were still sending
    assert status == 413


def test_headers_that_dawdle_lose_their_connection(small: Node) -> None:
    began = time.monotonic()
    assert raw(small, b"GET /health HTTP/1.1\r\nhost: a\r\nx: ") == b""
    assert raw(small, b"") == b"", "and so does a connection that says nothing"
    assert time.monotonic() - began < 8


def test_a_body_that_dawdles_is_given_up(small: Node) -> None:
    with small.caller("clinician") as caller:
        answer = raw(small, head(small, caller, "/predict", "content-length: 100") + b"{")
    assert b" 408 " in answer


def png(width: int, height: int) -> bytes:
    """A PNG that says it is so large, of a few kilobytes: nothing but zeros, well packed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(bytes(width + 1)) for _ in range(min(height, 500))) + packed.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(2000, 2000), (60_000, 60_000)])
def test_a_bomb_of_an_image_is_refused_by_its_header(small: Node, size: tuple[int, int]) -> None:
    data = png(*size)
    assert len(data) < LIMITS.body
    digest = small.service.registry.state.find("pictures").digest
    with small.caller("clinician") as caller:
        refused = caller.post(f"/try/{digest}", content=data, headers={"content-type": "image/png"})
    assert refused.status_code == 422 and "pixels" in refused.json()["error"]["what"]


@pytest.mark.parametrize(
    ("media", "data"),
    [
        ("image/png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50),
        ("image/png", b"GIF89a"),
        ("application/dicom", b"\0" * 128 + b"DICM" + b"\xff" * 40),
        ("text/csv", b"PK\x03\x04" + b"\0" * 100),
        ("text/csv", b"\x1f\x8b" + b"\0" * 100),
        ("text/csv", b"\0\1\2"),
        ("application/json", b"[" * 100_000),
        ("application/json", b'{"release": "pictures", "row": {"image": "' + b"\xff" + b'"}}'),
        ("application/json", b'{"release": "\\ud800", "row": {}}'),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
        ("multipart/form-data", b""),
        ("", b"{}"),
    ],
)
def test_what_is_damaged_is_refused_and_never_a_fault_of_ours(small: Node, media: str, data: bytes) -> None:
    with small.caller("clinician", "scientist") as caller:
        for path in (f"/try/{small.service.registry.state.find('pictures').digest}", "/predict?release=linear"):
            refused = caller.post(path, content=data, headers={"content-type": media})
            assert 400 <= refused.status_code < 500, refused.text
            assert "error" in refused.json()
    assert list(small.service.scratch.glob("*")) == [], "nothing is left lying about"


@pytest.mark.parametrize("name", ["../../keys/local.pem", "..%2f..%2fkeys%2flocal.pem", "signature.dsse.json", "model"])
def test_no_name_leads_out_of_a_release(small: Node, name: str) -> None:
    digest = small.service.registry.state.find("linear").digest
    with small.caller("viewer") as caller:
        assert caller.get(f"/releases/{digest}/{name}").status_code == 404


def test_a_crowd_is_told_to_come_again_and_nobody_is_lost(small: Node) -> None:
    row = small.service.registry.state.find("linear").example

    async def crowd() -> list[httpx.Response]:
        with small.caller("clinician") as caller:
            async with httpx.AsyncClient(base_url=small.address, headers=caller.headers, timeout=60) as client:
                body = {"release": "linear", "row": row}
                return list(await asyncio.gather(*(client.post("/predict", json=body) for _ in range(40))))

    before = small.service.workers.limits
    small.service.workers.limits = replace(before, waiting=3)
    try:
        answers = asyncio.run(crowd())
    finally:
        small.service.workers.limits = before
    statuses = {each.status_code for each in answers}
    assert statuses == {200, 429}
    for each in answers:
        if each.status_code == 429:
            assert int(each.headers["retry-after"]) >= 1
        else:
            recorded = small.service.audit.get(each.json()["answers"][0]["audit"])
            assert recorded is not None and recorded["request"] == each.json()["request"]


def test_slow_work_is_given_up_but_keeps_its_place_until_it_ends() -> None:
    async def story() -> None:
        workers = Workers(replace(Limits(), workers=1, waiting=0, seconds=0.05))
        release = threading.Event()
        with pytest.raises(Late):
            await workers.run(lambda: release.wait(20))
        with pytest.raises(Busy):
            await workers.run(lambda: True)
        release.set()
        while workers.inside:
            await asyncio.sleep(0.01)
        assert await workers.run(lambda: 7) == 7
        workers.close()

    asyncio.run(story())


def test_log_and_metrics_name_routes_and_nobody(small: Node, caplog: pytest.LogCaptureFixture) -> None:
    from bedside.serve.telemetry import JsonLines

    subject = "Erika-Mustermann"
    stream = io.StringIO()
    with caplog.at_level("INFO", "bedside.serve.requests"):
        with small.caller("clinician") as caller:
            row = small.service.registry.state.find("linear").example
            caller.post(f"/predict?subject={subject}", json={"release": "linear", "row": {**row, "subject": subject}})
            caller.get(f"/releases/{subject}")
            caller.post("/predict", json={"release": "linear", "row": {**row, "age": subject}})
        for record in caplog.records:
            stream.write(JsonLines().format(record) + "\n")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"/predict", "/releases/{digest}"} <= {line["route"] for line in lines if "route" in line}
    with small.caller("admin") as caller:
        metrics = caller.get("/metrics").text
    assert 'bedside_answers_total{name="linear"' in metrics
    assert subject not in stream.getvalue() and subject not in metrics
