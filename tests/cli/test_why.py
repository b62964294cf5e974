from __future__ import annotations

import msgspec
import pytest

from helpers.factories import a_run, a_worker, claim, claim_one, declare_dead, enqueue, settle
from holdfast.core.clock import SECOND
from holdfast.core.models import TaskOptions, WorkerState
from holdfast.core.retry import Retry
from holdfast.core.states import AttemptOutcome, RunState
from holdfast.core.verdict import Asked, Evidence, OutOfMemory, Raised, WorkerDeath, judge
from holdfast.why import evidence_lines, explain


@pytest.fixture
def why(store):
    """The explanation of a run as it stands now."""
    return lambda run_id: explain(store, store.runs.get(run_id))


def in_seconds(store, seconds):
    return store.database.clock.now() + seconds * SECOND


def certificate(**evidence):
    return msgspec.json.encode(judge(Evidence(**evidence))).decode()


def tried(store, run_id, outcome, **changes):
    """Let an attempt end so that the run waits for a minute."""
    worker_id = a_worker(store)
    changes = {"state": RunState.SCHEDULED, "due_at": in_seconds(store, 60), **changes}
    settle(store, worker_id, claim_one(store, worker_id), outcome, **changes)
    return worker_id


# Runs that wait


def test_a_run_for_later_says_when_it_is_due(store, why):
    run_id = enqueue(store, due_at=in_seconds(store, 90))

    sentence = why(run_id).sentence

    assert "not due before" in sentence
    assert "in 1 min 30 s: it was enqueued to run then" in sentence


def test_a_retry_says_after_which_failure_it_waits_and_shows_it(store, why):
    options = msgspec.json.encode(TaskOptions(retries=Retry(5))).decode()
    run_id = enqueue(store, options=options)
    failed = certificate(raised=Raised("ValueError", "no such user", ""))
    tried(store, run_id, AttemptOutcome.FAILED, failures=2, certificate=failed)

    explanation = why(run_id)

    assert "not due before" in explanation.sentence
    assert "retry 2 of 5 after a failure" in explanation.sentence
    assert "Raised ValueError: no such user" in explanation.evidence[0]


def test_a_snoozed_run_says_that_its_task_asked_for_it(store, why):
    run_id = enqueue(store)
    tried(store, run_id, AttemptOutcome.SNOOZED)

    assert "its task asked in attempt 1 to run later" in why(run_id).sentence


def test_a_run_that_waits_after_a_crash_says_how_many_are_allowed(store, why):
    run_id = enqueue(store)
    tried(store, run_id, AttemptOutcome.CRASHED, crashes=2)

    assert "after crash 2; 2 are allowed" in why(run_id).sentence


def test_a_run_that_is_due_waits_like_a_queued_one(store, why):
    run_id = enqueue(store, due_at=in_seconds(store, 90))
    store.database.clock.advance(100)

    assert "no worker is up" in why(run_id).sentence


def test_a_paused_queue_says_by_whom_since_when_and_why(store, why):
    run_id = enqueue(store, queue="mail")
    store.queues.pause("mail", by="ann", reason="provider is down")
    store.database.clock.advance(120)

    sentence = why(run_id).sentence

    assert "queue 'mail' was paused by ann, 2 min ago: provider is down." in sentence


def test_a_busy_concurrency_key_says_how_busy_and_with_which_runs(store, why):
    worker_id = a_worker(store)
    keyed = {"concurrency_key": "user:7", "concurrency_limit": 2}
    holders = [enqueue(store, **keyed) for _ in range(2)]
    run_id = enqueue(store, **keyed)
    claim(store, worker_id, 3)

    explanation = why(run_id)

    assert "'user:7' is busy: 2 of 2 slots are taken" in explanation.sentence
    assert [f"slot taken by run {holder}" for holder in holders] == explanation.evidence


def test_a_free_slot_of_the_key_is_no_reason_to_wait(store, why):
    run_id = enqueue(store, concurrency_key="user:7")

    assert "no worker is up" in why(run_id).sentence


def test_no_worker_at_all_is_said(store, why):
    assert "no worker is up" in why(enqueue(store)).sentence


def test_a_worker_that_drains_is_no_worker_that_is_up(store, why):
    run_id = enqueue(store)
    store.workers.set_state(a_worker(store), WorkerState.DRAINING)

    explanation = why(run_id)

    assert "no worker is up" in explanation.sentence
    assert "draining" in explanation.evidence[0]


def test_workers_that_fell_silent_are_told_from_workers_that_are_up(store, why):
    run_id = enqueue(store)
    a_worker(store)
    store.database.clock.advance(300)

    assert "no worker gives a sign of life: the last one came from lathe, 5 min ago" in (
        why(run_id).sentence
    )


def test_a_queue_that_no_worker_serves_is_said(store, why):
    run_id = enqueue(store, queue="mail")
    a_worker(store, queues='["reports"]')

    explanation = why(run_id)

    assert "no worker that is up serves queue 'mail'" in explanation.sentence
    assert "queues reports" in explanation.evidence[0]


def test_a_task_that_no_worker_knows_is_said(store, why):
    run_id = enqueue(store, task="shop.pack")
    a_worker(store)

    assert "no worker that is up knows task 'shop.pack'" in why(run_id).sentence


def test_queue_and_task_served_by_different_workers_are_not_enough(store, why):
    run_id = enqueue(store, task="shop.pack", queue="mail")
    a_worker(store, queues='["mail"]')
    a_worker(store, tasks=["shop.pack"], queues='["reports"]')

    assert "both serves queue 'mail' and knows task 'shop.pack'" in why(run_id).sentence


def test_a_run_that_only_workers_in_trouble_could_take_says_which_trouble(store, why):
    first, second = a_worker(store), a_worker(store)
    run_id = enqueue(store)
    store.workers.set_trouble(first, "its disk is full")
    assert "free executor" in why(run_id).sentence

    store.workers.set_trouble(second, "its disk is full")

    assert "its worker on lathe takes no new runs: its disk is full." in why(run_id).sentence
    assert why(run_id).evidence[0].endswith("takes no new runs: its disk is full")


@pytest.mark.parametrize(
    ("others", "words"), [(0, "0 runs are ahead"), (1, "1 run is ahead"), (3, "3 runs are ahead")]
)
def test_otherwise_a_run_says_how_many_are_ahead_of_it(others, words, store, why):
    a_worker(store)
    for _ in range(others):
        enqueue(store)

    sentence = why(enqueue(store)).sentence

    assert "waits for a free executor" in sentence
    assert words in sentence


# Runs that run


def test_a_running_run_says_where_and_since_when(store, why):
    run_id, claimed = a_run(store, "running")
    store.leases.set_progress({claimed.lease: '{"done": 3, "total": 10, "text": "pages"}'})
    store.database.clock.advance(20)

    explanation = why(run_id)

    assert "Attempt 1 runs on lathe since" in explanation.sentence
    assert "20 s ago" in explanation.sentence
    assert "progress: 3 of 10 (pages)" in explanation.evidence


def test_a_running_run_that_stands_still_says_why(store, why):
    run_id, claimed = a_run(store, "running")
    store.leases.set_paused({claimed.lease: "the disk has 1.0 GiB free"})

    expected = "is paused until there is room for what it writes: the disk has 1.0 GiB free."
    assert why(run_id).sentence.endswith(expected)


def test_a_running_run_says_who_cancelled_it(store, why):
    run_id, _ = a_run(store, "running")
    store.runs.cancel(run_id, by="ann")

    assert "is being stopped, because ann cancelled it" in why(run_id).sentence


def test_a_running_run_says_that_its_worker_is_silent(store, why):
    run_id, _ = a_run(store, "running")
    store.database.clock.advance(120)

    assert "its worker is silent: it was last seen 2 min ago" in why(run_id).sentence


def test_a_running_run_says_that_its_worker_is_dead(store, why):
    run_id, _ = a_run(store, "running")
    declare_dead(store, store.runs.get(run_id).worker_id)

    assert "its worker is dead" in why(run_id).sentence


# Runs that have ended


def test_a_run_that_succeeded_says_in_which_attempt(store, why):
    run_id, _ = a_run(store, "succeeded")

    assert "The run succeeded in attempt 1" in why(run_id).sentence


def test_a_failed_run_gives_the_certificate_and_its_evidence(store, why):
    worker_id = a_worker(store)
    run_id = enqueue(store)
    paper = certificate(
        exit_code=3, of="command", host="lathe", pid=77, last_lines=["almost", "oops"]
    )
    settle(store, worker_id, claim_one(store, worker_id), "failed", certificate=paper)

    explanation = why(run_id)

    assert "The run failed in attempt 1: Its command ended with exit code 3." in (
        explanation.sentence
    )
    assert {"exit code of the command: 3", "host: lathe", "pid: 77", "  oops"} <= set(
        explanation.evidence
    )


def test_a_run_cancelled_while_it_waited_gives_that_and_not_its_last_attempt(store, why):
    run_id = enqueue(store)
    tried(store, run_id, AttemptOutcome.FAILED, failures=1)
    store.runs.cancel(run_id, by="ann")

    assert "Cancelled by ann" in why(run_id).sentence


def test_a_run_cancelled_before_its_first_attempt_says_so(store, why):
    run_id = enqueue(store)
    store.runs.cancel(run_id, by="ann")

    assert "Cancelled by ann before it started." == why(run_id).sentence


def crash(store, **evidence):
    """Let the next attempt of the only run crash, and give the run up at the second crash."""
    worker_id = a_worker(store)
    claimed = claim_one(store, worker_id)
    judged = judge(Evidence(**evidence))
    state = RunState.QUARANTINED if claimed.crashes else RunState.QUEUED
    settle(
        store,
        worker_id,
        claimed,
        "crashed",
        state=state,
        crashes=claimed.crashes + 1,
        error=judged.sentence,
        certificate=certificate(**evidence),
    )


def test_a_quarantined_run_lists_the_cause_of_each_attempt_and_the_way_out(store, why):
    run_id = enqueue(store)
    crash(store, signal=11)
    crash(store, signal=6)

    explanation = why(run_id)

    assert (
        "Quarantined after 2 crashes; attempt 1: Its executor crashed with SIGSEGV; "
        "attempt 2: Its executor crashed with SIGABRT."
    ) == explanation.sentence
    assert explanation.sentence == store.runs.get(run_id).error
    assert (
        f"to release it, once its cause is mended: holdfast retry {run_id}"
        == (explanation.evidence[0])
    )
    assert "SIGSEGV" in explanation.evidence[-2]
    assert "SIGABRT" in explanation.evidence[-1]


def test_attempts_that_crashed_alike_are_named_together(store, why):
    run_id = enqueue(store)
    crash(store, signal=11)
    crash(store, signal=11)

    assert (
        "Quarantined after 2 crashes; attempts 1, 2: Its executor crashed with SIGSEGV."
    ) == why(run_id).sentence


def test_crashes_before_a_release_are_no_cause_of_the_next_quarantine(store, why):
    run_id = enqueue(store)
    crash(store, signal=11)
    crash(store, signal=11)
    store.runs.retry(run_id)
    crash(store, signal=6)
    crash(store, signal=6)

    assert (
        "Quarantined after 2 crashes; attempts 3, 4: Its executor crashed with SIGABRT."
    ) == why(run_id).sentence


def test_a_run_quarantined_for_memory_names_the_release_with_more(store, why):
    options = msgspec.json.encode(TaskOptions(memory=100 << 20)).decode()
    run_id = enqueue(store, options=options)
    crash(store, asked=Asked("memory", limit=100 << 20), peak_rss=105 << 20)
    crash(store, asked=Asked("memory", limit=100 << 20), peak_rss=110 << 20)

    assert f"to release it: holdfast retry {run_id} --memory 200MiB" == why(run_id).evidence[0]


@pytest.mark.parametrize(
    ("evidence", "line"),
    [
        ({"signal": 9}, "signal that ended the executor: 9 (SIGKILL)"),
        ({"peak_rss": 3 << 20, "memory_limit": 2 << 20}, "peak memory: 3.0 MiB, limit 2.0 MiB"),
        ({"wall_seconds": 4, "cpu_seconds": 2}, "time: 4 s, 2 s of CPU"),
        ({"asked": Asked("cancel", by="ann")}, "asked to stop: cancel, by ann"),
        ({"asked": Asked("cancel"), "needed_kill": True}, "needed SIGKILL: yes"),
        (
            {"oom": OutOfMemory("container", "cgroup", 2, 1 << 20, "/sys/fs/cgroup/a")},
            "killed for lack of memory: 2 in /sys/fs/cgroup/a, limit 1.0 MiB, known by: cgroup",
        ),
        ({"oom": OutOfMemory("host", "count")}, "killed for lack of memory: 1, known by: count"),
        ({"stopped_processes": 3}, "processes ended with it: 3"),
        ({"neighbours": 5}, "other attempts in the same executor: 5"),
        ({"worker_death": WorkerDeath("silent", "lathe", seen_by="w2")}, "its worker: silent, "),
        ({"stack": "main.py:3 in loop"}, "  main.py:3 in loop"),
        ({"raised": Raised("E", "m", "Traceback: x")}, "  Traceback: x"),
    ],
)
def test_each_piece_of_evidence_has_its_line(evidence, line):
    lines = evidence_lines(Evidence(**evidence))

    assert any(shown.startswith(line) for shown in lines), lines


def test_the_only_attempt_is_not_listed_again(store, why):
    run_id, _ = a_run(store, "succeeded")

    assert not any("attempt 1" in line for line in why(run_id).evidence)
