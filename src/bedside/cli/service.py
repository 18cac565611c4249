"""Verbs of the service: serve."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.app import Home, app, open_workspace
from bedside.errors import MissingExtra


@app.command()
def serve(
    home: Home = None,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback TLS is needed.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one (default 8460 if free).", min=0, max=65535)
    ] = None,
    name: Annotated[list[str] | None, typer.Option(help="A further host name it has; may be repeated.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM).", show_default=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).", show_default=False)] = None,
    behind_proxy: Annotated[bool, typer.Option("--behind-proxy", help="A proxy before it encrypts.")] = False,
) -> None:
    """Serve the workspace's releases with their pages: answered, explained, audited. Ctrl-C ends it.

    The address it prints holds a token that signs in one browser, once.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # requests are the parallelism
    try:
        from bedside.serve.config import ServeConfig
        from bedside.serve.run import free_port
        from bedside.serve.run import serve as run_service
        from bedside.web import create_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "bedside":
            raise
        raise MissingExtra("serve", "`bedside serve`") from None

    config = ServeConfig(
        host=host,
        port=port if port is not None else free_port(host, 8460),
        hosts=tuple(name or ()),
        tls_cert=tls_cert,
        tls_key=tls_key,
        behind_proxy=behind_proxy,
        worker=True,
    )
    run_service(open_workspace(home), config, create_app, lambda address: print(f"open     {address}", flush=True))
