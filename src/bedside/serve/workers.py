"""A bounded room for computing: so many requests at once, so many waiting, and a plain refusal beyond."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bedside.serve.config import Limits
from bedside.serve.problems import Busy, Late

T = TypeVar("T")


class Workers:
    """`limits.workers` threads and `limits.waiting` places before them; used from one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.inside = 0
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="answer")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work` on one of the threads; raises Busy when there is no place and Late after
        `limits.seconds`. Work that is late keeps its place until it ends, so that slow requests cannot pile up."""
        if self.inside >= self.limits.workers + self.limits.waiting:
            raise Busy(1 + self.inside // (8 * self.limits.workers))
        self.inside += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._leave)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await asyncio.shield(future)
        except TimeoutError:
            raise Late from None

    def _leave(self, future: asyncio.Future[T]) -> None:
        self.inside -= 1
        if not future.cancelled():
            future.exception()  # looked at, so that one that came late is not reported as lost

    def close(self) -> None:
        """Finish what is being computed."""
        self._pool.shutdown(wait=True, cancel_futures=True)
