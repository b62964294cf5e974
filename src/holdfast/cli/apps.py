"""Import the app that a user names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from holdfast.app import App
from holdfast.cli.errors import NoApp


def load_app(name: str) -> App:
    """Return the app behind ``module:name``, looked for from the working directory.

    Raises NoApp when it is not there. An error inside the module passes as it is: its traceback
    is what the author needs.
    """
    if not name:
        raise NoApp(app=name, problem="this command needs to know your app")
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise NoApp(app=name, problem=f"there is no module {error.name!r} here") from error
    found = getattr(module, attribute or "app", None)
    if isinstance(found, App):
        return found
    kind = "nothing" if found is None else f"a {type(found).__name__}"
    problem = f"{attribute or 'app'!r} in {module_name!r} is {kind}, not a holdfast.App"
    raise NoApp(app=name, problem=problem)
