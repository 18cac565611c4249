"""The pages: what a clinician, an engineer and hospital IT see of the service, in English and Chinese, light and dark.

`create_app` wraps `serve.create_app` with the pages; they are Jinja templates and our own ES modules, with no build
step and nothing from another host.
"""

from bedside.web.app import create_app

__all__ = ["create_app"]
