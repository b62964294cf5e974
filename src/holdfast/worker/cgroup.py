"""Give each executor a cgroup of its own, where this machine lets us.

With the memory controller, of cgroup2 or of the older version 1, the kernel holds an attempt to its
memory limit and counts whom it had to kill for it. In any cgroup2 hierarchy, with controllers or
without, it kills all that is in a group at one stroke. Where there are no rights for either, limits
are held by sampling and trees are emptied by looking for their processes.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from holdfast.worker import proc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PREFIX = "holdfast-"
_SUPERVISOR = "supervisor"
_NEARLY = 1 << 20  # bytes below its limit at which a group counts as full
_UNLIMITED = 1 << 60  # version 1 has a very large number where there is no limit
_NOTE = "cgroups"  # file in a worker's folder of the spool
_PROCESSES = "cgroup.procs"
_ENABLED = "cgroup.subtree_control"
_KILL = "cgroup.kill"


_SCRIPT = """
until [ "$1" = -- ]; do echo $$ > "$1"/cgroup.procs; shift; done 2> /dev/null
shift
exec "$@"
"""


class _Files(NamedTuple):
    """Name the files of a version of the memory controller, and what they hold."""

    limit: str
    no_limit: str
    peak: str
    kills: str  # has a line "oom_kill N"
    settings: dict[str, int]  # no swap instead of memory; all in the group die together
    peak_can_be_reset: bool


_FILES = {
    1: _Files(
        "memory.limit_in_bytes",
        "-1",
        "memory.max_usage_in_bytes",
        "memory.oom_control",
        {"memory.swappiness": 0},
        peak_can_be_reset=True,
    ),
    2: _Files(
        "memory.max",
        "max",
        "memory.peak",
        "memory.events",
        {"memory.swap.max": 0, "memory.oom.group": 1},
        peak_can_be_reset=False,
    ),
}


class Place(msgspec.Struct, frozen=True):
    """Say where a process can make cgroups."""

    version: int = 0  # of the memory controller; 0: no hierarchy with it is mounted
    memory: str = ""  # folder of this process's own cgroup there
    tree: str = ""  # the same in a cgroup2 hierarchy in which groups can be made
    why_not: str = ""  # why the kernel cannot hold attempts to memory limits here

    @property
    def limits(self) -> str:
        """Return in two words who holds attempts to memory limits."""
        return "sampling" if self.why_not else f"cgroup v{self.version}"

    def make(self, worker_id: str, number: int) -> Group:
        """Make the group of an executor, as far as that can be done."""
        name = f"{_PREFIX}{worker_id}-{number}"
        memory = "" if self.why_not else _make(f"{self.memory}/{name}")
        tree = memory if self.tree == self.memory else self.tree and _make(f"{self.tree}/{name}")
        if memory:
            for setting, value in _FILES[self.version].settings.items():
                with suppress(OSError):  # a kernel without swap, or an older one
                    _write(Path(memory, setting), value)
        return Group(self.version, memory, tree)

    def make_ready(self, worker_id: str) -> Place:
        """Do what must be done before groups can be made, once per worker; return what is left.

        Where cgroup2 holds limits, a group that has processes can have no groups with limits below
        it. So the supervisor leaves its own for one below it.
        """
        folder = Path(self.memory)
        if self.version == 1 or self.why_not or "memory" in _words(folder / _ENABLED):
            return self
        own = folder / f"{_PREFIX}{worker_id}-{_SUPERVISOR}"
        try:
            own.mkdir(exist_ok=True)
            _write(own / _PROCESSES, os.getpid())
            _write(folder / _ENABLED, "+memory")
        except OSError as error:
            with suppress(OSError):
                _write(folder / _PROCESSES, os.getpid())
                own.rmdir()
            why = f"the memory controller cannot be enabled in {folder}: {error.strerror}"
            return msgspec.structs.replace(self, why_not=why)
        return self

    def give_back(self, worker_id: str) -> None:
        """Undo what `make_ready` did, unless other workers need it."""
        folder = Path(self.memory)
        own = folder / f"{_PREFIX}{worker_id}-{_SUPERVISOR}"
        if self.version == 1 or not own.exists() or list(folder.glob(f"{_PREFIX}*")) != [own]:
            return
        with suppress(OSError):
            _write(folder / _ENABLED, "-memory")
            _write(folder / _PROCESSES, os.getpid())
            own.rmdir()

    def around(self) -> Iterator[tuple[str, int]]:
        """Yield the cgroups around this process that have a limit, from the innermost on."""
        if not self.version:
            return
        files = _FILES[self.version]
        for folder in (Path(self.memory), *Path(self.memory).parents):
            if not (folder / files.limit).exists():
                return
            limit = _number(folder / files.limit)
            if limit is not None and limit < _UNLIMITED:
                yield str(folder), limit

    def full(self) -> tuple[str, int] | None:
        """Return the innermost cgroup around this process that has come up to its limit."""
        for folder, limit in self.around():
            peak = _number(Path(folder, _FILES[self.version].peak))
            if peak is not None and peak >= limit - _NEARLY:
                return folder, limit
        return None

    def end_all(self, worker_id: str, within: float = 5.0) -> None:
        """Kill what is left in the groups of a dead worker on this host, and remove them."""
        folders = [
            folder
            for parent in {self.memory, self.tree} - {""}
            for folder in Path(parent).glob(f"{_PREFIX}{worker_id}-*")
        ]
        for folder in folders:
            if not folder.name.endswith(_SUPERVISOR):  # whoever does this may be in there
                _kill_all(folder)
        deadline = time.monotonic() + within
        while (folders := [f for f in folders if not _remove(f)]) and time.monotonic() < deadline:
            time.sleep(0.005)  # the kernel needs a moment to take the dead away


class Group(msgspec.Struct, frozen=True):
    """Be the cgroup of one executor: one folder, or two where the hierarchies are apart."""

    version: int = 0
    memory: str = ""  # "": the kernel holds no limits here
    tree: str = ""  # "": it cannot be killed at one stroke

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return what starts a program in the group, from its first page of memory on.

        If it does not get in after all, `holds` says so.
        """
        folders = sorted({self.memory, self.tree} - {""})
        return ["/bin/sh", "-c", _SCRIPT, "sh", *folders, "--", *argv] if folders else list(argv)

    def kill(self) -> None:
        """Kill all processes in it at one stroke, if that can be had."""
        if self.tree:
            _kill_all(Path(self.tree))

    def remove(self) -> bool:
        """Remove it and tell whether it is gone; it is not while the kernel buries the dead."""
        return all(_remove(Path(name)) for name in {self.memory, self.tree} - {""})

    def oom_kills(self) -> int:
        """Return how many processes in it the kernel has killed for lack of memory."""
        if not self.memory:
            return 0
        for line in _lines(Path(self.memory, _FILES[self.version].kills)):
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0

    def peak(self) -> int:
        """Return the most that its processes have held together, in bytes."""
        return (self.memory and _number(Path(self.memory, _FILES[self.version].peak))) or 0

    def is_used(self) -> bool:
        """Tell whether it holds, or held, processes whose memory the kernel counts."""
        return self.peak() > 0

    def is_full(self, limit: int) -> bool:
        """Tell whether its processes have come up to a limit."""
        return self.peak() >= limit - _NEARLY

    def holds(self, pid: int, limit: int) -> bool:
        """Tell whether the kernel holds a process, and all in the group with it, to a limit."""
        if not self.memory or str(pid) not in _words(Path(self.memory, _PROCESSES)):
            return False
        there = _number(Path(self.memory, _FILES[self.version].limit))
        return there is not None and there <= limit


class Bound:
    """Hold the attempts of this executor to their memory limits, one after the other."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self._limit = 0
        self._kills_before = 0
        self._lock = threading.Lock()  # the watcher must not strike the attempt that comes next

    def set(self, limit: int) -> None:
        """Let the kernel hold all in the group to a limit.

        Where it refuses, because more is held already, the supervisor finds that out.
        """
        if not self.group.memory:
            return
        self._kills_before = self.group.oom_kills()
        self._limit = limit
        files = _FILES[self.group.version]
        with suppress(OSError):
            if files.peak_can_be_reset:
                _write(Path(self.group.memory, files.peak), 0)
            _write(Path(self.group.memory, files.limit), limit)

    def lift(self) -> tuple[int, int | None]:
        """Take the limit away; return how many were killed for it and, if any, at which peak."""
        with self._lock:
            limit, self._limit = self._limit, 0
        if not limit:
            return 0, None
        kills = self._kills()
        peak = min(self.group.peak(), limit) if kills else None
        files = _FILES[self.group.version]
        with suppress(OSError):
            _write(Path(self.group.memory, files.limit), files.no_limit)
        return kills, peak

    def strike(self) -> None:
        """End this process with all below it, if the kernel has killed any of it for the limit.

        Which process it chooses is chance, and who waits for that one may wait for ever. Newer
        kernels kill all of a group together, if asked.
        """
        with self._lock:
            if self._limit and self._kills():
                proc.kill_tree(os.getpid(), with_root=False)
                os.kill(os.getpid(), signal.SIGKILL)

    def _kills(self) -> int:
        return self.group.oom_kills() - self._kills_before


def note(place: Place, spool: Path) -> None:
    """Write down in a worker's folder where its groups are, for whoever buries it."""
    (spool / _NOTE).write_bytes(msgspec.json.encode(place))


def end_left(spool: Path, worker_id: str) -> None:
    """Kill what is left of a dead worker in its groups, and remove them."""
    with suppress(OSError, msgspec.MsgspecError):
        msgspec.json.decode((spool / _NOTE).read_bytes(), type=Place).end_all(worker_id)


def find() -> Place:
    """Say where this very process can make cgroups: a look, which changes nothing."""
    mounts, own = list(_mounts()), dict(_own())
    newer = _folder(mounts, own, "")
    older = _folder(mounts, own, "memory")
    tree = str(newer) if newer is not None and _is_writable(newer) else ""
    if newer is not None and "memory" in _words(newer / "cgroup.controllers"):
        return Place(2, str(newer), tree, _why_not_in(newer))
    if older is not None:
        why_not = "" if _is_writable(older) else f"there is no right to make cgroups in {older}"
        return Place(1, str(older), tree, why_not)
    return Place(tree=tree, why_not="no cgroup hierarchy with the memory controller can be seen")


def _why_not_in(folder: Path) -> str:
    """Say why no groups with limits can be made below a cgroup2 folder; nothing if they can."""
    if not (_is_writable(folder) and os.access(folder / _ENABLED, os.W_OK)):
        return f"there is no right to make cgroups in {folder}"
    others = {word for word in _words(folder / _PROCESSES) if word != str(os.getpid())}
    if others and "memory" not in _words(folder / _ENABLED):
        return f"there are other processes in the cgroup {folder}"
    return ""


class _Mount(NamedTuple):
    """Hold what is needed of a line of proc_pid_mountinfo(5)."""

    controller: str  # "" for a cgroup2 hierarchy
    root: str
    point: str


def _mounts() -> Iterator[_Mount]:
    for line in _lines(Path("/proc/self/mountinfo")):
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        root, point = (field.encode().decode("unicode_escape") for field in before.split(" ")[3:5])
        if kind == "cgroup2":
            yield _Mount("", root, point)
        elif kind == "cgroup" and "memory" in options.rpartition(" ")[2].split(","):
            yield _Mount("memory", root, point)


def _own() -> Iterator[tuple[str, str]]:
    """Yield in which cgroup this process is, by controller: see cgroups(7)."""
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _folder(mounts: list[_Mount], own: dict[str, str], controller: str) -> Path | None:
    """Return the folder of this process's cgroup, if it can be seen from here."""
    path = own.get(controller)
    for mount in mounts:
        if path is None or mount.controller != controller:
            continue
        inside = path if mount.root == "/" else path.removeprefix(mount.root)
        folder = Path(mount.point + inside)
        if (inside != path or mount.root == "/") and (folder / _PROCESSES).exists():
            return folder
    return None


def _make(folder: str) -> str:
    """Make a group and return its folder, "" where that is refused."""
    try:
        Path(folder).mkdir(exist_ok=True)
    except OSError:
        return ""
    return folder


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / _PROCESSES, os.W_OK)


def _kill_all(folder: Path) -> None:
    with suppress(OSError):  # an older kernel, or gone already
        _write(folder / _KILL, 1)


def _remove(folder: Path) -> bool:
    """Remove a group with those that a worker started by a task has made below it."""
    for below, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(below).rmdir()
    return not folder.exists()


def _write(path: Path, value: object) -> None:
    """Write a value in one call, as these files want it; never make a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text().splitlines()
    return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None
