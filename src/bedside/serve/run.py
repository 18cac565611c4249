"""Run: one service for a workspace, until it is told to stop."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError
from bedside.serve.config import ServeConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

FINISH_SECONDS = 10


def serve(
    workspace: Workspace,
    config: ServeConfig,
    make: Callable[[Workspace, ServeConfig], FastAPI],
    announce: Callable[[str], None],
) -> None:
    """Serve the application that `make` makes; `announce` is called with the address to open, start token included.

    Raises BedsideError where another service holds this workspace or the address is taken.
    """
    import uvicorn

    from bedside.serve.limits import watched
    from bedside.serve.telemetry import configure_logging

    with alone(workspace.home / ".serve.lock"):
        configure_logging()
        app = make(workspace, config)
        limits = config.limits
        settings = uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            http=watched(limits.header_seconds),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=limits.connections,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=FINISH_SECONDS,
            h11_max_incomplete_event_size=64 << 10,
            ssl_certfile=config.tls_cert,
            ssl_keyfile=config.tls_key,
        )

        class Announcing(uvicorn.Server):
            """Says where it listens once it does."""

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                port = self.servers[0].sockets[0].getsockname()[1]
                announce(f"{replace(config, port=port).address}/start#{app.state.service.sessions.start_token}")

        try:
            Announcing(settings).run()
        except SystemExit as stop:
            if stop.code:
                raise BedsideError(
                    f"{config.address} cannot be listened on", "another program has it: choose another --port"
                ) from None


def free_port(host: str, wanted: int) -> int:
    """The wanted port where nobody listens on it, else 0: any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError:
            return 0
    return wanted


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock file while this lasts; raises BedsideError at once where another process holds it."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BedsideError(
                f"another service holds the workspace {path.parent}", "stop that one, or name another --home"
            ) from None
        yield
    finally:
        os.close(handle)
