"""Read the settings once: defaults < holdfast.toml < HOLDFAST_* < arguments."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from holdfast.core import units
from holdfast.core.errors import BadOption, ConfigError

DEFAULT_STORE = "sqlite:///.holdfast/holdfast.db"
DEFAULT_FILE = "holdfast.toml"
MOST = 1_000_000  # of anything that is counted in settings


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Say where the store is and how long to wait for it."""

    url: str = DEFAULT_STORE  # sqlite:///path; relative to the working directory
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


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Say how long ended runs, their attempts and logs are kept."""

    succeeded_days: float = 30.0  # runs that succeeded
    other_days: float = 90.0  # runs that failed, were cancelled or quarantined


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold all settings of one process."""

    app: str = ""  # "module:name" for the command line and the workers
    store: StoreSettings = field(default_factory=StoreSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
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
    return replace(settings, warnings=_ignored(environ))


def sqlite_path(url: str) -> Path | None:
    """Return the absolute file of an SQLite store URL, or None for another kind of store.

    ``sqlite:///name`` is relative to the working directory, ``sqlite:////name`` is absolute.
    """
    kind, _, name = url.partition(":///")
    return Path(name).expanduser().absolute() if kind == "sqlite" and name else None


def _from_file(path: Path, *, required: bool, problems: list[str]) -> dict[str, tuple[str, Any]]:
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if required:
            problems.append(f"the settings file {path} does not exist")
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"the settings file {path} cannot be read: {error}")
        return {}
    flat: dict[str, tuple[str, Any]] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= {f"{key}_{name}": (f"{path}: {key}.{name}", v) for name, v in value.items()}
        else:
            flat[key] = (f"{path}: {key}", value)
    return {("store" if name == "store_url" else name): v for name, v in flat.items()}


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


def _known() -> dict[str, tuple[str, str]]:
    """Return flat name -> (part, field)."""
    names = {"app": ("", "app"), "store": ("store", "url")}
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
        match default:
            case tuple():
                return _names(value)
            case int() | float():
                number = type(default)(value)
                if not 0 < number < MOST:
                    problems.append(f"{origin}: {value!r} must be above zero, and below {MOST}")
                return number
            case _:
                return str(value)
    except BadOption as error:
        problems.append(str(error))
    except (TypeError, ValueError, OverflowError):
        problems.append(f"{origin}: {value!r} is not a {type(default).__name__}")
    return default


def _names(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    names = tuple(str(item).strip() for item in items)
    if not all(names) or not names:
        raise ValueError
    return names


def _cross_check(settings: Settings, problems: list[str]) -> None:
    worker = settings.worker
    if worker.lease_seconds < 3 * worker.beat_seconds:
        problems.append(
            f"worker.lease_seconds={worker.lease_seconds:g} must be at least three times "
            f"worker.beat_seconds={worker.beat_seconds:g}, or a late beat looks like a death"
        )
    if "://" not in settings.store.url:
        problems.append(
            f"store={settings.store.url!r} is not a URL; write sqlite:///{settings.store.url}"
        )
