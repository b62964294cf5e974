"""Hold tasks fast: no accepted task is lost, no log line is lost, every death is explained."""

from __future__ import annotations

from holdfast.app import App
from holdfast.context import Context, Snooze, Stopped
from holdfast.core.errors import (
    AlreadyEnqueued,
    BadArguments,
    BadOption,
    ConfigError,
    HoldfastError,
    LogDeleted,
    MissingDriver,
    NotAllowed,
    NotAStore,
    OtherDatabase,
    ResultTimeout,
    RunNotFound,
    RunNotSucceeded,
    SchemaOutdated,
    SearchTooSlow,
    StoreError,
    StoreUnavailable,
    TaskNotFound,
    UsageError,
)
from holdfast.core.ids import new_id
from holdfast.core.retry import Retry
from holdfast.core.states import AttemptOutcome, RunState
from holdfast.run import Run
from holdfast.tasks import Task
from holdfast.version import __version__

__all__ = [
    # define and enqueue
    "App",
    "new_id",
    "Retry",
    "Task",
    # follow
    "AttemptOutcome",
    "Run",
    "RunState",
    # inside a running task
    "Context",
    "Snooze",
    "Stopped",
    # errors
    "AlreadyEnqueued",
    "BadArguments",
    "BadOption",
    "ConfigError",
    "HoldfastError",
    "LogDeleted",
    "MissingDriver",
    "NotAllowed",
    "NotAStore",
    "OtherDatabase",
    "ResultTimeout",
    "RunNotFound",
    "RunNotSucceeded",
    "SchemaOutdated",
    "SearchTooSlow",
    "StoreError",
    "StoreUnavailable",
    "TaskNotFound",
    "UsageError",
    # this package
    "__version__",
]
