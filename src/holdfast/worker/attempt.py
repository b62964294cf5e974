"""Carry out one attempt inside an executor: find the task, decode, call, encode."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import traceback
from collections.abc import Awaitable
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdfast.context import Context, Snooze, Stopped
from holdfast.core.errors import BadArguments, TaskNotFound
from holdfast.core.ids import RunId
from holdfast.core.models import Lease, Progress, Stream
from holdfast.core.payload import decode_arguments, encode_result
from holdfast.core.verdict import Raised
from holdfast.tasks import CommandBody, FunctionBody, Task
from holdfast.worker.command import run_command
from holdfast.worker.protocol import Done, Said, Start
from holdfast.worker.spool import AttemptSpool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_HALF_SECOND = 0.5
_LONGEST_TRACEBACK = 20_000  # characters kept in the certificate; the log has it whole


class Attempt:
    """Be one attempt while it runs: its spool, its stop request, and in the end its Done."""

    def __init__(self, start: Start, spool: AttemptSpool, say: Callable[[Said], None]) -> None:
        self.lease = Lease(RunId(start.run_id), start.attempt)
        self.start = start
        self.spool = spool
        self.stop_asked: str | None = None
        self.stack = ""
        self.stopped_processes = 0  # what it left running and had to be ended
        self._say = say
        self._said_at = 0.0
        self._unsaid: Progress | None = None
        self._facts: dict[str, Any] = {}
        self._pid = os.getpid()
        self._began = time.monotonic()
        self._cpu = _cpu()

    def run(self, tasks: Mapping[str, Task]) -> None:
        """Carry the attempt out to its end, whatever the task does; nothing is raised."""
        with self._settled():
            self._heed_stop()
            task = self._task(tasks)
            if isinstance(task.body, CommandBody):
                self._run_command(task.body)
            else:
                value = self._call(task)
                self._succeed(asyncio.run(value) if inspect.iscoroutine(value) else value)

    async def arun(self, tasks: Mapping[str, Task]) -> None:
        """Carry the attempt of an ``async def`` task out to its end."""
        with self._settled():
            self._heed_stop()
            value = self._call(self._task(tasks))
            self._succeed(await value if isinstance(value, Awaitable) else value)

    def done(self) -> Done:
        """Return the report; what was said last of the progress goes out before it."""
        if self._unsaid is not None:
            self._say(Said(self.lease.run_id, self.lease.attempt, self._unsaid))
        facts: dict[str, Any] = {"cpu": _cpu() - self._cpu, **self._facts}
        if self.stop_asked and "result" not in facts:
            facts["stopped"] = self.stop_asked
        return Done(
            self.lease.run_id,
            self.lease.attempt,
            wall=time.monotonic() - self._began,
            logged=self.spool.used,
            stack=self.stack,
            stopped_processes=self.stopped_processes,
            **facts,
        )

    def log(self, text: str) -> None:
        """Write one line to the log of the attempt."""
        self.spool.write(Stream.LOG, text.encode("utf-8", "surrogateescape"))

    def progress(self, progress: Progress) -> None:
        """Pass the progress on, at most twice a second."""
        now = time.monotonic()
        if now - self._said_at < _HALF_SECOND:
            self._unsaid = progress
            return
        self._said_at, self._unsaid = now, None
        self._say(Said(self.lease.run_id, self.lease.attempt, progress))

    def _heed_stop(self) -> None:
        if self.stop_asked is not None:
            raise Stopped(self.stop_asked)

    def _task(self, tasks: Mapping[str, Task]) -> Task:
        if self.start.task not in tasks:
            raise TaskNotFound(name=self.start.task, known=tasks)
        return tasks[self.start.task]

    def _call(self, task: Task) -> Any:
        arguments = decode_arguments(self.start.arguments)
        body = task.body
        assert isinstance(body, FunctionBody)
        if body.takes_context:
            context = Context(self.lease.run_id, self.lease.attempt, self)
            return body.function(context, *arguments.args, **arguments.kwargs)
        return body.function(*arguments.args, **arguments.kwargs)

    def _succeed(self, value: Any) -> None:
        self._facts["result"] = encode_result(value)

    def _run_command(self, body: CommandBody) -> None:
        arguments = decode_arguments(self.start.arguments)
        argv = body.render(arguments.args, arguments.kwargs)
        end = run_command(argv, body.cwd(arguments.kwargs), self.lease, self.spool)
        self._facts = {
            "exit_code": end.exit_code,
            "signal": end.signal,
            "start_failed": end.start_failed,
            "cpu": end.cpu,
            "peak_rss": end.peak_rss,
        }
        self.stopped_processes = end.stopped_processes
        if end.exit_code == 0:
            self._facts["result"] = "null"

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Turn every way in which user code can end into facts."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            self._end_forked(error)
            self._take(error)
        else:
            self._end_forked(None)

    def _end_forked(self, error: BaseException | None) -> None:
        """End a child that user code forked and that came back: only its parent may go on."""
        if os.getpid() == self._pid:
            return
        code = getattr(error, "code", None) or 0
        if error is not None and not (isinstance(error, SystemExit) and isinstance(code, int)):
            self._fail(error, with_log=True)
            code = 1
        os._exit(code)

    def _take(self, error: BaseException) -> None:
        match error:
            case Snooze():
                self._facts["snooze"] = error.seconds
            case Stopped():
                self.log(f"stopped: {self.stop_asked}\n")
            case asyncio.CancelledError() if self.stop_asked:
                self.log(f"stopped: {self.stop_asked}\n")
            case TaskNotFound() | BadArguments():
                self._fail(error, with_log=False)
            case _:
                self._fail(error, with_log=True)

    def _fail(self, error: BaseException, *, with_log: bool) -> None:
        text = "".join(traceback.format_exception(error.with_traceback(_of_the_task(error))))
        if with_log:
            with suppress(OSError):  # a full disk must not hide why the task failed
                self.spool.write(Stream.ERR, text.encode("utf-8", "backslashreplace"))
        kind = type(error)
        name = kind.__qualname__
        if kind.__module__ not in ("builtins", "__main__"):
            name = f"{kind.__module__}.{name}"
        self._facts["raised"] = Raised(
            _clean(name), _message(error), _clean(text[-_LONGEST_TRACEBACK:])
        )


def _of_the_task(error: BaseException) -> TracebackType | None:
    """Return the traceback without the frames of this module, which tell the reader nothing."""
    step = error.__traceback__
    while step is not None and step.tb_frame.f_code.co_filename == __file__:
        step = step.tb_next
    return step or error.__traceback__


def _clean(text: str) -> str:
    """Return a text without lone surrogates, which no JSON can hold: file names bring them."""
    return text.encode("utf-8", "backslashreplace").decode()


def _message(error: BaseException) -> str:
    try:
        return _clean(str(error)[:2000])
    except Exception as second:  # noqa: BLE001 - __str__ is user code
        return f"(its text cannot be made: {type(second).__name__})"


def _cpu() -> float:
    return time.process_time() + sum(os.times()[2:4])  # with the children that were waited for
