"""One module for each measure: `run(setting)` returns its figures."""

from __future__ import annotations
