"""Print logs: `logs`."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import errors
from holdfast.cli.errors import AttemptNotFound, say
from holdfast.cli.options import JsonFlag, RunArgument, Session, command
from holdfast.core.errors import BadOption, LogDeleted
from holdfast.core.models import Lease, LogChunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.cli.following import Viewer
    from holdfast.cli.printing import Printer
    from holdfast.core.models import RunRecord
    from holdfast.follow import Item
    from holdfast.logs import LogPart
    from holdfast.store import Store

_LINES = re.compile(r"(\d*)(:?)(\d*)")


def add_to(commands: typer.Typer) -> None:
    """Register the commands of this module."""
    commands.command(rich_help_panel="Runs", no_args_is_help=True)(logs)


@dataclass(frozen=True, slots=True)
class Part:
    """Choose a part of a log."""

    attempt: Annotated[int | None, typer.Option(min=1, help="Only this attempt.")] = None
    lines: Annotated[
        str | None, typer.Option(metavar="A:B", help="Lines A to B of the last attempt; A:, :B.")
    ] = None
    tail: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The last N lines of the last attempt.")
    ] = None
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Written since: 10m (ago), or an ISO time.")
    ] = None
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Written until: 10m (ago), or an ISO time.")
    ] = None
    stream: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only out, err or log (logging records).")
    ] = None

    def chosen(self) -> LogPart:
        """Return the part; raises BadOption."""
        from holdfast.logs import PartOptions, part_of

        options = PartOptions(lines=_range(self.lines))
        if self.tail is not None:
            options["tail"] = self.tail
        if self.since is not None:
            options["since"] = self.since
        if self.until is not None:
            options["until"] = self.until
        if self.stream is not None:
            options["stream"] = self.stream
        return part_of(options)

    def attempts(self, run: RunRecord) -> range:
        """Return the attempts that it is about: all, unless lines are counted."""
        if self.attempt is not None:
            return range(self.attempt, self.attempt + 1)
        last_only = self.lines is not None or self.tail is not None
        return range(max(1, run.attempt if last_only else 1), run.attempt + 1)


@dataclass(frozen=True, slots=True)
class Form:
    """Say in which form a log is printed."""

    search: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only lines with TEXT, as LINE:BYTE:text."),
    ] = None
    regex: Annotated[bool, typer.Option("--regex", help="TEXT is a regular expression.")] = False
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", "-i", help="Search without regard to case.")
    ] = False
    around: Annotated[
        int, typer.Option("--context", "-C", min=0, max=1000, help="Lines around each hit.")
    ] = 0
    raw: Annotated[
        bool, typer.Option("--raw", help="In a terminal, too, the bytes exactly as they are.")
    ] = False

    def printer(self, *, as_json: bool) -> Printer:
        """Return what prints so; raises BadOption."""
        from holdfast.cli import printing
        from holdfast.logs import Lines
        from holdfast.search import Pattern, Search

        is_harmless = sys.stdout.isatty() and not self.raw
        for option in ("regex", "ignore_case", "around"):
            if getattr(self, option) and self.search is None:
                expected = "a --search that it is about"
                raise BadOption(option=option, value=getattr(self, option), expected=expected)
        if self.search is not None:
            options = {"regex": self.regex, "ignore_case": self.ignore_case}
            make = partial(Search, Pattern(self.search, **options), self.around)
            if not as_json:
                return printing.Found(make, harmless=is_harmless, apart=self.around > 0)
            return printing.Json(make)
        if as_json:
            return printing.Json(Lines)
        return printing.Text() if is_harmless else printing.Bytes()


@command
def logs(
    session: Session,
    run_id: RunArgument,
    part: Part,
    form: Form,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="With -f: do not wait for a log whose end is late.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print the log of a run, byte for byte as it was written.

    A terminal gets only text and colours: what else it would obey is written out. The bytes
    go to standard output, what Holdfast has to say to standard error. A search that finds nothing
    ends with exit code 1.
    """
    from holdfast.cli.following import Viewer

    store = session.store
    run = store.runs.find(run_id)
    if part.attempt is not None and part.attempt > run.attempt and not follow:
        raise AttemptNotFound(run_id=run.run_id, attempt=part.attempt, last=run.attempt)
    printer = form.printer(as_json=as_json)
    viewer = Viewer(store, run.run_id, printer, wait=not no_wait)
    code = errors.OK
    if follow:
        viewer.print_log(_followed(store, run, part))
    else:
        code = _print_stored(store, run, part, viewer, printer)
    if form.search is not None and not getattr(printer, "found", True):
        code = code or errors.FAILED
    raise typer.Exit(code)


def _followed(store: Store, run: RunRecord, choice: Part) -> Iterator[Item]:
    """Yield the part of the log that is there, and all that comes."""
    from holdfast.follow import follow

    part = choice.chosen()
    for option, value in (("lines", choice.lines), ("until", choice.until)):
        if value is not None:
            expected = "none together with --follow; there are --tail and --since"
            raise BadOption(option=option, value=value, expected=expected)
    first = choice.attempts(run).start
    offset, _ = part.bounds(store.logs, Lease(run.run_id, first))
    for number, item in follow(
        store, run.run_id, attempt=choice.attempt, first=first, offset=offset
    ):
        if not isinstance(item, LogChunk) or part.stream in (None, item.stream):
            yield number, item


def _print_stored(
    store: Store, run: RunRecord, choice: Part, viewer: Viewer, printer: Printer
) -> int:
    """Print what is there now, say of each log whether it is complete; return the exit code."""
    from holdfast.follow import NOTHING_WRITTEN
    from holdfast.why import explain

    part, numbers, code = choice.chosen(), choice.attempts(run), errors.OK
    ended = {attempt.attempt: attempt for attempt in store.runs.attempts(run.run_id)}
    if run.attempt == 0:
        say(f"holdfast: nothing was written yet. {explain(store, run).sentence}")
    for number in numbers:
        if len(numbers) > 1:
            say(f"holdfast: attempt {number}:")
        lease = Lease(run.run_id, number)
        end = store.logs.end(lease)  # first: with it all chunks are there
        if number in ended and not ended[number].logged:
            end = NOTHING_WRITTEN
        try:
            for chunk in part.chunks(store.logs, lease):
                printer.chunk(number, chunk)
        except LogDeleted as error:
            code = errors.exit_code(error)
            end = store.logs.end(lease)
        if end is not None:
            viewer.tell_end(number, end)
        else:
            printer.end(number, None)
            state = "its end is not in the store yet" if number in ended else "it still runs"
            say(f"holdfast: the log of attempt {number} is not complete: {state}.")
    return code


def _range(text: str | None) -> tuple[int | None, int | None]:
    """Return the first and the last line that "A:B", "A:", ":B" or "A" means."""
    if text is None:
        return None, None
    match = _LINES.fullmatch(text)
    if match is None or not (match[1] or match[3]):
        expected = "lines such as 1000:1100, 1000:, :50 or 7"
        raise BadOption(option="lines", value=text, expected=expected)
    first = int(match[1]) if match[1] else None
    if not match[2]:
        return first, first
    return first, int(match[3]) if match[3] else None
