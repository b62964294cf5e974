"""Be an executor: a fresh interpreter that runs user code and talks to its supervisor only.

An exclusive executor runs one attempt at a time in its main thread; a shared one runs many
``async def`` attempts in one event loop. The watcher thread listens for Stop, and ends the
process with everything below it when the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
import os
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from holdfast.app import App, load_app
from holdfast.context import Stopped
from holdfast.core.ids import RunId
from holdfast.core.models import Lease
from holdfast.tasks import CommandBody, Task
from holdfast.worker import proc
from holdfast.worker.attempt import Attempt
from holdfast.worker.capture import Capture
from holdfast.worker.command import alive, end_leftovers, has_children, reap
from holdfast.worker.families import Families
from holdfast.worker.protocol import (
    Done,
    Frames,
    Hello,
    Said,
    Setup,
    Start,
    Stop,
    Unready,
    decode_setup,
    decode_start,
    decode_stop,
    frame,
)
from holdfast.worker.spool import AttemptSpool, Sheets

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINGER = 0.2  # seconds that children get which a function has left running
_WATCH_SECONDS = 0.2  # how soon the shipper finds what C code or a child process writes


class Line:
    """Talk to the supervisor; its end is the end of this process."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._frames = Frames()
        self._lock = threading.Lock()

    def send(self, message: Hello | Unready | Said | Done) -> None:
        """Send a report, or end with everything when nobody takes it any more."""
        data = frame(message)
        try:
            with self._lock:
                self._line.sendall(data)
        except OSError:
            end_everything()

    def receive(self, timeout: float | None) -> list[bytes]:
        """Return the messages that came within a time; ends the process with the line."""
        if not select.select([self._line], [], [], timeout)[0]:
            return []
        try:
            data = self._line.recv(65536)
        except ConnectionResetError:  # it died before it had read everything
            data = b""
        if not data:
            end_everything()
        return list(self._frames.feed(data))


def end_everything() -> NoReturn:
    """Kill what is below this process, then this process: nobody would look after it."""
    proc.kill_tree(os.getpid(), with_root=False)
    os._exit(1)


class Executor:
    """Run attempts one at a time, in the main thread."""

    def __init__(self, setup: Setup, work: socket.socket, line: Line) -> None:
        self.setup = setup
        self.work = work
        self.line = line
        self.spool = Path(setup.spool)
        self.capture = Capture()
        self.attempts: dict[Lease, Attempt] = {}
        self.tasks: Mapping[str, Task] = {}
        self._early: dict[Lease, str] = {}  # stops that came before their attempts

    def run(self) -> None:
        """Load the app, say hello, and work until there is no supervisor any more."""
        self.capture.install()
        app = self.load()
        self.capture.listen()
        self.tasks = app.tasks
        self.prepare()
        os.register_at_fork(before=self._before_fork)
        threading.Thread(target=self._watch, name="holdfast-watcher", daemon=True).start()
        tasks = {name: task.body.shared for name, task in app.tasks.items()}
        self.line.send(Hello(tasks, app.settings.store.url if self.setup.app else ""))
        self.work_on()

    def load(self) -> App:
        """Import the app and read its settings; tells the supervisor when it cannot."""
        try:
            app = load_app(self.setup.app)
            _ = app.settings
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            problem = f"{type(error).__name__}: {error}"
            self.line.send(Unready(problem, "".join(traceback.format_exception(error))))
            sys.exit(1)
        return app

    def prepare(self) -> None:
        """Lay the sheets and take the signals."""
        self.sheets = Sheets(self.spool, self.setup.number)
        self._sheets_lock = threading.Lock()
        self._interruptible = False
        self._home = os.getcwd()
        signal.signal(signal.SIGUSR2, self._interrupt)

    def work_on(self) -> None:
        """Take one attempt after the other."""
        while data := self.work.recv(1 << 17):
            attempt = self.begin(decode_start(data))
            self.capture.only = attempt.spool
            self.sheets.belong_to(attempt.lease)
            self._carry_out(attempt)
            self.capture.only = None
            self._leave_nothing(attempt)
            self.finish(attempt)
        end_everything()

    def begin(self, start: Start) -> Attempt:
        """Make the attempt known, with its spool."""
        if start.file:
            path = Path(start.file)
            start = Start(start.run_id, start.attempt, start.task, path.read_text())
            path.unlink()
        lease = Lease(RunId(start.run_id), start.attempt)
        attempt = Attempt(start, AttemptSpool(self.spool, lease), self.line.send)
        self.attempts[lease] = attempt
        attempt.stop_asked = attempt.stop_asked or self._early.pop(lease, None)
        return attempt

    def finish(self, attempt: Attempt) -> None:
        """Report the end of an attempt."""
        attempt.spool.close()
        self._early.pop(attempt.lease, None)
        self.line.send(attempt.done())

    def stop(self, attempt: Attempt) -> None:
        """Ask an attempt to stop: called by the watcher thread."""
        main = threading.main_thread().ident
        assert main is not None
        frames = sys._current_frames()  # noqa: SLF001 - documented, in spite of its name
        attempt.stack = "".join(traceback.format_stack(frames[main]))
        task = self.tasks.get(attempt.start.task)
        if task is not None and isinstance(task.body, CommandBody):
            attempt.stack = ""
            proc.kill_all(alive(os.getpid()), signal.SIGTERM)
        else:
            signal.pthread_kill(main, signal.SIGUSR2)

    def look(self) -> None:
        """Do what is due from time to time: called by the watcher thread."""
        with self._sheets_lock:
            for attempt in list(self.attempts.values()):
                self.sheets.give(attempt.spool)

    def _before_fork(self) -> None:
        """Open the record files: a child that writes to one of its own would write unseen."""
        for attempt in self.attempts.values():
            attempt.spool.begin()

    def _carry_out(self, attempt: Attempt) -> None:
        try:
            self._interruptible = True
            attempt.run(self.tasks)
        except Stopped:
            pass  # it came just before the task began or just after it ended
        finally:
            self._interruptible = False

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        asked = [a.stop_asked for a in self.attempts.values() if a.stop_asked]
        if self._interruptible and asked:
            self._interruptible = False  # once: the task may need its time to clean up
            raise Stopped(asked[0])

    def _leave_nothing(self, attempt: Attempt) -> None:
        if has_children():
            attempt.stopped_processes += end_leftovers(_LINGER)
            reap()
        with self._sheets_lock:
            self.sheets.give(attempt.spool)
            self.sheets.renew()
            del self.attempts[attempt.lease]
        self._put_back()

    def _put_back(self) -> None:
        """Undo what a task has changed for those that come after it in this process."""
        self.capture.put_back()
        if signal.getsignal(signal.SIGUSR2) != self._interrupt:
            signal.signal(signal.SIGUSR2, self._interrupt)
        if signal.getsignal(signal.SIGTERM) is not _die:
            signal.signal(signal.SIGTERM, _die)
        if _folder() != self._home:
            os.chdir(self._home)

    def _watch(self) -> None:
        while True:
            for body in self.line.receive(_WATCH_SECONDS):
                self._take_stop(decode_stop(body))
            self.look()

    def _take_stop(self, stop: Stop) -> None:
        lease = Lease(RunId(stop.run_id), stop.attempt)
        self._early[lease] = stop.why  # first, so that an attempt that begins now finds it
        attempt = self.attempts.get(lease)
        if attempt is not None:
            self._early.pop(lease, None)
            attempt.stop_asked = stop.why
            self.stop(attempt)


class SharedExecutor(Executor):
    """Run many attempts of ``async def`` tasks at once, in one event loop."""

    def prepare(self) -> None:
        """Prepare nothing: descriptors 1 and 2 stay those of the worker's own log.

        Nobody could tell whose bytes they were; what goes through sys.stdout, sys.stderr and
        logging is told apart by the context of the attempt.
        """

    def look(self) -> None:
        """Do nothing: there are no sheets to look at."""

    def work_on(self) -> None:
        """Run the event loop."""
        asyncio.run(self._serve())

    def stop(self, attempt: Attempt) -> None:
        """Cancel the coroutine of an attempt: called by the watcher thread."""
        self._loop.call_soon_threadsafe(self._cancel, attempt.lease)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: dict[Lease, asyncio.Task[None]] = {}
        self._families = Families(self._loop, self._current)
        self.work.settimeout(0)
        while data := await self._loop.sock_recv(self.work, 1 << 17):
            attempt = self.begin(decode_start(data))
            task = asyncio.create_task(self._carry_out_async(attempt))
            self._running[attempt.lease] = task
        end_everything()

    async def _carry_out_async(self, attempt: Attempt) -> None:
        self.capture.current.set(attempt.spool)
        await attempt.arun(self.tasks)
        del self._running[attempt.lease]
        if has_children():
            attempt.stopped_processes = await asyncio.to_thread(
                self._families.end, attempt.lease, _LINGER
            )
        del self.attempts[attempt.lease]
        self.finish(attempt)

    def _current(self) -> Lease | None:
        spool = self.capture.current.get()
        return spool.lease if spool is not None else None

    def _cancel(self, lease: Lease) -> None:
        task = self._running.get(lease)
        if task is not None and _has_begun(task):  # else it sees the stop when it does
            self.attempts[lease].stack = _where(task.get_coro())
            task.cancel()


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # the task has deleted the folder it stood in
        return None


def _has_begun(task: asyncio.Task[None]) -> bool:
    coroutine = task.get_coro()
    assert inspect.iscoroutine(coroutine)
    return inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED


def _where(coroutine: object) -> str:
    """Return where a suspended coroutine stands, down to the innermost one it awaits."""
    lines = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        lines += traceback.format_stack(frame, limit=1)
        coroutine = coroutine.cr_await  # type: ignore[attr-defined]
    return "".join(lines)


def main() -> None:
    """Start as ``python -m holdfast.worker.executor LINE WORK CRASH PARENT``."""
    line_fd, work_fd, crash_fd, parent = map(int, sys.argv[1:5])
    for descriptor in (line_fd, work_fd, crash_fd):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no names
    proc.become_subreaper()
    proc.die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
    faulthandler.enable(crash_fd)
    faulthandler.register(signal.SIGUSR1, crash_fd)
    signal.signal(signal.SIGTERM, _die)
    line = Line(socket.socket(fileno=line_fd))
    setup = None
    while setup is None:
        setup = next(map(decode_setup, line.receive(None)), None)
    work = socket.socket(fileno=work_fd)
    try:
        (SharedExecutor if setup.shared else Executor)(setup, work, line).run()
    except Exception:
        os.write(crash_fd, traceback.format_exc().encode("utf-8", "backslashreplace"))
        raise


def _die(number: int, _frame: FrameType | None) -> None:
    """Take everything below along, then die of the very signal, so that the parent sees it."""
    proc.kill_tree(os.getpid(), with_root=False)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
