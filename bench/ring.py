"""Where contestants meet: their stores, their client processes, their workers."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.process import (
    BenchError,
    Program,
    cpu_seconds,
    memory_of,
    peak_rss,
    python,
    tree,
    tree_cpu_seconds,
    wait_until,
)
from bench.servers import SERVERS
from bench.servers.server import CopyingServer
from bench.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self

    from bench.contestants import Contestant
    from bench.course import Course
    from bench.servers.server import Server

CLIENT_SECONDS = 120.0  # what one question to a client may take
FILL_SECONDS = 600.0


class Client:
    """The driver's end of a client process."""

    def __init__(self, player: str, environment: dict[str, str], words: Path) -> None:
        self._program = Program(
            python("-m", "bench.client", player),
            environment=environment,
            words=words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._read(CLIENT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.end()

    def ask(self, verb: str, count: int = 0, *, within: float = CLIENT_SECONDS) -> Any:
        """Ask for one verb and return the answer; raises BenchError when none comes in time."""
        self._program.process.stdin.write(json.dumps([verb, count]).encode() + b"\n")  # type: ignore[union-attr]
        self._program.process.stdin.flush()  # type: ignore[union-attr]
        return self._read(within)

    def _read(self, within: float) -> Any:
        pipe = self._program.process.stdout
        assert pipe is not None
        if not select.select([pipe], [], [], within)[0]:
            problem = f"a client gave no answer within {within:g} s"
            raise BenchError(problem)
        line = pipe.readline()
        if not line:
            self._program.process.wait(5)
            self._program.check()
        return json.loads(line)


class Worker:
    """The running worker processes of one contestant."""

    def __init__(
        self, programs: list[Program], witness: Witness, server: Server | None = None
    ) -> None:
        self._programs = programs
        self._server = server
        self.witness = witness

    def wait_count(self, count: int, *, within: float) -> None:
        """Wait until so many runs were carried out."""
        wait_until(
            lambda: self._checked_count() >= count,
            within=within,
            what=f"{count} runs carried out",
            pause=0.01,
        )

    def watch(self, count: int, *, at_most: float) -> None:
        """Wait until so many runs were carried out, or for so many seconds."""
        deadline = time.monotonic() + at_most
        while self._checked_count() < count and time.monotonic() < deadline:
            time.sleep(0.02)

    def _checked_count(self) -> int:
        for program in self._programs:
            program.check()
        return self.witness.count()

    def pids(self) -> list[int]:
        """Return all its processes."""
        return [pid for program in self._programs for pid in tree(program.pid)]

    def idle_share(self, seconds: float) -> float:
        """Return how much of one core it uses while there is nothing to do."""
        before = cpu_seconds(self.pids())
        time.sleep(seconds)
        return (cpu_seconds(self.pids()) - before) / seconds

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the processor time so far of its processes, and of the server of its store."""
        own = sum(tree_cpu_seconds(program.pid) for program in self._programs)
        return own, self._server.cpu_seconds() if self._server else 0.0

    def peak_rss(self) -> int:
        """Return the most memory that one of its main processes ever had, in bytes."""
        return max(peak_rss(program.pid) for program in self._programs)

    def memory(self) -> int:
        """Return the memory of all its processes now, in bytes."""
        return memory_of(self.pids())


@dataclass
class Ring:
    """The place of one bench run: its folder, and what each contestant was found to need."""

    folder: Path
    course: Course
    setups: dict[str, str] = field(default_factory=dict)  # contestant -> the setup that is best
    trials: dict[str, dict[str, float]] = field(default_factory=dict)  # what each setup gave
    peaks: dict[str, int] = field(default_factory=dict)  # contestant -> bytes, of all measures
    memory: dict[str, int] = field(default_factory=dict)  # the same of all its processes together
    _servers: dict[str, Server] = field(default_factory=dict)
    _stores: int = 0
    _witnesses: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.stop()

    def setup_of(self, contestant: Contestant) -> str:
        """Return the setup to run a contestant with."""
        return self.setups.get(contestant.key) or next(iter(contestant.setups), "")

    def server_of(self, contestant: Contestant) -> Server | None:
        """Return the server of a contestant, started when it is first asked for."""
        kind = contestant.server
        if not kind:
            return None
        if kind not in self._servers:
            self._servers[kind] = SERVERS[kind](self.folder / kind)
        return self._servers[kind]

    def versions(self) -> dict[str, str]:
        """Return the versions of the servers in use."""
        return {one.name: one.version for one in self._servers.values()}

    def witness(self) -> Witness:
        """Return a new witness file, in memory where the host has such a place."""
        self._witnesses += 1
        shared = Path("/dev/shm")  # noqa: S108 - named by the folder, which is private
        place = shared if shared.is_dir() else self.folder
        return Witness(place / f"{self.folder.name}-{self._witnesses}")

    def named(self, contestant: Contestant, purpose: str) -> Path:
        """Return a store that stays until the end, made when it is first asked for."""
        store = self.folder / f"{contestant.key}-{purpose}"
        if not store.exists():
            self._make(contestant, store)
        return store

    def filled(self, contestant: Contestant, count: int) -> Path:
        """Return a store with so many runs queued; filled once, so leave it as it is."""
        store = self.folder / f"{contestant.key}-{count}"
        if not store.exists():
            self._make(contestant, store)
            self._fill(contestant, store, count)
        return store

    @contextmanager
    def empty(self, contestant: Contestant) -> Iterator[Path]:
        """Give a store for one use."""
        store = self._new_name()
        self._make(contestant, store)
        with self._dropping(contestant, store):
            yield store

    @contextmanager
    def full(self, contestant: Contestant, count: int) -> Iterator[Path]:
        """Give a store with so many runs queued for one use."""
        store = self._new_name()
        with self._dropping(contestant, store):
            self._make_full(contestant, store, count)
            yield store

    def client(self, contestant: Contestant, store: Path, witness: Path | None = None) -> Client:
        """Start a process that enqueues."""
        environment = self._environment(contestant, store, witness)
        return Client(contestant.player, environment, store.with_suffix(".client"))

    @contextmanager
    def worker(
        self, contestant: Contestant, store: Path, *, setup: str | None = None
    ) -> Iterator[Worker]:
        """Run the worker of a contestant, and end it whatever happens."""
        witness = self.witness()
        programs: list[Program] = []
        environment = self._environment(contestant, store, witness.path)
        words = self.folder / f"{contestant.key}.worker"
        try:
            programs.extend(
                Program(
                    argv,
                    environment=environment,
                    words=words,
                    stop_signal=contestant.stop_signal,
                )
                for argv in contestant.setups[setup or self.setup_of(contestant)]
            )
            worker = Worker(programs, witness, self.server_of(contestant))
            yield worker
            self._note(contestant.key, worker)
        finally:
            for program in programs:
                program.end()
            witness.path.unlink()

    def _note(self, key: str, worker: Worker) -> None:
        self.peaks[key] = max(self.peaks.get(key, 0), worker.peak_rss())
        self.memory[key] = max(self.memory.get(key, 0), worker.memory())

    def _environment(
        self, contestant: Contestant, store: Path, witness: Path | None
    ) -> dict[str, str]:
        server = self.server_of(contestant)
        place = server.environment(store.name) if server else {}
        return contestant.environment_in(store, witness, place)

    def _new_name(self) -> Path:
        self._stores += 1
        return self.folder / f"store-{self._stores}"

    def _make(self, contestant: Contestant, store: Path) -> None:
        store.mkdir(parents=True)
        if server := self.server_of(contestant):
            server.make(store.name)

    def _make_full(self, contestant: Contestant, store: Path, count: int) -> None:
        server = self.server_of(contestant)
        if server and not isinstance(server, CopyingServer):
            self._make(contestant, store)
            self._fill(contestant, store, count)
            return
        full = self.filled(contestant, count)
        shutil.copytree(full, store)
        if server:
            server.copy(full.name, store.name)

    def _fill(self, contestant: Contestant, store: Path, count: int) -> None:
        with self.client(contestant, store) as client:
            client.ask("fill", count, within=FILL_SECONDS)
        if server := self.server_of(contestant):
            server.settle(store.name)

    @contextmanager
    def _dropping(self, contestant: Contestant, store: Path) -> Iterator[None]:
        try:
            yield
        finally:
            if server := self.server_of(contestant):
                server.drop(store.name)
            shutil.rmtree(store, ignore_errors=True)
