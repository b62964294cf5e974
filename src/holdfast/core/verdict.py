"""Turn the evidence of how an attempt ended into a certificate: one sentence first."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Literal

import msgspec

from holdfast.core.texts import one_line
from holdfast.core.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

Confidence = Literal["certain", "likely"]


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """Say who asked an attempt to stop: Holdfast's own ledger, so this is known for certain."""

    reason: Literal[
        "timeout", "cancel", "memory", "deploy", "busy", "neighbour", "fenced", "hung_up"
    ]
    by: str = ""
    limit: float = 0  # seconds or bytes, by reason


class Raised(msgspec.Struct, frozen=True):
    """Hold an exception as data."""

    type: str
    message: str
    traceback: str
    full_disk: str = ""  # the file system that had no space left, if that was the cause


class WorkerDeath(msgspec.Struct, frozen=True, omit_defaults=True):
    """Say how a worker died, as far as another one can tell."""

    cause: Literal[
        "process gone",
        "host rebooted",
        "stopped",
        "cut off",
        "silent",
        "host silent",
        "unknown claim",
    ]
    host: str
    detail: str = ""
    seen_by: str = ""


class OutOfMemory(msgspec.Struct, frozen=True, omit_defaults=True):
    """Say that the kernel killed for lack of memory, where that lack was, and how that is known."""

    scope: Literal["cgroup", "container", "host"]  # its own, one around its worker, none
    known_by: Literal["kernel log", "cgroup", "count"]  # the last is that of the whole host
    kills: int = 1
    limit: int | None = None  # bytes, of the cgroup that was full
    cgroup: str = ""  # which one that was


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hold what is known about the end of an attempt; every field may be missing."""

    host: str = ""
    boot_id: str = ""
    pid: int = 0
    worker: str = ""
    version: str = ""
    wall_seconds: float = 0
    paused_seconds: float = 0  # of them it was paused, for want of room for its log
    cpu_seconds: float | None = None
    peak_rss: int | None = None  # bytes, highest sample of the whole process tree
    memory_limit: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    of: Literal["executor", "command"] = "executor"  # whose exit_code or signal that is
    raised: Raised | None = None
    start_failed: str = ""
    known_tasks: list[str] | None = None  # those of its worker, when its own was not among them
    snooze: float | None = None  # seconds until it wants to run again
    asked: Asked | None = None
    needed_kill: bool = False
    stopped_processes: int = 0
    oom: OutOfMemory | None = None
    neighbours: int = 0  # other attempts in the same executor when it died
    stack: str = ""  # Python stack at the time limit or at the crash
    worker_death: WorkerDeath | None = None
    last_lines: list[str] = []


class Certificate(msgspec.Struct, frozen=True):
    """Say how an attempt ended: code, sentence, how sure, and the evidence under it."""

    verdict: str
    sentence: str
    confidence: Confidence
    evidence: Evidence


def judge(evidence: Evidence) -> Certificate:
    """Return the certificate that the evidence supports, the most telling evidence first."""
    for rule in _RULES:
        found = rule(evidence)
        if found is not None:
            verdict, sentence, confidence = found
            return Certificate(verdict, one_line(sentence), confidence, evidence)
    sentence = "Its executor closed the connection to its supervisor and said nothing more."
    return Certificate("crash(silent)", sentence, "likely", evidence)


def brief(certificate: Certificate) -> str:
    """Return its sentence without what differs between attempts that died alike."""
    if certificate.evidence.oom is not None or certificate.evidence.asked is not None:
        return certificate.sentence
    return judge(msgspec.structs.replace(certificate.evidence, peak_rss=None)).sentence


def quarantine(causes: Mapping[int, str], *, what: Literal["crash", "lost worker"]) -> str:
    """Return the sentence on a quarantined run from the sentences on its crashed attempts.

    Attempts that died alike are named together.
    """
    alike: dict[str, list[str]] = {}
    for attempt, cause in causes.items():
        alike.setdefault(cause, []).append(str(attempt))
    plural = "" if len(causes) == 1 else "es" if what == "crash" else "s"
    text = f"Quarantined after {len(causes)} {what}{plural}"
    for cause, attempts in alike.items():
        text += f"; attempt{'s' if len(attempts) > 1 else ''} {', '.join(attempts)}:"
        text += f" {cause.rstrip('.')}"
    return f"{text}."


_Found = tuple[str, str, Confidence]


_PLAIN = {
    "deploy": ("released(deploy)", "Given back because its worker stopped."),
    "busy": ("released(busy)", "Given back before it began: no executor of its worker was free."),
    "neighbour": (
        "released(neighbour)",
        "Given back unharmed: its executor had to be killed for another attempt in it.",
    ),
    "hung_up": (
        "crash(hung up)",
        "Its executor was ended: the task closed the descriptors that join it to its supervisor.",
    ),
    "fenced": ("fenced", "Stopped because another worker owns the run by now."),
}


def _asked(evidence: Evidence) -> _Found | None:
    asked = evidence.asked
    if asked is None:
        return None
    match asked.reason:
        case "timeout":
            verdict = "timeout(hard)" if evidence.needed_kill else "timeout(soft)"
            text = f"Timed out after {show_seconds(asked.limit)}; {_needed(evidence)}."
        case "cancel":
            verdict = f"cancelled({asked.by})"
            text = f"Cancelled by {asked.by}; {_needed(evidence)}."
        case "memory":
            peak = show_bytes(evidence.peak_rss or 0)
            verdict = "oom(limit)"
            text = f"Out of memory: its processes held {peak}, the limit is"
            text += f" {show_bytes(asked.limit)}; stopped by Holdfast, neighbours unharmed."
        case _:
            verdict, text = _PLAIN[asked.reason]
    return verdict, text, "certain"


def _needed(evidence: Evidence) -> str:
    how = "needed SIGKILL" if evidence.needed_kill else "stopped when asked"
    count = evidence.stopped_processes
    return how + (f", {count} process{'es' if count > 1 else ''} ended" if count else "")


_OF_WORKERS: dict[str, tuple[str, str, Confidence]] = {
    "process gone": (
        "worker_died(supervisor killed)",
        "Its worker on {host} was killed: the supervisor process is gone.",
        "certain",
    ),
    "host rebooted": (
        "host_rebooted",
        "Its host {host} was rebooted: the boot id has changed.",
        "certain",
    ),
    "stopped": (
        "worker_died(stopped)",
        "Its worker on {host} was stopped for a whole lease, by SIGSTOP or by a debugger.",
        "certain",
    ),
    "cut off": (
        "worker_died(cut off)",
        (
            "Its worker on {host} runs and yet gave no sign of life for a whole lease: it hangs, or"
            " the store cannot be reached from there."
        ),
        "likely",
    ),
    "silent": (
        "worker_died(silent)",
        (
            "Its worker on {host} fell silent for a whole lease, others there did not: it hangs,"
            " was stopped, or cannot reach the store."
        ),
        "likely",
    ),
    "host silent": (
        "worker_died(host unreachable)",
        (
            "All workers on {host} fell silent for a whole lease: the host is down, or cut off from"
            " the store."
        ),
        "likely",
    ),
    "unknown claim": (
        "orphan_claim",
        (
            "Its worker on {host} never learned that it held this attempt: the answer of the store"
            " to the claim was lost."
        ),
        "certain",
    ),
}


def _worker_died(evidence: Evidence) -> _Found | None:
    death = evidence.worker_death
    if death is None:
        return None
    verdict, text, confidence = _OF_WORKERS[death.cause]
    return verdict, text.format(host=death.host), confidence


def _start_failed(evidence: Evidence) -> _Found | None:
    if not evidence.start_failed:
        return None
    return "start_failed", f"Could not start: {evidence.start_failed}", "certain"


def _out_of_memory(evidence: Evidence) -> _Found | None:
    oom = evidence.oom
    if oom is None:
        return None
    verdict = f"oom({oom.scope})"
    peak = show_bytes(evidence.peak_rss or 0)
    if oom.scope == "cgroup":
        text = f"Out of memory: limit {show_bytes(oom.limit or 0)}, peak {peak}; killed by the"
        return verdict, f"{text} kernel in its own cgroup; neighbours unharmed.", "certain"
    whom = "its executor" if evidence.of == "executor" else "a process of it"
    held = f", which held up to {peak}," if evidence.peak_rss else ""
    full = "the host had no more"
    if oom.scope == "container":
        full = f"the cgroup around its worker was at its limit of {show_bytes(oom.limit or 0)}"
    if oom.known_by != "count":
        text = f"Out of memory: {full}, and the kernel killed {whom}{held}".rstrip(",")
        return verdict, f"{text}.", "certain"
    text = f"Out of memory most likely: {whom}{held} got SIGKILL when the kernel's count of such"
    text += f" kills on this host grew by {oom.kills}"
    return verdict, f"{text}, and {full}." if oom.scope == "container" else f"{text}.", "likely"


def _unknown_task(evidence: Evidence) -> _Found | None:
    known = evidence.known_tasks
    if known is None:
        return None
    text = "Given back before it began: the code of its worker has changed, and no executor knows"
    text += f" the task any more; they know {', '.join(known)}."
    return "no_handler", text, "certain"


def _snoozed(evidence: Evidence) -> _Found | None:
    if evidence.snooze is None:
        return None
    return "snoozed", f"Asked to run again in {show_seconds(evidence.snooze)}.", "certain"


def _raised(evidence: Evidence) -> _Found | None:
    raised = evidence.raised
    if raised is None:
        return None
    message = raised.message.strip().partition("\n")[0]
    text = f"Raised {raised.type}: {message}".rstrip(": ")
    if raised.full_disk:
        text = f"{text[0].lower()}{text[1:]}"
        return "disk_full", f"No space left on {raised.full_disk}: {text}", "certain"
    return "error", text, "certain"


def _killed(evidence: Evidence) -> _Found | None:
    number = evidence.signal
    if number is None:
        return None
    name = _signal_name(number)
    whose = "Its command" if evidence.of == "command" else "Its executor"
    peak = f"; peak memory {show_bytes(evidence.peak_rss)}" if evidence.peak_rss else ""
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return f"crash({name})", f"{whose} crashed with {name}{peak}.", "certain"
    why = ", not for lack of memory" if number == signal.SIGKILL else ""
    text = f"{whose} was killed by {name}{why}; Linux does not tell who sent it{peak}."
    return f"signal({name})", text, "certain"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _exited(evidence: Evidence) -> _Found | None:
    code = evidence.exit_code
    if code is None:
        return None
    if evidence.of == "command":
        return f"exit({code})", f"Its command ended with exit code {code}.", "certain"
    text = f"Its executor ended with exit code {code} in the middle of the attempt."
    last = evidence.stack.strip().rpartition("\n")[2]
    text += f" It said: {last}" if last else ""
    return f"exit({code})", text, "certain"


_RULES = (
    _snoozed,
    _asked,
    _worker_died,
    _start_failed,
    _unknown_task,
    _out_of_memory,
    _raised,
    _killed,
    _exited,
)
