"""Check the settings and what they lead to on this machine: each check returns findings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from holdfast.cli.errors import NoStore
from holdfast.core.config import Settings, sqlite_path
from holdfast.core.errors import ConfigError, StoreError
from holdfast.core.models import WorkerState
from holdfast.core.units import show_bytes
from holdfast.worker import cgroup
from holdfast.worker.disk import can_free, mount_of, room_on
from holdfast.worker.gauge import Gauge, Level

if TYPE_CHECKING:
    from holdfast.cli.options import Session
    from holdfast.core.config import WorkerSettings
    from holdfast.store import Store

_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse", "afs", "ceph", "gluster", "lustre", "vboxsf")
_LAYERED = ("overlay", "aufs")
_VOLATILE = ("tmpfs", "ramfs")
_LITTLE_SPACE = 1 << 30
_NO_SPACE = 100 << 20


class Finding(NamedTuple):
    """Hold one result: how bad it is, and one sentence."""

    level: Literal["ok", "warning", "error"]
    sentence: str


def check_all(session: Session) -> list[Finding]:
    """Return the findings of all checks that can be made."""
    try:
        settings = session.settings
    except ConfigError as error:
        return [Finding("error", problem) for problem in error.problems]
    findings = [Finding("warning", text) for text in settings.warnings]
    findings += check_app(session)
    findings += check_store(session)
    findings += check_folders(settings)
    findings += check_limits()
    return findings


def check_app(session: Session) -> Iterator[Finding]:
    """Say whether the app can be imported, when the settings name one."""
    name = session.settings.app
    if not name:
        return
    try:
        count = len(session.app.tasks)
    except ConfigError as error:
        yield from (Finding("error", problem) for problem in error.problems)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - importing it runs user code
        problem = f"{type(error).__name__}: {error}"
        yield Finding("error", f"The app {name} cannot be imported. {problem}")
    else:
        yield Finding("ok", f"The app {name} has {count} tasks.")


def check_store(session: Session) -> Iterator[Finding]:
    """Say whether the store answers, keeps its promises and has workers."""
    try:
        store = session.store
    except (NoStore, StoreError, ConfigError) as error:
        yield Finding("error", str(error))
        return
    yield Finding("ok", f"The store {store.url} answers, and its schema is up to date.")
    yield from check_durability(store)
    yield from check_workers(store)


def check_durability(store: Store) -> Iterator[Finding]:
    """Say what the database really does at a commit."""
    found = store.durability()
    if found.danger:
        yield Finding("error", f"The store runs with {found.settings}: {found.danger}.")
    else:
        yield Finding("ok", f"The store runs with {found.settings}: {found.survives}.")


def check_workers(store: Store) -> Iterator[Finding]:
    """Say who carries out runs."""
    up = [worker for worker in store.workers.list() if worker.state == WorkerState.UP]
    hosts = ", ".join(sorted({worker.host for worker in up}))
    if up:
        yield Finding("ok", f"Workers that are up: {len(up)}, on {hosts}.")
    else:
        yield Finding("warning", "No worker is up; `holdfast worker` starts one.")


def check_folders(settings: Settings) -> Iterator[Finding]:
    """Say whether the folders of the store and of the spool are fit for them."""
    path = sqlite_path(settings.store.url)
    if path is not None:
        yield from check_file_system("store", existing(path.parent))
        yield from check_space("store", existing(path.parent))
    yield from check_spool(settings.worker, existing(settings.spool_dir))


def check_limits() -> Iterator[Finding]:
    """Say who would hold attempts to their memory limits, if a worker were started like this."""
    place = cgroup.find()
    if place.why_not:
        problem = f"so a hungry task can overshoot: {place.why_not}."
        yield Finding("warning", f"Memory limits are held by sampling, {problem}")
    else:
        yield Finding(
            "ok", f"Memory limits are held by the kernel: {place.limits}, {place.memory}."
        )


def check_file_system(name: str, folder: Path) -> Iterator[Finding]:
    """Say whether SQLite can rely on the file system."""
    kind = file_system_of(folder)
    place = f"The {name} is on {kind} ({folder})"
    if kind.startswith(_NETWORK):
        yield Finding("warning", f"{place}: locks over a network break SQLite; use a local disk.")
    elif kind.startswith(_LAYERED):
        yield Finding("warning", f"{place}: it is gone with its container; mount a volume.")
    elif kind.startswith(_VOLATILE):
        yield Finding("warning", f"{place}: it is gone after a reboot; use a disk.")
    else:
        yield Finding("ok", f"{place}.")


def check_space(name: str, folder: Path) -> Iterator[Finding]:
    """Say whether there is room to write."""
    free = shutil.disk_usage(folder).free
    sentence = f"The disk of the {name} has {show_bytes(free)} free ({folder})."
    level: Literal["ok", "warning", "error"] = "ok"
    if free < _LITTLE_SPACE:
        level = "error" if free < _NO_SPACE else "warning"
    yield Finding(level, sentence)


def check_spool(settings: WorkerSettings, folder: Path) -> Iterator[Finding]:
    """Say whether logs can wait there, how much of them, and what happens when it is too much."""
    try:
        freed = can_free(folder)
    except OSError as error:
        yield Finding("error", f"The spool cannot be written ({folder}): {error.strerror}.")
        return
    yield Finding("ok", f"The spool can be written ({folder}).")
    if not freed:
        problem = "its file system cannot free a part of a file"
        yield Finding("warning", f"A log takes room there until its attempt has ended: {problem}.")
    room = room_on(folder)
    budget = f"The spool may hold {show_bytes(settings.spool_max_bytes)}"
    if room.total:
        budget += f"; of {show_bytes(room.free)} that are free on its disk,"
        budget += f" {show_bytes(settings.keep_free(room.total))} are kept free"
    gauge = Gauge(settings)
    match gauge.read(room, held=0):
        case Level.FINE:
            yield Finding("ok", f"{budget}.")
        case Level.TIGHT:
            yield Finding("warning", f"{budget}: who writes much is slowed down.")
        case Level.CRITICAL:
            yield Finding("error", f"{budget}: a worker would begin nothing.")


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def file_system_of(folder: Path) -> str:
    """Return the type of the file system of a folder."""
    return mount_of(folder)[1]
