"""Check the settings and what they lead to on this machine: each check returns findings."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from holdfast.cli.errors import NoStore
from holdfast.core.config import Settings, sqlite_path
from holdfast.core.errors import ConfigError, StoreError
from holdfast.core.models import WorkerState
from holdfast.core.units import show_bytes

if TYPE_CHECKING:
    from holdfast.cli.options import Session
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
    mode, synchronous = store.durability()
    words = f"journal mode {mode}, synchronous {synchronous}"
    if mode != "wal":
        yield Finding("error", f"The store runs with {words}: WAL is needed to read and write.")
    elif synchronous not in ("full", "extra"):
        yield Finding("error", f"The store runs with {words}: a power cut loses accepted runs.")
    else:
        yield Finding("ok", f"The store runs with {words}: a commit survives a power cut.")


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
    spool = existing(settings.spool_dir)
    yield from check_writable("spool", spool)
    if path is None or existing(path.parent) != spool:
        yield from check_space("spool", spool)


def check_file_system(name: str, folder: Path) -> Iterator[Finding]:
    """Say whether SQLite can rely on the file system."""
    kind = file_system_of(folder, Path("/proc/self/mountinfo").read_text(errors="replace"))
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


def check_writable(name: str, folder: Path) -> Iterator[Finding]:
    """Say whether files can be made."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            yield Finding("ok", f"The {name} can be written ({folder}).")
    except OSError as error:
        yield Finding("error", f"The {name} cannot be written ({folder}): {error.strerror}.")


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def file_system_of(folder: Path, mountinfo: str) -> str:
    """Return the type of the file system of a folder; see proc_pid_mountinfo(5)."""
    real = os.path.realpath(folder)
    kind, longest = "unknown", -1
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:  # noqa: PLR2004 - the mount point is the fifth
            continue
        point = fields[4].encode().decode("unicode_escape").rstrip("/")
        if (real == point or real.startswith(f"{point}/")) and len(point) >= longest:
            kind, longest = after.split()[0], len(point)
    return kind
