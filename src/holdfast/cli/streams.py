"""Make the standard streams of this process fit to write to, whatever they were given as."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


def make_usable() -> None:
    r"""Open what is closed, and let no character be impossible to write.

    A closed descriptor would go to the next file that is opened, and that may be the store. What
    the encoding of the terminal does not have is written out: ``\u2026``.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no names
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = _patient(sys.stdout or os.fdopen(1, "w"))
    sys.stderr = _patient(sys.stderr or os.fdopen(2, "w"))


def _patient(stream: TextIO) -> TextIO:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
