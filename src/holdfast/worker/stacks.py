"""Write down where Python code stands: what a person asks first of code that hangs."""

from __future__ import annotations

import sys
import threading
import traceback
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

WATCHER = "holdfast-watcher"  # name of the thread in which an executor listens
_LONGEST = 20_000  # characters


def where(ours: str, coroutine: object = None) -> str:
    """Return where a coroutine stands, if one is given, and then all threads, the main one first.

    `ours` is the file that calls the task: frames up to it tell the reader nothing. The thread
    that asks is left out, and so is the watcher.
    """
    parts = [_titled("Coroutine", _of_coroutine(coroutine))] if coroutine is not None else []
    frames = sys._current_frames()  # noqa: SLF001 - documented, in spite of its name
    here = threading.current_thread()
    threads = sorted(threading.enumerate(), key=lambda t: t is not threading.main_thread())
    for thread in threads:
        frame = frames.get(thread.ident or 0)
        if frame is not None and thread is not here and thread.name != WATCHER:
            parts.append(_titled(f"Thread {thread.name}", _lines(frame, ours)))
    return "\n".join(parts)[:_LONGEST]


def _titled(title: str, lines: list[str]) -> str:
    return f"{title} (most recent call last):\n{''.join(lines)}"


def _lines(frame: FrameType, ours: str) -> list[str]:
    stack = traceback.extract_stack(frame)
    last = max((at for at, one in enumerate(stack) if one.filename == ours), default=-1)
    return traceback.format_list(stack[last + 1 :] or stack[-1:])


def _of_coroutine(coroutine: object) -> list[str]:
    """Return the stack of a suspended coroutine, down to the innermost one it awaits."""
    return [line for step in _awaited(coroutine) for line in _line_of(step)]


def _awaited(coroutine: object) -> Iterator[CoroutineType[Any, Any, Any]]:
    while isinstance(coroutine, CoroutineType):
        yield coroutine
        coroutine = coroutine.cr_await


def _line_of(coroutine: CoroutineType[Any, Any, Any]) -> list[str]:
    frame = coroutine.cr_frame
    return traceback.format_stack(frame, limit=1) if frame is not None else []
