from __future__ import annotations

import pytest

from holdfast.core.config import WorkerSettings
from holdfast.worker.disk import Room, room_on
from holdfast.worker.gauge import Gauge, Level

GIB, MIB = 1 << 30, 1 << 20
SETTINGS = WorkerSettings(spool_max_bytes=10 * GIB, spool_keep_free_bytes=4 * GIB)


def room(free, **more):
    return Room(total=100 * GIB, free=int(free), **more)


@pytest.mark.parametrize(
    ("state", "held", "level", "words"),
    [
        (room(50 * GIB), 0, Level.FINE, ""),
        (room(50 * GIB), 10 * GIB, Level.FINE, ""),
        (room(50 * GIB), 10 * GIB + 1, Level.TIGHT, "10.0 GiB of logs that are not stored yet"),
        (room(4 * GIB), 0, Level.FINE, ""),
        (room(4 * GIB - 1), 0, Level.TIGHT, "4.0 GiB are kept free"),
        (room(1 * GIB - 1), 0, Level.CRITICAL, "too little to write on"),
        (room(50 * GIB, writable=False), 0, Level.CRITICAL, "can only be read"),
        (room(50 * GIB, inodes=10_000, inodes_free=63), 0, Level.CRITICAL, "no inodes left"),
        (room(50 * GIB, inodes=160, inodes_free=10), 0, Level.FINE, ""),
        (room(50 * GIB, inodes=0, inodes_free=0), 0, Level.FINE, ""),  # Btrfs counts none
    ],
)
def test_a_disk_is_judged_by_what_is_left_and_what_is_held(state, held, level, words):
    gauge = Gauge(SETTINGS)

    assert level is gauge.read(state, held)
    assert words in gauge.reason


def test_it_does_not_waver_around_a_limit():
    gauge = Gauge(SETTINGS)
    gauge.read(room(4 * GIB - 1), 0)

    assert Level.TIGHT is gauge.read(room(4 * GIB), 0)
    assert Level.TIGHT is gauge.read(room(4.7 * GIB), 0)
    assert Level.FINE is gauge.read(room(4.9 * GIB), 0)

    gauge.read(room(50 * GIB), 11 * GIB)
    assert Level.TIGHT is gauge.read(room(50 * GIB), 9 * GIB)
    assert Level.FINE is gauge.read(room(50 * GIB), 7 * GIB)

    gauge.read(room(GIB // 2), 0)
    assert Level.CRITICAL is gauge.read(room(1.1 * GIB), 0)
    assert Level.TIGHT is gauge.read(room(1.3 * GIB), 0)


def test_it_looks_again_before_a_flood_can_have_used_up_what_is_left():
    gauge = Gauge(SETTINGS)
    fastest = 3 * GIB  # bytes a second

    for free in (90 * GIB, 8 * GIB, 5 * GIB, 4.1 * GIB):
        gauge.read(room(free), 0)
        assert Level.FINE is gauge.level
        assert free - gauge.pause(room(free), 0) * fastest > 3.9 * GIB

    assert gauge.pause(room(90 * GIB), 0) > 0.2  # where there is much, it need not look often


@pytest.mark.parametrize(
    ("total", "kept"),
    [(2000 * GIB, 4 * GIB), (60 * GIB, 3 * GIB), (10 * GIB, GIB), (256 * MIB, 64 * MIB)],
)
def test_what_is_kept_free_fits_the_disk(total, kept):
    assert kept == WorkerSettings().keep_free(total)


def test_a_file_system_that_does_not_tell_its_size_is_never_full(disk):
    made = disk(kind="ramfs")

    assert Level.FINE is Gauge(WorkerSettings()).read(room_on(made.path), 0)
    assert Level.TIGHT is Gauge(WorkerSettings()).read(room_on(made.path), 11 * GIB)
