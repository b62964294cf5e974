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
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec

from holdfast.app import App, load_app
from holdfast.context import Stopped
from holdfast.core.ids import RunId
from holdfast.core.models import Lease
from holdfast.tasks import CommandBody, Task
from holdfast.worker import farewell, proc
from holdfast.worker.attempt import Attempt, Cpu, cpu_used
from holdfast.worker.capture import Capture
from holdfast.worker.cgroup import Bound
from holdfast.worker.command import alive, end_leftovers, has_children, reap
from holdfast.worker.disk import when_there_is_room
from holdfast.worker.families import Families
from holdfast.worker.home import Home
from holdfast.worker.output import Output
from holdfast.worker.protocol import (
    LARGEST_START,
    Frames,
    Hello,
    Leaving,
    Report,
    Setup,
    Start,
    Stop,
    Unready,
    decode_setup,
    decode_start,
    decode_stop,
    frame,
)
from holdfast.worker.spool import AttemptSpool, mark_whole
from holdfast.worker.stacks import WATCHER

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINGER = 0.2  # seconds that children get which a function has left running
_WATCH_SECONDS = 0.2  # between two looks at what is due from time to time


class Line:
    """Talk to the supervisor; its end is the end of this process."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._frames = Frames()
        self._lock = threading.Lock()

    def send(self, message: Report) -> None:
        """Send a report, or end with everything when nobody takes it any more."""
        data = frame(message)
        try:
            with self._lock:
                self._line.sendall(data)
        except OSError:
            farewell.end_everything()

    def receive(self, timeout: float | None) -> list[bytes]:
        """Return the messages that came within a time; ends the process with the line."""
        if not select.select([self._line], [], [], timeout)[0]:
            return []
        try:
            data = self._line.recv(65536)
        except ConnectionResetError:  # it died before it had read everything
            data = b""
        if not data:
            farewell.end_everything()
        return list(self._frames.feed(data))


class Executor:
    """Run attempts one at a time, in the main thread."""

    def __init__(self, setup: Setup, work: socket.socket, line: Line, output: Output) -> None:
        self.setup = setup
        self.work = work
        self.line = line
        self.output = output
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
        threading.Thread(target=self._watch, name=WATCHER, daemon=True).start()
        self.lay_output()
        os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)
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
        """Take the signals, and note how things are before any attempt."""
        self._bound = Bound(self.setup.group)
        self._interruptible = False
        self._staying: list[int] = []
        self._home = Home(
            self.capture, {signal.SIGUSR2: self._interrupt, signal.SIGTERM: farewell.die}
        )
        self._cpu = cpu_used()  # when the last attempt ended: the next one begins there
        signal.signal(signal.SIGUSR2, self._interrupt)

    def lay_output(self) -> None:
        """Lead descriptors 1 and 2 into the spool from now on."""
        self.output.lay()
        farewell.last_acts.append(partial(self.output.save, self.spool))

    def work_on(self) -> None:
        """Take one attempt after the other."""
        buffer = memoryview(bytearray(2 * LARGEST_START))
        while size := self.work.recv_into(buffer):
            attempt = self.begin(decode_start(buffer[:size]), self._cpu)
            self.capture.only = attempt.spool
            self.output.belong_to(attempt.lease)
            if attempt.start.memory:
                self._bound.set(attempt.start.memory)
            self._carry_out(attempt)
            self.capture.only = None
            self._leave_nothing(attempt)
            if attempt.start.memory:
                attempt.oom_kills, attempt.peak = self._bound.lift()
            self.finish(attempt)
            self._cpu = attempt.cpu
            if why := self._why_leave():
                self.line.send(Leaving(why))
                break
        farewell.end_everything()

    def _why_leave(self) -> str:
        """Say what attempts have left here that the next one would suffer from; "" if nothing."""
        if self._staying:
            pids = ", ".join(map(str, self._staying))
            return f"its last attempt has left processes that cannot be ended: {pids}"
        return "its tasks have left too many files open" if self._home.is_crowded() else ""

    def begin(self, start: Start, cpu_before: Cpu | None = None) -> Attempt:
        """Make the attempt known, with its spool."""
        if start.file:
            path = Path(start.file)
            start = msgspec.structs.replace(start, arguments=path.read_bytes().decode(), file="")
            with suppress(OSError):  # a sick disk; it goes with the folder of the worker
                path.unlink()
        lease = Lease(RunId(start.run_id), start.attempt)
        spool = AttemptSpool(
            self.spool, lease, self.output.is_held_back, piped=not self.setup.shared
        )
        attempt = Attempt(start, spool, self.output, self.line.send, cpu_before)
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
        task = self.tasks.get(attempt.start.task)
        if task is not None and isinstance(task.body, CommandBody):
            proc.kill_all(alive(os.getpid()), signal.SIGTERM)
            return
        attempt.note_stack()
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGUSR2)

    def look(self) -> None:
        """Do what is due from time to time: called by the watcher thread."""
        self._bound.strike()

    def _before_fork(self) -> None:
        """Open the record files: a child that writes to one of its own would write unseen."""
        for attempt in self.attempts.values():
            attempt.spool.begin()

    def _after_fork(self) -> None:
        for attempt in self.attempts.values():
            attempt.spool.forked()

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
            ended, self._staying = end_leftovers(_LINGER)
            attempt.stopped_processes += ended
            reap()
        if not self.output.is_blank():
            attempt.spool.used = True
            when_there_is_room(self._pour)
            mark_whole(self.spool, attempt.lease)  # the supervisor may never hear of the end
        self.output.belong_to(None)
        self.output.lay()  # a task may have put something else there
        del self.attempts[attempt.lease]
        self._home.put_back()

    def _pour(self) -> None:
        with self.output.moving():
            self.output.pour_all(self.spool)

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
        """Take no signals: attempts are stopped through the loop."""
        self._families = Families(self._current)

    def lay_output(self) -> None:
        """Leave it: descriptors 1 and 2 stay those of the worker's own log.

        Nobody could tell whose bytes they were; what goes through sys.stdout, sys.stderr and
        logging is told apart by the context of the attempt.
        """

    def look(self) -> None:
        """Take note of forks."""
        self._families.listen()

    def work_on(self) -> None:
        """Run the event loop."""
        asyncio.run(self._serve())

    def stop(self, attempt: Attempt) -> None:
        """Cancel the coroutine of an attempt: called by the watcher thread."""
        self._loop.call_soon_threadsafe(self._cancel, attempt.lease)

    async def _serve(self) -> None:
        self._loop = self._families.loop = asyncio.get_running_loop()
        self._running: dict[Lease, asyncio.Task[None]] = {}
        self.work.settimeout(0)
        while data := await self._loop.sock_recv(self.work, 1 << 17):
            attempt = self.begin(decode_start(data))
            task = asyncio.create_task(self._carry_out_async(attempt))
            self._running[attempt.lease] = task
        farewell.end_everything()

    async def _carry_out_async(self, attempt: Attempt) -> None:
        self.capture.current.set(attempt.spool)
        await attempt.arun(self.tasks)
        del self._running[attempt.lease]
        if has_children():
            end = partial(self._families.end, alone=not self._running)
            attempt.stopped_processes = await asyncio.to_thread(end, attempt.lease, _LINGER)
        del self.attempts[attempt.lease]
        self.finish(attempt)

    def _current(self) -> Lease | None:
        spool = self.capture.current.get()
        if spool is not None:
            return spool.lease
        leases = list(self.attempts)  # a thread of its own has no context
        return leases[0] if len(leases) == 1 else None

    def _cancel(self, lease: Lease) -> None:
        task = self._running.get(lease)
        if task is not None and _has_begun(task):  # else it sees the stop when it does
            self.attempts[lease].note_stack()
            task.cancel()


def _has_begun(task: asyncio.Task[None]) -> bool:
    coroutine = task.get_coro()
    assert inspect.iscoroutine(coroutine)
    return inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED


def main() -> None:
    """Start as ``python -m holdfast.worker.executor PARENT LINE WORK CRASH OUTPUT…``."""
    parent, *descriptors = map(int, sys.argv[1:])
    line_fd, work_fd, crash_fd, *output_fds = descriptors
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no names
    proc.become_subreaper()
    proc.die_with_parent(signal.SIGTERM)
    proc.be_first_to_go()
    if os.getppid() != parent:
        os._exit(1)
    faulthandler.enable(crash_fd)
    faulthandler.register(signal.SIGUSR1, crash_fd)
    signal.signal(signal.SIGTERM, farewell.die)
    farewell.spare_children()
    line = Line(socket.socket(fileno=line_fd))
    setup = None
    while setup is None:
        setup = next(map(decode_setup, line.receive(None)), None)
    work, output = socket.socket(fileno=work_fd), Output(output_fds)
    try:
        (SharedExecutor if setup.shared else Executor)(setup, work, line, output).run()
    except Exception:
        os.write(crash_fd, traceback.format_exc().encode("utf-8", "backslashreplace"))
        raise


if __name__ == "__main__":
    main()
