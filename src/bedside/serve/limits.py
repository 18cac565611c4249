"""Limits on what arrives: a body that is too large is refused before it is read, one that dawdles is cut off.

The time until a request's headers have arrived is watched below ASGI, in uvicorn's protocol (`Watched`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from bedside.serve.config import Limits
from bedside.serve.problems import problem


class TooLarge(Exception):
    """The body has more bytes than are taken."""


class TooSlow(Exception):
    """The body did not arrive in time."""


class BodyLimit:
    """Middleware: at most `limits.body` bytes within `limits.body_seconds`, whatever Content-Length says."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counted body; 413 or 408 when it is too large or too slow."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > self.limits.body:
            await self._too_large(scope, receive, send)
            return
        seen, started = 0, False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.limits.body_seconds

        async def counted() -> Message:
            nonlocal seen
            try:
                async with asyncio.timeout_at(None if started else deadline):
                    message = await receive()
            except TimeoutError:
                raise TooSlow from None
            seen += len(message.get("body", b""))
            if seen > self.limits.body:
                raise TooLarge
            return message

        async def noticed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, noticed)
        except TooLarge:
            await self._too_large(scope, receive, send)
        except TooSlow:
            late = problem(408, "the body did not arrive in time", "send it faster", connection="close")
            await late(scope, receive, send)

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        what = f"the body is larger than {self.limits.body >> 20} MiB"
        # Closing spares us the rest of a body that nobody will read.
        await problem(413, what, "send fewer rows or a smaller image", connection="close")(scope, receive, send)


def watched(header_seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, which closes a connection whose request headers have not arrived in time."""

    class Watched(H11Protocol):
        """Counts from the first byte that is awaited to the request that it begins."""

        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.timer = self.loop.call_later(header_seconds, self.give_up)

        def data_received(self, data: bytes) -> None:
            if self.timer is None and (self.cycle is None or self.cycle.response_complete):
                self.timer = self.loop.call_later(header_seconds, self.give_up)
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                self.rest()

        def connection_lost(self, exc: Exception | None) -> None:
            self.rest()
            super().connection_lost(exc)

        def give_up(self) -> None:
            self.timer = None
            if not self.transport.is_closing():
                self.transport.close()

        def rest(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

    return Watched
