"""Turn the evidence of how an attempt ended into a certificate: one sentence first."""

from __future__ import annotations

import signal
from typing import Literal

import msgspec

from holdfast.core.units import show_bytes, show_seconds

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


class WorkerDeath(msgspec.Struct, frozen=True, omit_defaults=True):
    """Say how a worker died, as far as another one can tell."""

    cause: Literal["process gone", "host rebooted", "silent", "unknown claim"]
    host: str
    detail: str = ""
    seen_by: str = ""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hold what is known about the end of an attempt; every field may be missing."""

    host: str = ""
    boot_id: str = ""
    pid: int = 0
    worker: str = ""
    version: str = ""
    wall_seconds: float = 0
    cpu_seconds: float | None = None
    peak_rss: int | None = None  # bytes, highest sample of the whole process tree
    memory_limit: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    of: Literal["executor", "command"] = "executor"  # whose exit_code or signal that is
    raised: Raised | None = None
    start_failed: str = ""
    asked: Asked | None = None
    needed_kill: bool = False
    stopped_processes: int = 0
    oom_kills: int = 0  # growth of oom_kill in /proc/vmstat during the attempt
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
    for rule in (_asked, _worker_died, _start_failed, _raised, _killed, _exited):
        found = rule(evidence)
        if found is not None:
            verdict, sentence, confidence = found
            return Certificate(verdict, sentence, confidence, evidence)
    sentence = "Its executor closed the connection to its supervisor and said nothing more."
    return Certificate("crash(silent)", sentence, "likely", evidence)


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


def _worker_died(evidence: Evidence) -> _Found | None:
    death = evidence.worker_death
    if death is None:
        return None
    match death.cause:
        case "process gone":
            text = f"Its worker on {death.host} was killed: the supervisor process is gone."
            return "worker_died(supervisor killed)", text, "certain"
        case "host rebooted":
            text = f"Its host {death.host} was rebooted: the boot id has changed."
            return "host_rebooted", text, "certain"
        case "silent":
            text = f"Its worker on {death.host} fell silent for a whole lease: "
            text += "the host is down, cut off from the store, or stopped."
            return "worker_died(silent)", text, "likely"
        case "unknown claim":
            text = f"Its worker on {death.host} never learned that it held this attempt: "
            text += "the answer of the store to the claim was lost."
            return "orphan_claim", text, "certain"


def _start_failed(evidence: Evidence) -> _Found | None:
    if not evidence.start_failed:
        return None
    return "start_failed", f"Could not start: {evidence.start_failed}", "certain"


def _raised(evidence: Evidence) -> _Found | None:
    raised = evidence.raised
    if raised is None:
        return None
    message = raised.message.strip().partition("\n")[0]
    return "error", f"Raised {raised.type}: {message}".rstrip(": "), "certain"


def _killed(evidence: Evidence) -> _Found | None:
    number = evidence.signal
    if number is None:
        return None
    name = _signal_name(number)
    whose = "Its command" if evidence.of == "command" else "Its executor"
    peak = f"; peak memory {show_bytes(evidence.peak_rss)}" if evidence.peak_rss else ""
    if number == signal.SIGKILL and evidence.oom_kills:
        text = f"{whose} was killed by the kernel, out of memory{peak}: "
        text += f"the kernel's count of such kills grew by {evidence.oom_kills} meanwhile."
        return "oom(host)", text, "likely"
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return f"crash({name})", f"{whose} crashed with {name}{peak}.", "certain"
    text = f"{whose} was killed by {name} from outside"
    text += f" (no out-of-memory kill was counted){peak}." if number == signal.SIGKILL else "."
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
