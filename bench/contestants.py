"""Who is measured, how each is tuned, and what it promises: said beside every figure."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from bench.process import BenchError, clean_environment, python
from bench.witness import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

CORES = 2  # that everybody may use
HUEY_POLL = ["-d", "0.005", "-m", "0.005", "-b", "1"]  # looks 200 times a second when idle

Argv = list[str]


@dataclass(frozen=True)
class Contestant:
    """One system with one way to set it up."""

    key: str
    title: str
    package: str  # whose version is shown
    player: str  # module with its app
    durability: str
    isolation: str
    setups: dict[str, list[Argv]]  # how it may be run: the processes of its workers
    environment: dict[str, str] = field(default_factory=dict)  # "{store}", "{url}": its store
    server: str = ""  # that holds its stores; else they are files
    acks_after_work: bool = True  # the task is not forgotten before it is done
    grows: bool = True  # measured with a long queue too
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def version(self) -> str:
        """Return the installed version of its package."""
        return version(self.package)

    def require(self) -> None:
        """Raise BenchError unless its package is installed."""
        try:
            _ = self.version
        except PackageNotFoundError:
            problem = f"{self.package} is not here; `make bench` installs it, `--who` leaves it out"
            raise BenchError(problem) from None

    def environment_in(
        self, store: Path, witness: Path | None, place: dict[str, str]
    ) -> dict[str, str]:
        """Return the environment of its processes; `place` is what its server says of a store."""
        facts = {"store": str(store), "url": place.get("BENCH_URL", "")}
        own = {name: value.format(**facts) for name, value in self.environment.items()}
        own |= {**place, "BENCH_STORE": str(store)}
        if witness is not None:
            own[VARIABLE] = str(witness)
        return clean_environment(**own)


def _huey(workers: int, kind: str) -> list[Argv]:
    script = "from huey.bin.huey_consumer import consumer_main as main; main()"
    options = ["-w", str(workers), "-k", kind, "-n", "-q", *HUEY_POLL]
    return [python("-c", script, "bench.players.huey_app.huey", *options)]


def _django(workers: int) -> list[Argv]:
    options = ["--no-startup-delay", "--interval", "0.005", "--verbosity", "0"]
    return [python("-m", "django", "db_worker", *options) for _ in range(workers)]


_HOLDFAST = ["-m", "holdfast", "--app", "bench.players.holdfast_app:app", "worker"]
_HUEY_SETUPS = {
    "1 process": _huey(1, "process"),
    "2 processes": _huey(2, "process"),
    "1 thread": _huey(1, "thread"),
    "2 threads": _huey(2, "thread"),
}
_HUEY_ISOLATION = "none in threads; processes forked from the consumer, which read the queue too"

HOLDFAST = Contestant(
    key="holdfast",
    title="Holdfast",
    package="holdfast",
    player="bench.players.holdfast_app",
    durability="every commit synced; a run is kept until its outcome is stored",
    isolation="fresh interpreters that never touch the store",
    setups={"as it comes": [python(*_HOLDFAST, "--log-level", "warning")]},
    environment={
        "HOLDFAST_STORE": "sqlite:///{store}/holdfast.db",
        "HOLDFAST_WORKER_EXECUTORS": str(CORES),  # the default of a host that has no more
    },
)
HUEY = Contestant(
    key="huey",
    title="huey, unsynced",
    package="huey",
    player="bench.players.huey_app",
    durability="nothing synced; a task is deleted before it is run",
    isolation=_HUEY_ISOLATION,
    setups=_HUEY_SETUPS,
    environment={"BENCH_HUEY_FSYNC": "no"},
    stop_signal=signal.SIGINT,
)
HUEY_SYNCED = Contestant(
    key="huey-synced",
    title="huey, synced",
    package="huey",
    player="bench.players.huey_app",
    durability="every commit synced; a task is deleted before it is run",
    isolation=_HUEY_ISOLATION,
    setups=_HUEY_SETUPS,
    environment={"BENCH_HUEY_FSYNC": "yes"},
    grows=False,  # huey without syncs stands for both
    stop_signal=signal.SIGINT,
)
DJANGO = Contestant(
    key="django-tasks-db",
    title="django-tasks-db",
    package="django-tasks-db",
    player="bench.players.django_app",
    durability="synced at checkpoints; a task whose worker died stays RUNNING for ever",
    isolation="none: tasks run in the process that reads the queue",
    setups={"1 worker": _django(1), "2 workers": _django(2)},
    environment={"DJANGO_SETTINGS_MODULE": "bench.players.django_settings"},
)
BARE = Contestant(
    key="bare",
    title="bare SQLite",
    package="",
    player="bench.players.bare",
    durability="every commit synced",
    isolation="it runs nothing",
    setups={},
)
FILE = Contestant(
    key="file",
    title="bare file",
    package="",
    player="bench.players.flood",
    durability="synced at the end",
    isolation="it runs nothing",
    setups={},
)
PEERS = (HUEY, HUEY_SYNCED, DJANGO)
