"""Carry out one attempt inside an executor: find the task, decode, call, encode."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import traceback
from collections.abc import Awaitable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.context import Context, Snooze, Stopped
from holdfast.core.errors import BadArguments, TaskNotFound
from holdfast.core.ids import RunId
from holdfast.core.masking import refusal
from holdfast.core.models import Lease, Progress, Stream
from holdfast.core.payload import decode_arguments, encode_result
from holdfast.core.texts import shorten
from holdfast.core.verdict import Raised
from holdfast.tasks import CommandBody, FunctionBody, Task
from holdfast.worker.capture import ESCAPE
from holdfast.worker.causes import full_disk
from holdfast.worker.command import run_command
from holdfast.worker.protocol import Done, Said, Start
from holdfast.worker.secrets import MOST
from holdfast.worker.spool import AttemptSpool
from holdfast.worker.stacks import where

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.worker.output import Output

_HALF_SECOND = 0.5
_QUICKEST_CHILD = 0.0005  # seconds that a process needs to start, do anything and end
_UNNAMED = ("builtins", "__main__")  # modules that tell the reader nothing
_LONGEST_NAME = 200  # characters of the name of an exception
_LONGEST_TRACEBACK = 20_000  # characters kept in the certificate; the log has it whole


class Cpu(NamedTuple):
    """Hold seconds of processor time."""

    own: float
    of_children: float


class Attempt:
    """Be one attempt while it runs: its spool, its stop request, and in the end its Done."""

    oom_kills = 0  # processes of it that the kernel killed for its memory limit
    peak: int | None = None  # bytes that they all held then
    coroutine: object = None  # of an `async def` task

    def __init__(
        self,
        start: Start,
        spool: AttemptSpool,
        output: Output,
        say: Callable[[Said], None],
        cpu_before: Cpu | None = None,
    ) -> None:
        self.lease = Lease(RunId(start.run_id), start.attempt)
        self.start = start
        self.spool = spool
        self.stop_asked: str | None = None
        self.stack = ""
        self.stopped_processes = 0  # what it left running and had to be ended
        self._output = output
        self._say = say
        self._said_at = 0.0
        self._unsaid: Progress | None = None
        self._facts: dict[str, Any] = {}
        self._secrets: set[str] = set()
        self._pid = os.getpid()
        self._began = time.monotonic()
        self.cpu = cpu_before or cpu_used()  # when it began, then ended

    def run(self, tasks: Mapping[str, Task]) -> None:
        """Carry the attempt out to its end, whatever the task does; nothing is raised."""
        try:
            self._heed_stop()
            task = self._task(tasks)
            if isinstance(task.body, CommandBody):
                self._run_command(task.body)
            else:
                value = self._call(task)
                if inspect.iscoroutine(value):
                    self.coroutine = value
                    value = asyncio.run(value)
                self._succeed(value)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            self._take(error)
        else:
            self._end_forked(None)

    async def arun(self, tasks: Mapping[str, Task]) -> None:
        """Carry the attempt of an ``async def`` task out to its end."""
        try:
            self._heed_stop()
            self.coroutine = value = self._call(self._task(tasks))
            self._succeed(await value if isinstance(value, Awaitable) else value)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            self._take(error)
        else:
            self._end_forked(None)

    def done(self) -> Done:
        """Return the report; what was said last of the progress goes out before it."""
        if self._unsaid is not None:
            self._say(Said(self.lease.run_id, self.lease.attempt, self._unsaid))
        wall, before = time.monotonic() - self._began, self.cpu
        own_only = wall < _QUICKEST_CHILD
        self.cpu = Cpu(time.process_time(), before.of_children) if own_only else cpu_used()
        facts: dict[str, Any] = {"cpu": sum(self.cpu) - sum(before), **self._facts}
        if self.oom_kills:
            facts |= {"oom_kills": self.oom_kills, "peak_rss": self.peak}
            facts.pop("result", None)  # what it made of that is nobody's guess
        if self.stop_asked and "result" not in facts:
            facts["stopped"] = self.stop_asked
        return Done(
            self.lease.run_id,
            self.lease.attempt,
            wall=wall,
            logged=self.spool.used,
            stack=self.stack[-_LONGEST_TRACEBACK:],
            stopped_processes=self.stopped_processes,
            **facts,
        )

    def note_stack(self) -> None:
        """Note where the code stands: it is asked to stop."""
        self.stack = where(__file__, self.coroutine)

    def log(self, text: str) -> None:
        """Write one line to the log of the attempt."""
        self.spool.write(Stream.LOG, text.encode("utf-8", ESCAPE))

    def mask(self, value: str) -> None:
        """Have a value masked in the log from now on, or say there why it is not."""
        reason = refusal(value)
        if len(self._secrets) >= MOST:
            reason = f"{MOST} are named already"
        if value in self._secrets:
            return
        if reason is None:
            self._secrets.add(value)
            self.spool.name_secret(value)
        else:
            self.log(f"holdfast: a value given to context.mask is not masked: {reason}\n")

    def progress(self, progress: Progress) -> None:
        """Pass the progress on, at most twice a second; a forked child has no line for it."""
        if os.getpid() != self._pid:
            return
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
        end = run_command(argv, body.cwd(arguments.kwargs), self.lease, self._output)
        self._facts = {
            "exit_code": end.exit_code,
            "signal": end.signal,
            "start_failed": end.start_failed,
            "cpu": end.cpu,
            "peak_rss": end.peak_rss,
            "pid": end.pid,
            "lingered": end.lingered,
        }
        self.stopped_processes = end.stopped_processes
        if end.exit_code == 0:
            self._facts["result"] = "null"

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
        """Turn every way in which user code can end otherwise than by returning into facts."""
        self._end_forked(error)
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
        disk = _full_disk(error)  # at once, before anything is cleaned up
        text = _traceback(error)
        if with_log:
            with suppress(OSError):  # a sick disk must not hide why the task failed
                self.spool.write(Stream.ERR, text.encode("utf-8", "backslashreplace"))
        self._facts["raised"] = Raised(
            _clean(shorten(_name(type(error)), _LONGEST_NAME)),
            _message(error),
            _clean(_end_of(text)),
            _clean(disk),
        )


def _of_the_task(error: BaseException) -> TracebackType | None:
    """Return the traceback without the frames of this module, which tell the reader nothing."""
    step = error.__traceback__
    while step is not None and step.tb_frame.f_code.co_filename == __file__:
        step = step.tb_next
    return step or error.__traceback__


def _end_of(text: str) -> str:
    """Return whole lines from the end of a traceback, as many as a certificate holds."""
    if len(text) <= _LONGEST_TRACEBACK:
        return text
    end = text[-_LONGEST_TRACEBACK:]
    return end[end.find("\n") + 1 :]


def _clean(text: str) -> str:
    """Return a text without lone surrogates, which no JSON can hold: file names bring them."""
    return text.encode("utf-8", "backslashreplace").decode()


def _name(kind: type[BaseException]) -> str:
    """Return the name of an exception; what a task calls its module may be anything."""
    try:
        module, name = kind.__module__, str(kind.__qualname__)
    except BaseException:  # noqa: BLE001 - a class of its class may compute them
        return "an exception without a name"
    return f"{module}.{name}" if type(module) is str and module not in _UNNAMED else name


def _message(error: BaseException) -> str:
    try:
        return _clean(str(error)[:2000])
    except BaseException as second:  # noqa: BLE001 - __str__ is user code
        return f"(its text cannot be made: {_name(type(second))})"


def _full_disk(error: BaseException) -> str:
    try:
        return full_disk(error)
    except BaseException:  # noqa: BLE001 - what it names as its file is user code
        return ""


def _traceback(error: BaseException) -> str:
    try:
        steps = error.with_traceback(_of_the_task(error))
        return "".join(traceback.format_exception(steps))
    except BaseException as second:  # noqa: BLE001 - its text and its causes are user code
        return f"{_name(type(error))} (no traceback can be made: {_name(type(second))})\n"


def cpu_used() -> Cpu:
    """Return what this process has used, and the children it has waited for."""
    return Cpu(time.process_time(), sum(os.times()[2:4]))
