"""Secrets: they are on no disk but that of the spool, and nothing else is lost for it."""

from __future__ import annotations

import base64
import os
import random
import re
import signal
import subprocess
import sys
import zlib

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.databases import settings_for
from helpers.shipping import Bench
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, certificate, ended, send, whole_log
from holdfast.core.config import RetentionSettings
from holdfast.core.masking import Mask
from holdfast.core.models import Lease, Stream
from holdfast.store import open_store
from holdfast.worker import tail
from holdfast.worker.secrets import SECRETS, note
from holdfast.worker.shipper import WINDOW, ShipperSetup
from holdfast.worker.spool import ERR, OUT, AttemptSpool, mark_end
from holdfast.worker.tail import HOLD_SECONDS

PASSWORD = "tr0ub4dor_and_3"


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path, secrets=[PASSWORD, "abcabcabd"])
    yield bench
    bench.store.close()


# Shipping


def test_a_secret_in_several_writes_is_masked(bench):
    for part in ("it is ", *PASSWORD, "\n"):
        bench.attempt.write(Stream.OUT, part.encode())
    bench.append(OUT, PASSWORD[:5].encode())
    bench.ship()
    bench.append(OUT, f"{PASSWORD[5:]}!\n".encode())

    bench.end()

    assert b"it is ***\n***!\n" == bench.stored()


def test_a_secret_is_masked_although_another_stream_writes_in_the_middle_of_it(bench):
    bench.attempt.write(Stream.OUT, b"a " + PASSWORD[:4].encode())
    bench.attempt.write(Stream.LOG, b"meanwhile\n")
    bench.attempt.write(Stream.ERR, b"error " + PASSWORD[:7].encode())
    bench.attempt.write(Stream.OUT, PASSWORD[4:].encode() + b" b\n")
    bench.attempt.write(Stream.ERR, PASSWORD[7:].encode() + b"\n")

    bench.end()

    assert b"a ***meanwhile\nerror *** b\n\n" == bench.stored()
    assert b"a *** b\n" == bench.stored(Stream.OUT)


def test_what_may_be_half_a_secret_waits_for_the_rest_but_not_for_long(bench):
    bench.append(OUT, b"prompt: " + PASSWORD[:4].encode())
    bench.ship()
    assert b"prompt: " == bench.stored()
    bench.ship(after=HOLD_SECONDS - 0.1)
    assert b"prompt: " == bench.stored()

    bench.ship(after=0.1)

    assert b"prompt: tr0u" == bench.stored()


def test_records_wait_no_longer_than_that_either_and_keep_their_order(bench):
    bench.attempt.write(Stream.OUT, PASSWORD[:4].encode())
    bench.attempt.write(Stream.LOG, b"one\n")
    bench.attempt.write(Stream.ERR, PASSWORD[:7].encode())
    bench.ship()
    assert b"" == bench.stored()
    bench.clock.advance(HOLD_SECONDS)
    bench.attempt.write(Stream.LOG, b"two\n")
    bench.ship()
    assert b"tr0uone\n" == bench.stored()
    bench.attempt.write(Stream.ERR, PASSWORD[7:].encode())

    bench.ship()

    assert b"tr0uone\n***two\n" == bench.stored()


def test_a_flood_is_not_held_up_by_half_a_secret(bench):
    bench.attempt.write(Stream.OUT, PASSWORD[:4].encode())
    for _ in range(WINDOW // 100):
        bench.attempt.write(Stream.LOG, b"x" * 99 + b"\n")

    bench.shipper.run_once()

    assert bench.stored().startswith(b"tr0uxxx")


def test_the_end_of_a_log_is_not_held_back(bench):
    bench.append(OUT, PASSWORD[:-1].encode())
    bench.attempt.write(Stream.OUT, PASSWORD[:-1].encode())

    end = bench.end()

    assert 2 * len(PASSWORD) - 2 == len(bench.stored()) == end.size


def test_the_record_of_the_end_is_about_the_masked_text(bench):
    bench.append(OUT, f"{PASSWORD}\n{PASSWORD}\n".encode())

    end = bench.end()

    assert (8, 2, zlib.crc32(b"***\n***\n")) == (end.size, end.lines, end.crc)


def test_a_line_of_megabytes_full_of_secrets_is_masked(bench):
    bench.append(ERR, f"x{PASSWORD}".encode() * 100_000)

    bench.end()

    assert b"x***" * 100_000 == bench.stored()


def test_a_line_that_is_one_secret_without_an_end_comes_out_all_the_same(bench):
    bench.append(OUT, b"abcabc" * 50_000)
    bench.append(OUT, b"\nafter\n")

    bench.end()

    assert bench.stored().endswith(b"\nafter\n")


def test_what_an_attempt_names_is_masked_from_then_on_and_only_for_it(bench):
    bench.attempt.write(Stream.OUT, b"swordfish\n")
    bench.ship()
    bench.attempt.name_secret("swordfish")
    bench.attempt.write(Stream.OUT, f"swordfish {PASSWORD}\n".encode())
    other = AttemptSpool(bench.spool, Lease(bench.lease.run_id, 2))
    other.write(Stream.OUT, b"swordfish\n")

    bench.end()
    bench.ship()

    assert b"swordfish\n*** ***\n" == bench.stored()
    assert b"swordfish\n" == b"".join(c.data for c in bench.store.logs.iterate(other.lease))
    assert not bench.folder.exists()


def test_the_file_of_named_secrets_is_private_and_may_end_in_the_middle(bench):
    bench.attempt.name_secret("swordfish\nand chips\n")
    path = bench.folder / SECRETS
    assert 0o600 == path.stat().st_mode & 0o777
    with path.open("ab") as file:
        file.write(b"not hexadecimal\n" + b"half a name".hex().encode())
    bench.attempt.write(Stream.OUT, b"swordfish\nand chips half a name\n")

    bench.end()

    assert b"***\n*** half a name\n" == bench.stored()


@pytest.mark.parametrize("planted", ["link", "pipe", "folder", "flood"])
def test_what_a_task_plants_there_holds_up_no_log(bench, planted):
    path = bench.folder / SECRETS
    bench.attempt.write(Stream.OUT, f"{PASSWORD}\n".encode())
    if planted == "link":
        path.symlink_to("/dev/zero")
    elif planted == "pipe":
        os.mkfifo(path)
    elif planted == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"".join(note(f"value {n}") for n in range(100_000)))

    bench.end()

    assert b"***\n" == bench.stored()


PIECES = st.lists(
    st.tuples(
        st.sampled_from(["out", "err", "print", "log", "stderr", "kill", "ship"]),
        st.sampled_from([b"abc", b"abcab", b"abd", b"d", b"x\n", b"\n", b"ab" * 40, b"abcabcabd"]),
    ),
    max_size=40,
)
STREAMS = {"print": Stream.OUT, "log": Stream.LOG, "stderr": Stream.ERR}


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES)
def test_the_log_is_the_masked_output_however_often_the_shipper_dies(
    tmp_path_factory, monkeypatch, pieces
):
    monkeypatch.setattr(tail, "HOLD_SECONDS", 1e9)
    bench = Bench(tmp_path_factory.mktemp("bench"), secrets=["abcabcabd"])
    written = {}
    for kind, data in pieces:
        if kind == "kill":
            bench.shipper = bench.new_shipper()
        elif kind == "ship":
            bench.ship()
        elif kind in ("out", "err"):
            bench.append(OUT if kind == "out" else ERR, data)
            key = (1, Stream.OUT) if kind == "out" else (2, Stream.ERR)
            written[key] = written.get(key, b"") + data
        else:
            bench.attempt.write(STREAMS[kind], data)
            key = (0, STREAMS[kind])
            written[key] = written.get(key, b"") + data
    bench.attempt.close()
    bench.folder.mkdir(exist_ok=True)

    bench.end()
    chunks = list(bench.store.logs.iterate(bench.lease))

    mask = Mask(["abcabcabd"])
    for (source, stream), data in written.items():
        found = b"".join(c.data for c in chunks if (c.source, c.stream) == (source, stream))
        assert mask.apply(data) == found
    bench.store.close()


def test_a_shipper_that_is_killed_again_and_again_masks_every_byte_the_same_way(tmp_path):
    """The real process, on a spool of megabytes, with SIGKILL at any moment."""
    store = open_store(settings_for(tmp_path))
    store.prepare()
    spool, lease = tmp_path / "spool", Lease("01a1fe00-0000-7000-8000-000000000001", 1)
    attempt = AttemptSpool(spool, lease)
    pieces = [b"line\n", b"abc", b"abcab", b"d\n", b"abcabcabd", PASSWORD.encode()[:6]]
    pieces += [PASSWORD.encode(), b"x" * 3000, b"\n"]
    written = {stream: bytearray() for stream in Stream}
    for _ in range(30_000):
        stream, data = random.choice(list(Stream)), random.choice(pieces)
        attempt.write(stream, data)
        written[stream] += data
    attempt.name_secret("abcabcabd")
    attempt.close()
    mark_end(spool, lease)
    setup = ShipperSetup(settings_for(tmp_path), str(spool), RetentionSettings(), ("TEST_PW",))
    line = msgspec.json.encode(setup) + b"\n"
    kills = 0
    while store.logs.end(lease) is None:
        size = store.logs.position(lease).size
        with subprocess.Popen(
            [sys.executable, "-m", "holdfast.worker.shipper"],
            stdin=subprocess.PIPE,
            env={"TEST_PW": PASSWORD},
        ) as process:
            process.stdin.write(line)
            process.stdin.flush()
            more = random.randrange(1, 500_000)
            wait_until(lambda: arrived(store, lease, size + more), within=PATIENCE)  # noqa: B023
            process.send_signal(signal.SIGKILL)
            kills += 1

    mask = Mask([PASSWORD, "abcabcabd"])
    chunks = list(store.logs.iterate(lease))
    for stream, data in written.items():
        found = b"".join(chunk.data for chunk in chunks if chunk.stream == stream)
        assert zlib.crc32(mask.apply(bytes(data))) == zlib.crc32(found)
    assert kills > 2
    store.close()


def arrived(store, lease, size):
    return store.logs.position(lease).size >= size or store.logs.end(lease)


# Real workers


def files_of(store):
    """All bytes of the files of a store, and of the worker's own words."""
    folder = store.database.dialect.path.parent
    names = [*folder.glob("holdfast*.db*"), *folder.glob("worker-*.stderr")]
    return b"".join(path.read_bytes() for path in names if path.is_file())


@pytest.mark.parametrize("how", ["return", "raise", "die", "hang"])
def test_a_secret_that_a_task_names_is_nowhere_in_the_store(worker, tasks, store, how):
    worker(executors=1)
    let_out = tasks.let_out.using(timeout=2 if how == "hang" else None, crashes=0)

    run = let_out.enqueue(PASSWORD[::-1], how)
    state = ended(run, within=60).state

    log = whole_log(store, run)
    assert {"return": "succeeded", "die": "quarantined"}.get(how, "failed") == state
    for text in (
        b"the password is ***\n",
        b"logged ***",
        b"said ***",
        b"written ***",
        b"child ***",
    ):
        assert text in log
    assert log.count(b"***") >= 6
    assert PASSWORD.encode() not in files_of(store)
    assert PASSWORD.encode()[:8] not in files_of(store)
    if how != "return":
        assert "***" in str(certificate(run))


@pytest.mark.parametrize(
    ("script", "form"),
    [
        ('echo "it is $SHOP_PASSWORD"', r"it is \*\*\*\n"),
        ('printf "%s" "$SHOP_PASSWORD" | base64', r"\*\*\*\n"),
        ('printf "u:%s." "$SHOP_PASSWORD" | base64', r".{1,4}\*\*\*.{1,4}\n"),
        ('echo "$SHOP_KEY"', r"\*\*\*\n\*\*\*\n\*\*\*\n"),
        ('echo "$SHOP_PASSWORD" >&2; exit 3', r"\*\*\*\n"),
    ],
)
def test_the_values_of_variables_are_masked(worker, tasks, store, monkeypatch, script, form):
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    monkeypatch.setenv("SHOP_KEY", "first line\nsecond line\nthird line")
    monkeypatch.setenv("HOLDFAST_SECRETS", "SHOP_*, DB_PASSWORD")
    here = worker(executors=1)

    run = tasks.app.run_command(["sh", "-c", script])
    ended(run)

    log = whole_log(store, run).decode()
    assert re.fullmatch(form, log)
    said = [event["message"] for event in here.events("SettingIgnored")]
    assert ["secrets: there is no variable DB_PASSWORD"] == said
    content = files_of(store)
    for secret in (PASSWORD.encode(), base64.b64encode(PASSWORD.encode()), b"second line"):
        assert secret not in content


def test_a_value_that_is_too_short_is_not_masked_and_the_log_says_so(worker, tasks, store):
    worker(executors=1)

    run = tasks.name_too_short.enqueue()
    ended(run)

    log = whole_log(store, run)
    assert b"is not masked: it has fewer than 6 bytes\nit is 12345\n" in log


def test_the_last_lines_of_an_attempt_whose_worker_died_are_masked(
    worker, tasks, store, monkeypatch
):
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    monkeypatch.setenv("HOLDFAST_SECRETS", "SHOP_PASSWORD")
    here = worker(executors=1)
    run = tasks.app.run_command(["sh", "-c", 'echo "it is $SHOP_PASSWORD"; exec sleep 1000'])
    wait_until(lambda: b"***" in run.log(1), within=PATIENCE)

    send([here.pid], signal.SIGKILL)
    worker(executors=1)

    wait_until(lambda: run.attempts, within=PATIENCE)
    assert ["it is ***"] == certificate(run, 0).evidence.last_lines
    assert PASSWORD.encode() not in files_of(store)
    run.cancel()
