"""Give a running task what it may use, and the two exceptions that change its course."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn, Protocol

from holdfast.core import units
from holdfast.core.models import Progress
from holdfast.core.texts import shorten

if TYPE_CHECKING:
    from holdfast.core.ids import RunId

_LONGEST_TEXT = 500  # characters beside a progress
Why = str  # "cancel", "timeout" or "deploy"


class Snooze(Exception):
    """End this attempt and run again later; counts as no failure. Raised by `context.snooze`."""

    def __init__(self, delay: float | str | timedelta) -> None:
        self.seconds = units.seconds(delay, option="delay")
        super().__init__(f"run again in {units.show_seconds(self.seconds)}")


class Stopped(BaseException):
    """Tell a task's code that it must end: cancelled, timed out, or its worker stops.

    It is raised where the code stands, so that `finally` blocks run. It is no `Exception`, so
    that ``except Exception`` does not swallow it; what swallows it is killed after the grace.
    """

    def __init__(self, why: Why) -> None:
        self.why = why
        super().__init__(why)


class Channel(Protocol):
    """Carry what a task says to the outside; the executor provides it."""

    def log(self, text: str) -> None:
        """Write one line to the log of the attempt."""
        ...

    def progress(self, progress: Progress) -> None:
        """Tell how far the task has come."""
        ...

    def mask(self, value: str) -> None:
        """Have a value masked from now on."""
        ...

    @property
    def stop_asked(self) -> Why | None:
        """Return why the attempt was asked to stop, or None."""
        ...


class Context:
    """Speak for one attempt: which run it is, its log, its progress, its end."""

    def __init__(self, run_id: RunId, attempt: int, channel: Channel) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self._channel = channel

    def log(self, message: str, *args: object) -> None:
        """Write a line to the log of the attempt; ``%`` arguments as in `logging`."""
        self._channel.log(f"{message % args if args else message}\n")

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Tell how far the task has come: `done` of `total` in any unit, and a few words.

        Raises BadOption for what is no finite number; a long text is cut. Cheap: at most one value
        in half a second is stored, and always the last one.
        """
        units.check_number(done, option="done")
        if total is not None:
            units.check_number(total, option="total")
        clean = shorten(str(text), _LONGEST_TEXT).encode("utf-8", "replace").decode()
        whole = None if total is None else float(total)
        self._channel.progress(Progress(float(done), whole, clean))

    def mask(self, value: str | bytes) -> None:
        """Have a secret replaced by ``***`` in the log from now on, before it leaves this host.

        For values learned at run time; those of environment variables are named in the setting
        `secrets`. Also masked are its forms in JSON, URLs and base64, and what is kept of an
        exception. Best effort: what is turned round or encrypted is not found. A value of fewer
        than six bytes is not masked, and the log says so.
        """
        text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
        self._channel.mask(text)

    @property
    def is_cancelled(self) -> bool:
        """Tell whether the attempt was asked to stop, for whatever reason.

        A sync task learns it by the exception Stopped too; this is for loops in other threads.
        """
        return self._channel.stop_asked is not None

    def snooze(self, delay: float | str | timedelta) -> NoReturn:
        """End this attempt and run again after a delay (seconds or ``"5m"``)."""
        raise Snooze(delay)
