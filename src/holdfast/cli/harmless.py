"""Make the output of tasks harmless for a terminal: it may come from anywhere."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder

from holdfast.core.texts import visible

_RESET = "\x1b[0m"
_PASSES = re.compile(r"(\x1b\[[0-9;:]{0,60}m|\r)")  # colours and the like; back to the line's start
_UNSURE = re.compile(r"\x1b(\[[0-9;:]{0,60})?\Z")  # may become a colour with what comes next


class Harmless:
    """Turn bytes into text that can only colour a terminal, however they are cut into pieces.

    Everything else that a terminal would obey is written out: it neither moves the cursor to other
    lines nor sets a title nor fills the clipboard.
    """

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._unsure = ""
        self._coloured = False

    def text(self, data: bytes) -> str:
        """Return the text of the next bytes; what may be half a colour is kept back."""
        text = self._unsure + self._decoder.decode(data)
        half = _UNSURE.search(text)
        self._unsure = half[0] if half else ""
        return self._clean(text.removesuffix(self._unsure))

    def rest(self) -> str:
        """Return what was kept back, and end the colours."""
        text = self._clean(self._unsure + self._decoder.decode(b"", final=True))
        self._unsure = ""
        return text + (_RESET if self._coloured else "")

    def _clean(self, text: str) -> str:
        parts = _PASSES.split(text)
        self._coloured |= any(len(part) > 1 for part in parts[1::2])
        parts[::2] = map(visible, parts[::2])
        return "".join(parts)
