"""Start workers, and look at what works: `up`, `worker`, `queues`, `workers`, `tasks`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from holdfast.cli import tables
from holdfast.cli.errors import NotEmbedded, QueueNotFound, say, tell
from holdfast.cli.logformat import LogFormat, LogLevel, set_up_logging
from holdfast.cli.options import JsonFlag, Session, command, user
from holdfast.core.config import sqlite_path, without_password
from holdfast.core.models import WorkerState
from holdfast.core.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from holdfast.core.models import QueueRecord, WorkerRecord
    from holdfast.store import Store
    from holdfast.tasks import Task

QueueArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of a queue.")]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Say how a worker works and what it says."""

    queues: Annotated[str | None, typer.Option(metavar="A,B", help="Serve only these queues.")] = (
        None
    )
    executors: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="So many processes carry out runs.")
    ] = None
    log_level: Annotated[LogLevel, typer.Option(help="What to say on stderr.")] = LogLevel.INFO
    log_format: Annotated[LogFormat, typer.Option(help="How to say it.")] = LogFormat.TEXT

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given."""
        return {"worker_queues": self.queues, "worker_executors": self.executors}


def add_to(commands: typer.Typer) -> None:
    """Register the commands of this module."""
    for function in (up, worker):
        commands.command(rich_help_panel="Workers")(function)
    group = typer.Typer(help="List, pause and resume queues.", invoke_without_command=True)
    group.callback()(queues)
    group.command("list")(list_queues)
    group.command()(pause)
    group.command()(resume)
    commands.add_typer(group, name="queues", rich_help_panel="Workers")
    commands.command(rich_help_panel="Workers")(workers)
    commands.command(rich_help_panel="Workers")(tasks)


@command
def up(session: Session, options: WorkerOptions) -> None:
    """Start a worker on the embedded store, and make the store when there is none."""
    settings = session.settings_with(**options.settings())
    path = sqlite_path(settings.store.url)
    if path is None:
        raise NotEmbedded(store=without_password(settings.store.url))
    session.new_store.check_open()
    session.new_store.close()
    tell(f"Holdfast keeps its store in {path}")
    tell("Next, in another terminal here: holdfast run -- echo hello")
    _work(session, options)


@command
def worker(session: Session, options: WorkerOptions) -> None:
    """Carry out runs, until stopped: SIGTERM or Ctrl-C lets running attempts finish."""
    _work(session, options)


def _work(session: Session, options: WorkerOptions) -> None:
    from holdfast.worker import run_worker

    set_up_logging(options.log_level, options.log_format)
    sys.stdout.flush()
    raise typer.Exit(run_worker(session.settings_with(**options.settings())))


@command
def queues(session: Session, as_json: JsonFlag = False) -> None:
    """List, pause and resume queues."""
    if session.context.invoked_subcommand is None:
        _show_queues(session.store, as_json=as_json)


@command
def list_queues(session: Session, as_json: JsonFlag = False) -> None:
    """List the queues with how many of their runs wait and run."""
    _show_queues(session.store, as_json=as_json)


def _show_queues(store: Store, *, as_json: bool) -> None:
    found = store.queues.list()
    if as_json:
        tables.print_json([tables.as_json(queue) for queue in found])
    elif not found:
        say("No queues: one is made by its first run.")
    else:
        columns = ("QUEUE", "QUEUED", "RUNNING", "SCHEDULED", "PAUSED")
        now = store.database.clock.now()
        rows = [(q.name, q.queued, q.running, q.scheduled, _pause_of(q, now)) for q in found]
        tables.print_table(columns, rows)


def _pause_of(queue: QueueRecord, now: int) -> str:
    if queue.paused_at is None:
        return ""
    words = f"{tables.since(now, queue.paused_at)} ago by {queue.paused_by}"
    return f"{words}: {queue.reason}" if queue.reason else words


@command
def pause(
    session: Session,
    name: QueueArgument,
    reason: Annotated[str | None, typer.Option(help="Why; `why` tells it to others.")] = None,
) -> None:
    """Keep workers from claiming runs of a queue; running ones go on."""
    if session.store.queues.pause(name, by=user(), reason=reason):
        tell(f"Queue {name} is paused.")
    else:
        tell(f"Queue {name} was paused already.")


@command
def resume(session: Session, name: QueueArgument) -> None:
    """Let workers claim runs of a queue again."""
    queues = session.store.queues
    if queues.get(name) is None:
        raise QueueNotFound(name=name, known=[queue.name for queue in queues.list()])
    text = "goes on." if queues.resume(name) else "was not paused."
    tell(f"Queue {name} {text}")


@command
def workers(
    session: Session,
    gone: Annotated[bool, typer.Option("--all", help="The ended ones too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the workers that are up."""
    store = session.store
    found = store.workers.list(gone=gone)
    if as_json:
        tables.print_json([tables.as_json(w, state=w.state.name.lower()) for w in found])
    elif not found:
        say("No worker is up. `holdfast worker` starts one.")
    else:
        columns = ("ID", "STATE", "HOST", "PID", "EXECUTORS", "RUNNING", "UP", "SEEN", "QUEUES")
        tables.print_table(columns, (_worker_row(store, worker) for worker in found))


def _worker_row(store: Store, worker: WorkerRecord) -> tuple[object, ...]:
    now = store.database.clock.now()
    is_up = worker.state in (WorkerState.UP, WorkerState.DRAINING)
    return (
        tables.short_id(worker.worker_id),
        worker.state.name.lower() + (", no room" if worker.trouble else ""),
        worker.host,
        worker.pid,
        worker.executors,
        len(store.leases.held(worker.worker_id)),
        tables.since(now if is_up else worker.seen_at, worker.started_at),
        f"{tables.since(now, worker.seen_at)} ago",
        ", ".join(msgspec.json.decode(worker.queues)),
    )


@command
def tasks(session: Session, as_json: JsonFlag = False) -> None:
    """List the tasks that the workers know; with --app, those of your app."""
    if session.settings.app:
        rows = [_task_row(task) for task in session.app.tasks.values()]
        columns = ["TASK", "QUEUE", "PRIORITY", "TIMEOUT", "MEMORY", "RETRIES", "KIND"]
    else:
        known = session.store.workers.tasks()
        rows = [(name, _kind(shared=shared)) for name, shared in known.items()]
        columns = ["TASK", "KIND"]
    if as_json:
        names = [column.lower() for column in columns]
        tables.print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif not rows:
        say("No worker is up, so no task is known. --app module:name lists those of your app.")
    else:
        shown = [["" if cell is None else cell for cell in row] for row in rows]
        tables.print_table(columns, shown)


def _task_row(task: Task) -> tuple[object, ...]:
    options = task.options
    return (
        task.name,
        task.queue_name,
        task.priority,
        None if options.timeout is None else show_seconds(options.timeout),
        None if options.memory is None else show_bytes(options.memory),
        options.retries.limit,
        _kind(shared=task.body.shared),
    )


def _kind(*, shared: bool) -> str:
    return "async" if shared else "exclusive"
