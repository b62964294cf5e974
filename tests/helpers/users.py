"""Run programs as users who may not signal each other."""

from __future__ import annotations

# Root without this right may not signal processes of others, as no user may but root.
WITHOUT_RIGHT_TO_KILL = ("setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill")
AS_ANOTHER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
