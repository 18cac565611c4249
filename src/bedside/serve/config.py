"""Configuration of the service: where it listens, how much it takes, how long a sign-in lasts."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from bedside.errors import BedsideError


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take.

    `body` in bytes, `pixels` of one image, `rows` answered while the caller waits, `seconds` of computing one request,
    `header_seconds` and `body_seconds` until a request has arrived, `waiting` requests queued beyond those computed by
    `workers` threads, `connections` open at once.
    """

    body: int = 32 << 20
    pixels: int = 40_000_000
    rows: int = 1000
    seconds: float = 30.0
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    waiting: int = 64
    workers: int = field(default_factory=lambda: max(1, os.cpu_count() or 1))
    connections: int = 512


@dataclass(frozen=True)
class ServeConfig:
    """Where the service listens and how it is reached.

    `hosts` are further names by which it is called (the Host header must be one of these, the address, or localhost).
    Beyond loopback it must have a certificate (`tls_cert`, `tls_key`), or stand behind a proxy that has one
    (`behind_proxy`). `worker`: start the process that carries out jobs. Raises BedsideError where neither is so.
    """

    host: str = "127.0.0.1"
    port: int = 8460
    hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    worker: bool = False
    session_hours: float = 12.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise BedsideError("a certificate needs its key", "give --tls-cert and --tls-key together")
        for file in (self.tls_cert, self.tls_key):
            if file is not None and not file.is_file():
                raise BedsideError(f"{file}: no such file", "name a PEM file")
        if not (self.loopback or self.secure):
            raise BedsideError(
                f"{self.host} is reached from other machines, and nothing would be encrypted",
                "give --tls-cert and --tls-key, or --behind-proxy where a proxy encrypts",
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def secure(self) -> bool:
        """Whether browsers reach it over TLS, so that cookies are marked Secure."""
        return self.tls_cert is not None or self.behind_proxy

    @property
    def names(self) -> frozenset[str]:
        """The host names (without port) a request may ask for."""
        return frozenset({self.host.lower(), "localhost", "127.0.0.1", "[::1]", *(name.lower() for name in self.hosts)})

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert is not None else 'http'}://{host}:{self.port}"
