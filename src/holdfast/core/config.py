"""Read the settings once: defaults < holdfast.toml < HOLDFAST_* < arguments."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from holdfast.core import units
from holdfast.core.errors import BadOption, ConfigError
from holdfast.core.masking import refusal
from holdfast.core.names import EVERY_QUEUE, is_name, is_queue_name, is_storable
from holdfast.core.texts import shorten

DEFAULT_STORE = "sqlite:///.holdfast/holdfast.db"
DEFAULT_FILE = "holdfast.toml"
MOST = 1_000_000  # of anything that is counted in settings
LARGEST_FILE = 1 << 16  # bytes of settings
LONGEST_PATH = 480  # bytes: SQLite opens 512, with the endings of the files beside a store
LONGEST_PART = 240  # bytes of one name in it: file systems take 255


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Say where the store is and how long to wait for it."""

    url: str = DEFAULT_STORE  # sqlite:///path, postgresql://…, mysql://…, mariadb://…
    wait_seconds: float = 30.0  # how long a caller waits for a busy or absent store


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Say how a worker works."""

    executors: int = field(default_factory=lambda: max(2, os.cpu_count() or 2))  # processes
    async_slots: int = 100  # async attempts at once in the async executor
    queues: tuple[str, ...] = ("*",)  # "*": every queue
    beat_seconds: float = 5.0  # how often a worker shows that it lives
    lease_seconds: float = 30.0  # a heartbeat that stands still so long means death
    grace_seconds: float = 10.0  # between asking an attempt to stop and killing it
    drain_seconds: float = 30.0  # what running attempts get when the worker is asked to stop
    poll_seconds: float = 0.5  # how often to look for work when no hint came
    spool: str = ""  # folder of logs on their way; "": beside an SQLite store
    spool_max_bytes: int = 10 << 30  # of logs not stored yet ("10GiB"); beyond, writers are paused
    spool_keep_free_bytes: int | None = None  # of its disk; None: 5 %, 1 to 4 GiB, at most 1/4

    def keep_free(self, total: int) -> int:
        """Return how many bytes of the spool's disk are kept free; `total` is its size."""
        if self.spool_keep_free_bytes is not None:
            return self.spool_keep_free_bytes
        return min(max(total // 20, 1 << 30), 4 << 30, total // 4)


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Say how long ended runs, their attempts and logs are kept."""

    succeeded_days: float = 30.0  # runs that succeeded
    other_days: float = 90.0  # runs that failed, were cancelled or quarantined
    log_days: float | None = None  # logs of ended runs; None: as long as the runs
    log_bytes: int | None = None  # of all logs in the store, the oldest go first; None: no limit


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold all settings of one process."""

    app: str = ""  # "module:name" for the command line and the workers
    store: StoreSettings = field(default_factory=StoreSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    secrets: tuple[str, ...] = ()  # variables whose values are masked in logs; * fits anything
    warnings: tuple[str, ...] = ()

    @property
    def spool_dir(self) -> Path:
        """Return the folder on this host where logs wait to be shipped."""
        if self.worker.spool:
            return Path(self.worker.spool).absolute()
        path = sqlite_path(self.store.url)
        return (path.parent if path else Path(".holdfast").absolute()) / "spool"


_DURATIONS = frozenset(
    entry.name
    for part in (StoreSettings, WorkerSettings)
    for entry in fields(part)
    if entry.name.endswith("_seconds")
)

_SIZES = frozenset(
    entry.name
    for part in (WorkerSettings, RetentionSettings)
    for entry in fields(part)
    if entry.name.endswith("_bytes")
)

# The file to read, and what a worker tells its executors and their commands.
_NO_SETTINGS = frozenset(
    f"HOLDFAST_{name}" for name in ("CONFIG", "RUN_ID", "ATTEMPT", "WORKER_ID")
)


def load(
    file: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    **arguments: Any,
) -> Settings:
    """Return the settings; raises ConfigError with every problem at once.

    `arguments` are flat names: ``app``, ``store`` (the URL), ``worker_executors`` and so on.
    None means "not given".
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    given: dict[str, tuple[str, Any]] = {}
    named = file or environ.get("HOLDFAST_CONFIG")
    given |= _from_file(Path(named or DEFAULT_FILE), required=bool(named), problems=problems)
    given |= _from_environ(environ)
    given |= {name: (name, value) for name, value in arguments.items() if value is not None}
    settings = _build(given, problems)
    if problems:
        raise ConfigError(problems=problems)
    warnings = (*_ignored(environ), *_unmasked(settings.secrets, environ))
    return replace(settings, warnings=warnings)


def is_postgres(url: str) -> bool:
    """Tell whether a store is a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


def is_mysql(url: str) -> bool:
    """Tell whether a store is a MySQL or MariaDB database."""
    return url.startswith(("mysql://", "mariadb://"))


def without_password(url: str) -> str:
    """Return an address as people may see it."""
    shown = re.sub(r"(://[^:/@]*):[^@]*@", r"\1@", url)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", shown)


def is_same_store(one: str, other: str) -> bool:
    """Tell whether two URLs name the same store."""
    return one == other or (sqlite_path(one) is not None and sqlite_path(one) == sqlite_path(other))


def sqlite_path(url: str) -> Path | None:
    """Return the absolute file of an SQLite store URL, or None for another kind of store.

    ``sqlite:///name`` is relative to the working directory, ``sqlite:////name`` is absolute.
    """
    kind, _, name = url.partition(":///")
    if kind != "sqlite" or not name:
        return None
    path = Path(name)
    with suppress(RuntimeError):  # nobody has that name: it is the name of a folder
        path = path.expanduser()
    return path.absolute()


def _from_file(path: Path, *, required: bool, problems: list[str]) -> dict[str, tuple[str, Any]]:
    try:
        content = tomllib.loads(_text_of(path, required=required, problems=problems))
    except FileNotFoundError:
        if required:
            problems.append(f"the settings file {path} does not exist")
        return {}
    except (OSError, ValueError) as error:  # also what is no UTF-8 and what is no TOML
        problems.append(f"the settings file {path} cannot be read: {error}")
        return {}
    except RecursionError:
        problems.append(f"the settings file {path} cannot be read: it is nested too deep")
        return {}
    flat: dict[str, tuple[str, Any]] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= {f"{key}_{name}": (f"{path}: {key}.{name}", v) for name, v in value.items()}
        else:
            flat[key] = (f"{path}: {key}", value)
    return {("store" if name == "store_url" else name): v for name, v in flat.items()}


def _text_of(path: Path, *, required: bool, problems: list[str]) -> str:
    """Read a settings file; one that is named may be a pipe, one that only lies there may not."""
    if not required and path.exists() and not path.is_file():
        problems.append(f"the settings file {path} is no plain file")
        return ""
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        problems.append(f"the settings file {path} has more than {LARGEST_FILE} bytes")
        return ""
    return data.decode()


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    known = _known()
    names = {f"HOLDFAST_{name.upper()}": name for name in known}
    return {names[key]: (key, value) for key, value in environ.items() if key in names}


def _ignored(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence for each variable that looks like a setting and is none."""
    names = {f"HOLDFAST_{name.upper()}" for name in _known()}
    warnings = []
    for key in sorted(environ):
        if key.startswith("HOLDFAST_") and key not in names | _NO_SETTINGS:
            close = get_close_matches(key, names, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            warnings.append(f"the variable {key} is no setting and is ignored{hint}")
    return tuple(warnings)


def secret_values(names: Iterable[str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables with these names, in which * fits anything, and their values."""
    environ = os.environ if environ is None else environ
    return {
        variable: value
        for variable, value in environ.items()
        if any(fnmatchcase(variable, name) for name in names)
    }


def _unmasked(names: Iterable[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each secret that cannot be masked."""
    for name in names:
        values = secret_values([name], environ)
        if not values:
            yield f"secrets: there is no variable {name}"
        for variable, value in values.items():
            if reason := refusal(value):
                yield f"the value of {variable} is not masked: {reason}"


def _known() -> dict[str, tuple[str, str]]:
    """Return flat name -> (part, field)."""
    names = {"app": ("", "app"), "secrets": ("", "secrets"), "store": ("store", "url")}
    parts = {"store": StoreSettings, "worker": WorkerSettings, "retention": RetentionSettings}
    for part, kind in parts.items():
        names |= {f"{part}_{f.name}": (part, f.name) for f in fields(kind) if f.name != "url"}
    return names


def _build(given: Mapping[str, tuple[str, Any]], problems: list[str]) -> Settings:
    known = _known()
    settings = Settings()
    for name, (origin, value) in given.items():
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{origin}: unknown setting{hint}")
            continue
        part, key = known[name]
        owner = getattr(settings, part) if part else settings
        changes: dict[str, Any] = {key: _convert(owner, key, value, origin, problems)}
        if part:
            changes = {part: replace(owner, **changes)}
        settings = replace(settings, **changes)
    _cross_check(settings, problems)
    return settings


def _convert(owner: Any, key: str, value: Any, origin: str, problems: list[str]) -> Any:
    default = getattr(owner, key)
    try:
        if key in _DURATIONS:
            return units.seconds(value, option=origin)
        if key in _SIZES:
            return units.size(value, option=origin)
        match default:
            case tuple():
                return _queues(value) if key == "queues" else _variables(value)
            case int() | float() | None:
                number = _number(value, float if default is None else type(default))
                if not 0 < number < MOST:
                    problems.append(f"{origin}: {value!r} must be above zero, and below {MOST}")
                return number
            case _:
                return _text(value)
    except BadOption as error:
        problems.append(str(error))
    except (TypeError, ValueError, OverflowError):
        problems.append(f"{origin}: {shorten(repr(value), 200)} is not {_expected(key, default)}")
    return default


def _expected(key: str, default: Any) -> str:
    if key == "secrets":
        return "a list of names of variables, such as DB_PASSWORD,AWS_*"
    return _EXPECTED[type(default)]


_EXPECTED = {
    tuple: "a list of queues, such as mail,reports or *",
    int: "a whole number",
    float: "a number",
    type(None): "a number",
    str: "a text without NUL, in UTF-8",
}


def _queues(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    queues = tuple(_text(item).strip() for item in items)
    known = all(name == EVERY_QUEUE or is_queue_name(name) for name in queues)
    if isinstance(value, dict) or not (queues and known):
        raise ValueError
    return queues


def _variables(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str | list):
        raise TypeError
    names = value.split(",") if isinstance(value, str) else value
    return tuple(name for name in (_text(item).strip() for item in names) if name)


def _number(value: Any, kind: type) -> float:
    if isinstance(value, bool) or (isinstance(value, float) and kind(value) != value):
        raise ValueError
    return kind(value)  # type: ignore[no-any-return]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not is_storable(value):
        raise ValueError
    return value


def _cross_check(settings: Settings, problems: list[str]) -> None:
    worker = settings.worker
    if worker.lease_seconds < 3 * worker.beat_seconds:
        problems.append(
            f"worker.lease_seconds={worker.lease_seconds:g} must be at least three times "
            f"worker.beat_seconds={worker.beat_seconds:g}, or a late beat looks like a death"
        )
    if settings.app and not _is_app(settings.app):
        problems.append(f"app={shorten(repr(settings.app), 200)} is not module:name")
    problems += _problems_of_url(settings.store.url)


def _is_app(text: str) -> bool:
    """Tell whether a text has the shape of a module and a name in it."""
    module, _, name = text.partition(":")
    parts = (*module.split("."), name or "app")
    return is_name(text) and all(part.isidentifier() for part in parts)


def _is_too_long(path: Path | None) -> bool:
    if path is None:
        return False
    longest = max(len(part.encode()) for part in path.parts)
    return len(str(path).encode()) > LONGEST_PATH or longest > LONGEST_PART


def _problems_of_url(url: str) -> Iterator[str]:
    """Say what makes the URL of a store one that no version of Holdfast can open."""
    kind, separator, name = url.partition("://")
    shown = f"store={shorten(repr(without_password(url)), 200)}"
    if not separator:
        yield f"{shown} is not a URL; write sqlite:///{url or 'path'}"
    elif kind == "sqlite" and sqlite_path(url) is None:
        yield f"{shown} names no file; write sqlite:///path, or sqlite:////path from the root"
    elif kind == "sqlite" and name == "/:memory:":
        yield f"{shown} would be gone with its process; name a file: sqlite:///path"
    elif kind == "sqlite" and not is_storable(str(sqlite_path(url))):
        yield f"{shown} lies in a folder whose name is not UTF-8; rename it, or choose another"
    elif kind == "sqlite" and _is_too_long(sqlite_path(url)):
        yield f"{shown} is too long for the path of a file; choose a shorter one"
    elif kind == "sqlite" and "?" in name:
        yield f"{shown} has options after the ?, and there are none; name the file alone"
