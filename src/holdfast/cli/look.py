"""Look at runs: `list`, `show`, `why`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from holdfast.cli import tables
from holdfast.cli.errors import say, tell
from holdfast.cli.options import Filters, JsonFlag, RunArgument, Session, command
from holdfast.core.clock import SECOND
from holdfast.core.models import TaskOptions
from holdfast.core.states import RunState
from holdfast.core.texts import one_line, shorten
from holdfast.core.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.models import AttemptRecord, RunRecord
    from holdfast.store import Store

_LONGEST_VALUE = 500  # characters of arguments and results in the story of a run
_COLUMNS = ("ID", "TASK", "STATE", "QUEUE", "AGE", "ATTEMPTS", "DURATION", "WHAT")
_ATTEMPT_COLUMNS = ("#", "OUTCOME", "HOST", "STARTED", "DURATION", "MEMORY", "CPU", "HOW")
_TASK_WIDTH = 50
_MOST_LISTED = 100_000

LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=_MOST_LISTED, help="At most so many.")
]


def add_to(commands: typer.Typer) -> None:
    """Register the commands of this module."""
    commands.command("list", rich_help_panel="Runs")(list_runs)
    for function in (show, why):
        commands.command(rich_help_panel="Runs", no_args_is_help=True)(function)


@command
def list_runs(
    session: Session,
    filters: Filters,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
) -> None:
    """List runs, the newest first."""
    store = session.store
    runs = store.runs.each(filters.chosen(limit))
    if as_json:
        tables.print_json_list(tables.as_json(run, label=tables.label(run)) for run in runs)
        return
    rows = [_row(store, run) for run in runs]
    if not rows:
        say("No runs.")
        return
    tables.print_table(_COLUMNS, rows)
    if len(rows) == limit:
        say(f"The newest {limit} are shown; --limit shows more.")


def _row(store: Store, run: RunRecord) -> tuple[object, ...]:
    now = store.database.clock.now()
    attempts = store.runs.attempts(run.run_id) if run.attempt else []
    return (
        tables.short_id(run.run_id),
        shorten(tables.title(run), _TASK_WIDTH),
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
    tell(f"Run {run.run_id}: {tables.label(run)}")
    tell(one_line(explanation.sentence))
    tell()
    for name, value in _facts(run).items():
        if value:
            tell(f"{name:<12}{one_line(value)}")
    if attempts:
        tell()
        tables.print_table(_ATTEMPT_COLUMNS, (_attempt_row(store, a) for a in attempts))
    _print_usage(run, attempts)


def _print_usage(run: RunRecord, attempts: Sequence[AttemptRecord]) -> None:
    """Draw what the running attempt takes, or what the last one took."""
    from holdfast.cli.curves import usage_lines

    number, usage = run.attempt, run.usage
    if run.state != RunState.RUNNING and attempts:
        number, usage = attempts[-1].attempt, attempts[-1].usage
    if usage is None:
        return
    lasted = show_seconds(usage.every * len(usage.memory))
    tell(f"\nWhat attempt {number} took in {lasted}:")
    for name, line in usage_lines(usage).items():
        tell(f"{name:<12}{line}")


def _facts(run: RunRecord) -> dict[str, str]:
    from holdfast.why import show_time

    keys = {"dedupe": run.dedupe_key, "concurrency": run.concurrency_key}
    return {
        "task": _short(tables.title(run)),
        "arguments": _short(run.arguments),
        "queue": f"{run.queue}, priority {run.priority}",
        "keys": ", ".join(f"{name} {key!r}" for name, key in keys.items() if key),
        "options": _options(msgspec.json.decode(run.options, type=TaskOptions)),
        "enqueued": show_time(run.created_at),
        "due": show_time(run.due_at) if run.due_at else "",
        "ended": show_time(run.finished_at) if run.finished_at else "",
        "counts": f"{run.attempt} attempts, {run.failures} failures, {run.crashes} crashes",
        "progress": tables.progress_of(run),
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
    tell(one_line(explanation.sentence))
    for line in explanation.evidence:
        tell(f"  {line}")
