"""The application with its pages: `serve.create_app`, and the pages' routes with their roles."""

from __future__ import annotations

from fastapi import FastAPI

from bedside import serve
from bedside.cohort.workspace import Workspace
from bedside.serve.config import ServeConfig
from bedside.web import pages

# Who sees which page; the form is that of `serve.access.TABLE`.
TABLE = """
route                                     viewer  clinician  scientist  approver  admin
GET    /                                  x       x          x          x         x
GET    /start                             open
GET    /start/{file}                      open
GET    /static/{file}                     x       x          x          x         x
GET    /try                               .       x          x          .         .
GET    /try/{digest}                      .       x          x          .         .
POST   /try/{digest}/answer               .       x          x          .         .
GET    /models                            x       x          x          x         x
GET    /models/{name}                     x       x          x          x         x
GET    /today                             x       x          x          x         x
GET    /map                               x       x          x          x         x
GET    /jobs                              .       x          x          .         x
GET    /accounts                          .       .          .          .         x
GET    /audit                             .       .          .          x         x
"""


def create_app(workspace: Workspace, config: ServeConfig) -> FastAPI:
    """The service on a workspace with its pages; raises BedsideError for a route without declared roles."""
    return serve.create_app(workspace, config, add=pages.add_pages, table=TABLE)
