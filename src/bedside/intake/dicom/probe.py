"""Probe: compressed pixels are decoded first in a process of their own, with limits.

The decoders are C and C++ libraries, and some of them end the process for a hostile file. What the probe has decoded
from the same bytes may then be decoded here. It speaks over pipes: length and bytes in, one line of JSON out.
"""

from __future__ import annotations

import json
import os
import selectors
import struct
import subprocess
import sys
import threading
from functools import cache
from types import TracebackType
from typing import Any, Self

from bedside.errors import BedsideError, DataError

SECONDS = 60.0  # for one object
MEMORY = 8 << 30  # bytes of address space
_DAMAGED = "check that the file was copied wholly and opens elsewhere"


class Probe:
    """A decoder in another process, started when first needed and anew after a crash; use it in a `with`."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def check(self, data: bytes) -> tuple[int, ...]:
        """The shape that an object's pixels decode to; raises DataError when they do not, or the decoder crashes or
        takes too long."""
        with self._one_at_a_time:
            answer = self._answer(data)
        if answer is None:
            raise DataError("the pixels crash their decoder, or take it too long", _DAMAGED)
        if "shape" not in answer:
            raise DataError(str(answer["what"]), str(answer["way_out"]))
        return tuple(int(each) for each in answer["shape"])

    def _answer(self, data: bytes) -> dict[str, Any] | None:
        if self._child is None:
            command = [sys.executable, "-m", "bedside.intake.dicom.probe"]
            pipe = subprocess.PIPE
            self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)  # noqa: S603
        answer = self._ask(self._child, data)
        if answer is None:
            self._end()
        return answer

    def _ask(self, child: subprocess.Popen[bytes], data: bytes) -> dict[str, Any] | None:
        if child.stdin is None or child.stdout is None:
            raise ValueError("the probe has no pipes")
        try:
            child.stdin.write(struct.pack("<Q", len(data)))
            child.stdin.write(data)
            child.stdin.flush()
        except OSError:
            return None
        with selectors.DefaultSelector() as waiting:
            waiting.register(child.stdout, selectors.EVENT_READ)
            if not waiting.select(self.seconds):
                return None
        line = child.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def shared() -> Probe:
    """The probe of this process for single files; its child ends when the pipe to it does."""
    return _of_process(os.getpid())


@cache
def _of_process(process: int) -> Probe:
    return Probe()  # a forked child must not speak over its parent's pipes


def main() -> None:
    """Answer until the pipe is closed. Only this process's own answers reach the parent: libraries print elsewhere."""
    import resource

    from bedside.intake.dicom.volume import decoded

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while head := sys.stdin.buffer.read(8):
        data = sys.stdin.buffer.read(struct.unpack("<Q", head)[0])
        try:
            answer: dict[str, Any] = {"shape": list(decoded(data).shape)}
        except BedsideError as error:
            answer = {"what": error.what, "way_out": error.way_out}
        except MemoryError:
            answer = {"what": "the pixels need more memory than is allowed for one object", "way_out": _DAMAGED}
        out.write(json.dumps(answer).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
