"""The stage of the demo: a store and a worker of its own, a service, and a list of promises."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

HERE = Path(__file__).resolve().parent
HOLDFAST = (sys.executable, "-m", "holdfast")
T = TypeVar("T")


class Broken(Exception):
    """Report that something did not come as promised, so that the demo cannot go on."""

    def __init__(self, *, awaited: str, problem: str) -> None:
        super().__init__(f"{awaited}: {problem}")


class Stage:
    """Run the worker, call the command line, and note which promises were kept."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder = folder
        self.console = console
        self.runs: list[str] = []  # ids, in the order of the acts
        self.kept = 0
        self.broken: list[str] = []
        self._log = folder / "worker.log"
        self._worker: subprocess.Popen[bytes] | None = None

    def set_up(self) -> None:
        """Lead this process and all it starts to a store in the folder."""
        for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
            del os.environ[name]
        os.environ |= {
            "HOLDFAST_STORE": f"sqlite:///{self.folder}/holdfast.db",
            "HOLDFAST_APP": "tasks:app",
            "HOLDFAST_WORKER_EXECUTORS": "2",
            "HOLDFAST_WORKER_DRAIN_SECONDS": "1",
            "HOLDFAST_WORKER_GRACE_SECONDS": "1",
        }
        os.chdir(HERE)

    def start_worker(self) -> None:
        """Start `holdfast up` and wait until it is ready."""
        self.console.print("$ holdfast up --app tasks:app &", style="bold", markup=False)
        with self._log.open("wb") as log:
            self._worker = subprocess.Popen(
                [*HOLDFAST, "up"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the worker
            )
        self.wait_for("the worker is up", lambda: b" is up: " in self._log.read_bytes())

    def stop_worker(self) -> None:
        """Stop the worker with all its processes."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.terminate()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()

    def holdfast(self, *words: str) -> None:
        """Call the command line, and let it print what it prints."""
        self.announce(words)
        subprocess.run([*HOLDFAST, *words], check=True)

    def output(self, *words: str) -> bytes:
        """Call the command line and return what it prints."""
        return subprocess.run([*HOLDFAST, *words], check=True, stdout=subprocess.PIPE).stdout

    def announce(self, words: tuple[str, ...]) -> None:
        """Show a command line as a person would type it."""
        self.console.print(f"\n$ holdfast {shlex.join(words)}", style="bold", markup=False)
        self.console.file.flush()

    def wait_for(self, what: str, condition: Callable[[], T], within: float = 20) -> T:
        """Return the first true answer; raises Broken when there is none in time."""
        deadline = time.monotonic() + within
        while not (answer := condition()):
            if self._worker is not None and self._worker.poll() is not None:
                text = self._log.read_text(errors="replace")
                raise Broken(awaited=what, problem=f"the worker ended\n{text}")
            if time.monotonic() > deadline:
                raise Broken(awaited=what, problem=f"not within {within:g} s")
            time.sleep(0.02)
        return answer

    def check(self, promise: str, *, kept: object) -> None:
        """Note whether a promise was kept."""
        if kept:
            self.kept += 1
            self.console.print(f"  [green]✓[/] {promise}", highlight=False)
        else:
            self.broken.append(promise)
            self.console.print(f"  [bold red]✗ {promise}[/]", highlight=False)


class Service:
    """A web server for the files of a folder: first down, then up, never fast."""

    def __init__(self, folder: str) -> None:
        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=folder)

            def do_GET(self) -> None:
                time.sleep(0.4)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.server_bind()  # its port is known from now on, and nobody answers there
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Answer from now on."""
        self._server.server_activate()
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def take_signals() -> None:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does, and nothing disturb the tidying up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)
