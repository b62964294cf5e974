"""Measure Holdfast beside its peers and the bare ceiling: `python -m bench`, or `make bench`."""

from __future__ import annotations
