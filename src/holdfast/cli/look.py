"""Look at runs: `list`, `show`, `logs`, `why`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from holdfast.cli import tables
from holdfast.cli.errors import AttemptNotFound, say
from holdfast.cli.options import Filters, JsonFlag, RunArgument, Session, command
from holdfast.core.clock import SECOND
from holdfast.core.models import LogChunk, LogEnd, TaskOptions
from holdfast.core.states import RunState
from holdfast.core.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from holdfast.core.models import AttemptRecord, RunRecord
    from holdfast.store import Store

_LONGEST_VALUE = 500  # characters of arguments and results in the story of a run
_COLUMNS = ("ID", "TASK", "STATE", "QUEUE", "AGE", "ATTEMPTS", "DURATION", "WHAT")
_ATTEMPT_COLUMNS = ("#", "OUTCOME", "HOST", "STARTED", "DURATION", "MEMORY", "CPU", "HOW")
_TASK_WIDTH = 50


def add_to(commands: typer.Typer) -> None:
    """Register the commands of this module."""
    commands.command("list", rich_help_panel="Runs")(list_runs)
    for function in (show, logs, why):
        commands.command(rich_help_panel="Runs", no_args_is_help=True)(function)


@command
def list_runs(
    session: Session,
    filters: Filters,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List runs, the newest first."""
    store = session.store
    runs = store.runs.list(filters.chosen(limit))
    if as_json:
        tables.print_json([tables.as_json(run, label=tables.label(run)) for run in runs])
        return
    if not runs:
        say("No runs.")
        return
    tables.print_table(_COLUMNS, (_row(store, run) for run in runs))
    if len(runs) == limit:
        say(f"The newest {limit} are shown; --limit shows more.")


def _row(store: Store, run: RunRecord) -> tuple[object, ...]:
    now = store.database.clock.now()
    attempts = store.runs.attempts(run.run_id) if run.attempt else []
    task = tables.title(run)
    return (
        tables.short_id(run.run_id),
        task if len(task) <= _TASK_WIDTH else f"{task[:_TASK_WIDTH]}…",
        tables.label(run),
        run.queue,
        tables.since(now, run.created_at),
        run.attempt,
        tables.duration(run, attempts, now),
        tables.what(run, now),
    )


@command
def show(session: Session, run_id: RunArgument, as_json: JsonFlag = False) -> None:
    """Tell the story of a run: its state, its attempts, its result."""
    from holdfast.why import explain

    store = session.store
    run = store.runs.find(run_id)
    attempts = store.runs.attempts(run.run_id)
    explanation = explain(store, run)
    if as_json:
        told = {"sentence": explanation.sentence, "evidence": explanation.evidence}
        stories = [tables.as_json(attempt) for attempt in attempts]
        tables.print_json(tables.as_json(run, explanation=told, attempts=stories))
        return
    typer.echo(f"Run {run.run_id}: {tables.label(run)}")
    typer.echo(explanation.sentence)
    typer.echo()
    for name, value in _facts(run).items():
        if value:
            typer.echo(f"{name:<12}{tables.plain(value)}")
    if attempts:
        typer.echo()
        tables.print_table(_ATTEMPT_COLUMNS, (_attempt_row(store, a) for a in attempts))


def _facts(run: RunRecord) -> dict[str, str]:
    from holdfast.why import show_time

    keys = {"dedupe": run.dedupe_key, "concurrency": run.concurrency_key}
    return {
        "task": tables.title(run),
        "arguments": _short(run.arguments),
        "queue": f"{run.queue}, priority {run.priority}",
        "keys": ", ".join(f"{name} {key!r}" for name, key in keys.items() if key),
        "options": _options(msgspec.json.decode(run.options, type=TaskOptions)),
        "enqueued": show_time(run.created_at),
        "due": show_time(run.due_at) if run.due_at else "",
        "ended": show_time(run.finished_at) if run.finished_at else "",
        "counts": f"{run.attempt} attempts, {run.failures} failures, {run.crashes} crashes",
        "progress": tables.what(run, run.created_at) if run.progress else "",
        "result": _short(run.result or "") if run.state == RunState.SUCCEEDED else "",
    }


def _short(text: str) -> str:
    """Return what fits on a screen of a value that may have a megabyte; --json has it whole."""
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:_LONGEST_VALUE]}… ({len(text)} characters; --json shows all)"


def _options(options: TaskOptions) -> str:
    parts = [f"retries {options.retries.limit}", f"crashes {options.crashes}"]
    if options.timeout is not None:
        parts.append(f"timeout {show_seconds(options.timeout)}")
    if options.memory is not None:
        parts.append(f"memory {show_bytes(options.memory)}")
    return ", ".join(parts)


def _attempt_row(store: Store, attempt: AttemptRecord) -> tuple[object, ...]:
    from holdfast.why import read_certificate, show_time

    worker = store.workers.get(attempt.worker_id)
    certificate = read_certificate(attempt)
    return (
        attempt.attempt,
        attempt.outcome.value,
        worker.host if worker else "",
        show_time(attempt.started_at),
        show_seconds((attempt.finished_at - attempt.started_at) / SECOND),
        "" if attempt.peak_rss is None else show_bytes(attempt.peak_rss),
        "" if attempt.cpu_ms is None else show_seconds(attempt.cpu_ms / 1000),
        certificate.sentence if certificate else "",
    )


@command
def why(session: Session, run_id: RunArgument, as_json: JsonFlag = False) -> None:
    """Say in one sentence why a run waits or how it ended, with the evidence under it."""
    from holdfast.why import explain

    store = session.store
    run = store.runs.find(run_id)
    explanation = explain(store, run)
    if as_json:
        tables.print_json(
            {
                "run_id": run.run_id,
                "state": run.state,
                "sentence": explanation.sentence,
                "evidence": explanation.evidence,
            }
        )
        return
    typer.echo(explanation.sentence)
    for line in explanation.evidence:
        typer.echo(f"  {line}")


@command
def logs(
    session: Session,
    run_id: RunArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")
    ] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only this attempt.")] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="With -f: do not wait for a log whose end is late.")
    ] = False,
) -> None:
    """Print the log of a run, byte for byte as it was written."""
    from holdfast.cli.following import Viewer, write_merged

    store = session.store
    run = store.runs.find(run_id)
    if attempt is not None and attempt > run.attempt and not follow:
        raise AttemptNotFound(run_id=run.run_id, attempt=attempt, last=run.attempt)
    if follow:
        Viewer(store, run.run_id, write=write_merged, wait=not no_wait).print_log(attempt)
    else:
        _print_stored(store, run, attempt)


def _print_stored(store: Store, run: RunRecord, attempt: int | None) -> None:
    from holdfast.cli.following import Viewer, write_merged
    from holdfast.follow import follow
    from holdfast.why import explain

    viewer = Viewer(store, run.run_id, write=write_merged)
    if run.attempt == 0:
        say(f"holdfast: nothing was written yet. {explain(store, run).sentence}")
    for number in [attempt] if attempt else range(1, run.attempt + 1):
        if attempt is None and run.attempt > 1:
            say(f"holdfast: attempt {number}:")
        for _, item in follow(store, run.run_id, attempt=number):
            match item:
                case LogChunk():
                    write_merged(item)
                case LogEnd():
                    viewer.tell_end(number, item)
                case _:  # nothing more for now
                    state = "its end is not in the store yet" if item.ended else "it still runs"
                    say(f"holdfast: the log of attempt {number} is not complete: {state}.")
                    break
