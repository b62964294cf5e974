"""Each rule of the verdict: evidence in, one sentence and its confidence out."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import get_args

import msgspec
import pytest

from holdfast.core.verdict import (
    Asked,
    Certificate,
    Evidence,
    OutOfMemory,
    Raised,
    WorkerDeath,
    judge,
)

MIB = 1 << 20


@dataclass(frozen=True)
class Rule:
    """Evidence, and what must be concluded from it."""

    evidence: Evidence
    verdict: str
    sentence: str
    confidence: str = "certain"


def asked(reason, **facts):
    """Evidence of an attempt that was asked to stop."""
    known = {name: facts.pop(name) for name in ("by", "limit") if name in facts}
    return Evidence(asked=Asked(reason, **known), **facts)


def out_of_memory(scope, known_by, *, limit=None, peak=None, of="executor"):
    """Evidence of a death that the kernel caused for lack of memory."""
    oom = OutOfMemory(scope, known_by, 1, limit)
    return Evidence(signal=signal.SIGKILL, oom=oom, peak_rss=peak, of=of)


def died(cause):
    """Evidence of an attempt whose worker died."""
    return Evidence(worker_death=WorkerDeath(cause, "lathe"))


RULES = [
    Rule(
        asked("timeout", limit=600),
        "timeout(soft)",
        "Timed out after 10 min; stopped when asked.",
    ),
    Rule(
        asked("timeout", limit=1.5, needed_kill=True, stopped_processes=3),
        "timeout(hard)",
        "Timed out after 1.5 s; needed SIGKILL, 3 processes ended.",
    ),
    Rule(
        asked("cancel", by="anna", stopped_processes=1),
        "cancelled(anna)",
        "Cancelled by anna; stopped when asked, 1 process ended.",
    ),
    Rule(
        asked("memory", limit=512 * MIB, peak_rss=530 * MIB),
        "oom(limit)",
        "Out of memory: its processes held 530 MiB, the limit is 512 MiB; stopped by Holdfast, "
        "neighbours unharmed.",
    ),
    Rule(
        asked("deploy"),
        "released(deploy)",
        "Given back because its worker stopped.",
    ),
    Rule(
        asked("busy"),
        "released(busy)",
        "Given back before it began: no executor of its worker was free.",
    ),
    Rule(
        asked("neighbour"),
        "released(neighbour)",
        "Given back unharmed: its executor had to be killed for another attempt in it.",
    ),
    Rule(asked("fenced"), "fenced", "Stopped because another worker owns the run by now."),
    Rule(
        died("process gone"),
        "worker_died(supervisor killed)",
        "Its worker on lathe was killed: the supervisor process is gone.",
    ),
    Rule(
        died("host rebooted"),
        "host_rebooted",
        "Its host lathe was rebooted: the boot id has changed.",
    ),
    Rule(
        died("stopped"),
        "worker_died(stopped)",
        "Its worker on lathe was stopped for a whole lease, by SIGSTOP or by a debugger.",
    ),
    Rule(
        died("cut off"),
        "worker_died(cut off)",
        "Its worker on lathe runs and yet gave no sign of life for a whole lease: it hangs, or the "
        "store cannot be reached from there.",
        "likely",
    ),
    Rule(
        died("silent"),
        "worker_died(silent)",
        "Its worker on lathe fell silent for a whole lease, others there did not: it hangs, was "
        "stopped, or cannot reach the store.",
        "likely",
    ),
    Rule(
        died("host silent"),
        "worker_died(host unreachable)",
        "All workers on lathe fell silent for a whole lease: the host is down, or cut off from the "
        "store.",
        "likely",
    ),
    Rule(
        Evidence(asked=Asked("hung_up")),
        "crash(hung up)",
        "Its executor was ended: the task closed the descriptors that join it to its supervisor.",
    ),
    Rule(
        died("unknown claim"),
        "orphan_claim",
        "Its worker on lathe never learned that it held this attempt: the answer of the store to "
        "the claim was lost.",
    ),
    Rule(
        Evidence(start_failed="the program 'nope' was not found."),
        "start_failed",
        "Could not start: the program 'nope' was not found.",
    ),
    Rule(
        Evidence(raised=Raised("ValueError", "no such user: 7\nmore", "Traceback …")),
        "error",
        "Raised ValueError: no such user: 7",
    ),
    Rule(
        Evidence(
            raised=Raised("OSError", "[Errno 28] No space left on device", "", "/data (ext4)")
        ),
        "disk_full",
        "No space left on /data (ext4): raised OSError: [Errno 28] No space left on device",
    ),
    Rule(
        Evidence(known_tasks=["shop.mail", "shop.pack"]),
        "no_handler",
        "Given back before it began: the code of its worker has changed, and no executor knows the "
        "task any more; they know shop.mail, shop.pack.",
    ),
    Rule(Evidence(snooze=90.0), "snoozed", "Asked to run again in 1 min 30 s."),
    Rule(Evidence(raised=Raised("KeyboardInterrupt", "", "")), "error", "Raised KeyboardInterrupt"),
    Rule(
        out_of_memory("cgroup", "cgroup", limit=60 * MIB, peak=60 * MIB),
        "oom(cgroup)",
        "Out of memory: limit 60.0 MiB, peak 60.0 MiB; killed by the kernel in its own cgroup; "
        "neighbours unharmed.",
    ),
    Rule(
        out_of_memory("container", "kernel log", limit=512 * MIB, peak=480 * MIB),
        "oom(container)",
        "Out of memory: the cgroup around its worker was at its limit of 512 MiB, and the kernel "
        "killed its executor, which held up to 480 MiB.",
    ),
    Rule(
        out_of_memory("host", "cgroup", of="command"),
        "oom(host)",
        "Out of memory: the host had no more, and the kernel killed a process of it.",
    ),
    Rule(
        out_of_memory("host", "count", peak=480 * MIB),
        "oom(host)",
        "Out of memory most likely: its executor, which held up to 480 MiB, got SIGKILL when the "
        "kernel's count of such kills on this host grew by 1.",
        "likely",
    ),
    Rule(
        out_of_memory("container", "count", limit=512 * MIB),
        "oom(container)",
        "Out of memory most likely: its executor got SIGKILL when the kernel's count of such kills "
        "on this host grew by 1, and the cgroup around its worker was at its limit of 512 MiB.",
        "likely",
    ),
    Rule(
        Evidence(signal=signal.SIGKILL),
        "signal(SIGKILL)",
        "Its executor was killed by SIGKILL, not for lack of memory; Linux does not tell who sent "
        "it.",
    ),
    Rule(
        Evidence(signal=signal.SIGTERM, of="command"),
        "signal(SIGTERM)",
        "Its command was killed by SIGTERM; Linux does not tell who sent it.",
    ),
    Rule(
        Evidence(signal=signal.SIGSEGV, peak_rss=200_000),
        "crash(SIGSEGV)",
        "Its executor crashed with SIGSEGV; peak memory 195 KiB.",
    ),
    Rule(
        Evidence(signal=99),
        "signal(signal 99)",
        "Its executor was killed by signal 99; Linux does not tell who sent it.",
    ),
    Rule(Evidence(exit_code=3, of="command"), "exit(3)", "Its command ended with exit code 3."),
    Rule(
        Evidence(exit_code=0),
        "exit(0)",
        "Its executor ended with exit code 0 in the middle of the attempt.",
    ),
    Rule(
        Evidence(),
        "crash(silent)",
        "Its executor closed the connection to its supervisor and said nothing more.",
        "likely",
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.verdict)
def test_the_evidence_is_told_in_one_sentence(rule):
    certificate = judge(rule.evidence)

    assert rule.sentence == certificate.sentence
    assert rule.verdict == certificate.verdict
    assert rule.confidence == certificate.confidence


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.verdict)
def test_the_evidence_stays_under_the_sentence_and_survives_being_stored(rule):
    certificate = judge(rule.evidence)

    assert rule.evidence == certificate.evidence
    stored = msgspec.json.encode(certificate)
    assert certificate == msgspec.json.decode(stored, type=Certificate)


@pytest.mark.parametrize(
    ("kind", "name"), [(Asked, "reason"), (WorkerDeath, "cause")], ids=["asked", "worker death"]
)
def test_every_reason_and_every_cause_has_its_sentence(kind, name):
    annotation = next(f.type for f in msgspec.structs.fields(kind) if f.name == name)
    told = {getattr(rule.evidence.asked or rule.evidence.worker_death, name, "") for rule in RULES}

    assert set(get_args(annotation)) <= told


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"])
def test_a_signal_that_a_program_brings_on_itself_is_a_crash(name):
    assert f"crash({name})" == judge(Evidence(signal=signal.Signals[name])).verdict


def test_what_holdfast_asked_for_explains_more_than_the_signal_that_followed():
    evidence = asked("cancel", by="anna", signal=signal.SIGKILL, needed_kill=True, exit_code=1)

    assert "cancelled(anna)" == judge(evidence).verdict


def test_a_dead_worker_explains_more_than_anything_seen_of_its_attempt():
    evidence = msgspec.structs.replace(died("silent"), exit_code=1)

    assert "worker_died(silent)" == judge(evidence).verdict


def test_an_exception_explains_more_than_the_exit_code_that_followed():
    evidence = Evidence(raised=Raised("OSError", "disk full", ""), exit_code=1)

    assert "error" == judge(evidence).verdict
