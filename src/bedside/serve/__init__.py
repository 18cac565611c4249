"""The clinical node: verified releases answered, explained and audited over HTTP.

`create_app(workspace, config)` makes the application, `start` serves it. A route that has no declared role stops the
start. The server loads neither torch nor shap: what needs them is not answered inline.
"""

from bedside.serve.app import create_app
from bedside.serve.config import Limits, ServeConfig

__all__ = ["Limits", "ServeConfig", "create_app"]
