"""Say why the system refused something: to start a program, to write to a disk."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core.texts import shorten
from holdfast.core.units import show_bytes
from holdfast.worker.disk import mount_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHOWN = 200  # characters of a name
_LONGEST_ARGUMENT = 128 << 10  # bytes that Linux takes in one argument: MAX_ARG_STRLEN
_SCRIPT = b"#!"
_MOST_CAUSES = 100
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def why_not_started(
    error: OSError, argv: Sequence[str], cwd: str | None, environment: Mapping[str, str]
) -> str:
    """Return the sentence on a program that could not be started, with the path it is about."""
    if cwd is not None and error.filename == cwd:
        return f"the working directory {_shown(cwd)} cannot be entered: {error.strerror}."
    program = argv[0]
    match error.errno:
        case errno.E2BIG:
            return _too_long(argv, environment)
        case errno.ENOENT:
            return _not_found(program, environment)
        case errno.EACCES:
            return _not_allowed(program)
        case errno.ENOEXEC:
            return f"{_shown(program)} is no program for this machine, nor a script with #!."
        case _:
            return f"{_shown(program)}: {error.strerror}."


def _shown(name: str) -> str:
    return shorten(name, _SHOWN)


def _too_long(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    sizes = [len(os.fsencode(argument)) + 1 for argument in argv]
    if max(sizes) > _LONGEST_ARGUMENT:
        which = sizes.index(max(sizes))
        text = f"argument {which} has {show_bytes(max(sizes))}, and Linux takes at most"
        return f"{text} {show_bytes(_LONGEST_ARGUMENT)} in one."
    total = sum(sizes) + sum(len(os.fsencode(f"{k}={v}")) + 1 for k, v in environment.items())
    most = os.sysconf("SC_ARG_MAX")
    text = f"its arguments and environment have {show_bytes(total)} together"
    return f"{text}, and this host takes at most {show_bytes(most)}."


def _not_found(program: str, environment: Mapping[str, str]) -> str:
    if "/" not in program:
        folders = environment.get("PATH", os.defpath)
        return f"there is no program {_shown(program)!r} on the PATH: {_shown(folders)}."
    if not os.path.exists(program):  # noqa: PTH110 - Path raises for long names
        return f"{_shown(program)} does not exist on this host."
    with suppress(OSError), Path(program).open("rb") as file:
        line = file.readline(_SHOWN)
        if line.startswith(_SCRIPT):
            words = os.fsdecode(line[len(_SCRIPT) :]).split()
            named = words[0] if words else "that its first line names"
            return f"{_shown(program)} is there, but not the interpreter {named}."
    return f"{_shown(program)} is there, but not the loader that it asks for."


def _not_allowed(program: str) -> str:
    path = program if "/" in program else shutil.which(program, os.F_OK) or program
    if os.path.isdir(path):  # noqa: PTH112 - Path raises for long names
        return f"{_shown(path)} is a folder."
    with suppress(OSError):
        if os.statvfs(path).f_flag & os.ST_NOEXEC:
            return f"{_shown(path)} is on a file system that is mounted noexec."
        mode = stat.filemode(Path(path).stat().st_mode)
        return f"{_shown(path)} may not be executed by user {_user()}: its mode is {mode}."
    return f"{_shown(path)} may not be reached by user {_user()}."


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def full_disk(error: BaseException) -> str:
    """Return the file system that an exception found full, or ""; causes of causes count."""
    step: BaseException | None = error
    for _ in range(_MOST_CAUSES):  # they may go round in a circle
        if step is None:
            break
        if isinstance(step, OSError) and step.errno in _FULL:
            return _which(step)
        step = step.__cause__
    return ""


def _which(error: OSError) -> str:
    if error.errno == errno.EDQUOT:
        place = next(_named(error), None)
        return f"the quota on {mount_of(place)[0]}" if place else "a quota"
    for place in (*_named(error), *_open_for_writing(), os.curdir, *_temporary()):
        with suppress(OSError):
            now = os.statvfs(place)
            point, kind = mount_of(place)
            if now.f_blocks and not now.f_bavail:
                return f"{point} ({kind}, {show_bytes(now.f_blocks * now.f_frsize)})"
            if now.f_files and not now.f_favail:
                return f"{point} ({kind}, all of its {now.f_files} inodes)"
    place = next(_named(error), None)
    return f"{mount_of(place)[0]}" if place else "a file system that has room again by now"


def _named(error: OSError) -> Iterator[str]:
    """Yield the nearest places that exist of the files that an error names."""
    for name in (error.filename, error.filename2):
        if isinstance(name, str | bytes):
            path = Path(os.fsdecode(name)).absolute()
            yield next(str(place) for place in (path, *path.parents) if os.path.lexists(place))


def _temporary() -> Iterator[str]:
    with suppress(FileNotFoundError):  # there is none that can be written
        yield tempfile.gettempdir()


def _open_for_writing() -> Iterator[str]:
    """Yield the files that this process has open, through /proc: they may have no name any more."""
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            path = f"/proc/self/fd/{name}"
            with suppress(OSError):
                if os.access(path, os.W_OK) and stat.S_ISREG(Path(path).stat().st_mode):
                    yield path
