"""What a task plants in the spool hurts at most the log of this task, and that log says so."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from helpers import planting_tasks
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended_all, whole_log
from holdfast.core.ids import new_id
from holdfast.core.masking import Mask
from holdfast.core.models import Lease
from holdfast.worker.lastlines import last_lines
from holdfast.worker.output import Output
from holdfast.worker.ownership import adopt, is_left_by
from holdfast.worker.spool import (
    RECORDS,
    AttemptSpool,
    Stream,
    folder_of,
    leases_in,
    mark_end,
)
from holdfast.worker.tail import Tail

PLANTED = "something else in place of "
DAMAGED = "were damaged in the spool"
REMOVED = "removed its log from the spool"
MISSING = {
    "pipe for output": PLANTED + "1.out",
    "folder for output": PLANTED + "1.out",
    "link for output": PLANTED + "1.out",
    "device for output": PLANTED + "2.err",
    "link for records": PLANTED + "0.rec",
    "pipe for notes": DAMAGED,
    "unknown stream": DAMAGED,
    "endless record": DAMAGED,
    "record of the far future": DAMAGED,
    "no folder": REMOVED,
    "file for folder": REMOVED,
    "link for folder": REMOVED,
}
SAID = b"before\nafter\n"


@pytest.fixture(autouse=True)
def _nothing_waits():
    """A test that waits for a pipe fails instead."""

    def give_up(_number, _frame):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(4 * PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def precious(folder):
    """What belongs to others."""
    file, there = folder / "precious", folder / "precious folder"
    file.write_text("secret\n" * 400_000)
    there.mkdir(mode=0o755)
    (there / "1.out").write_text("secret\n")
    return file, there


@pytest.fixture
def planting(folder, store, monkeypatch):
    """The tasks that plant, bound to the store of this test."""
    path = shutil.copy(planting_tasks.__file__, folder / "planting_tasks.py")
    monkeypatch.setenv("HOLDFAST_STORE", store.url)
    spec = spec_from_file_location("planting_tasks", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.app.store = store
    return module


def test_what_a_task_plants_hurts_nobody_else(planting, precious, worker, store):
    one = worker(app="planting_tasks:app", executors=2)

    runs = {way: planting.plant.enqueue(way) for way in planting.WAYS}
    innocent = [planting.say.enqueue(str(number)) for number in range(20)]

    ended_all([*runs.values(), *innocent])
    for number, run in enumerate(innocent):
        assert sorted([b"%d" % number, b"to the descriptor"]) == sorted(
            whole_log(store, run).splitlines()
        )
    for way, run in runs.items():
        end = wait_until(lambda run=run: store.logs.end(Lease(run.id, 1)), within=PATIENCE)
        assert ("succeeded", way) == (run.state, way), run.record.error
        assert (MISSING.get(way) or "") in (end.missing or ""), way
        assert way in MISSING or (None, SAID) == (end.missing, run.log()), way
        assert b"secret" not in run.log(), way
    assert 0 == one.stop()
    assert_untouched(precious)


def assert_untouched(precious):
    file, there = precious
    assert "secret\n" * 400_000 == file.read_text()
    assert file.stat().st_blocks * 512 >= file.stat().st_size
    assert ["1.out"] == os.listdir(there)
    assert 0o755 == stat.S_IMODE(there.stat().st_mode)


def test_a_pipe_for_the_arguments_of_the_next_attempt_holds_up_nobody(planting, worker):
    worker(app="planting_tasks:app", executors=1)

    run = planting.length_at_last.using(retries=1).enqueue("漢" * 100_000)

    assert 100_000 == run.result(PATIENCE)


def test_another_worker_takes_over_what_can_be_taken_over(
    planting, precious, worker, store, folder
):
    dead = worker(app="planting_tasks:app", executors=1)
    dead.kill()
    left = folder / "spool" / dead.worker_id
    wait_until(lambda: not dead.executors(), within=PATIENCE)
    lease = Lease(new_id(), 1)
    AttemptSpool(left, lease).write(Stream.OUT, b"left behind\n")
    (left / f"{new_id()}.1").symlink_to(precious[1])

    worker(app="planting_tasks:app", executors=1)

    wait_until(lambda: store.logs.end(lease), within=PATIENCE)
    assert b"left behind\n" == b"".join(chunk.data for chunk in store.logs.iterate(lease))
    assert_untouched(precious)


# Each part by itself


@pytest.fixture
def lease():
    return Lease(new_id(), 1)


def plant_pipe(path):
    os.mkfifo(path)


def plant_device(path):
    path.symlink_to("/dev/zero")


def plant_folder(path):
    path.mkdir()
    (path / "inside").touch()


def plant_loop(path):
    path.symlink_to(path)


PLANTS = [plant_pipe, plant_device, plant_folder, plant_loop]


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("name", [RECORDS, "1.out", "2.err"])
def test_the_last_lines_are_those_of_files(tmp_path, lease, plant, name):
    spool = AttemptSpool(tmp_path, lease)
    spool.write(Stream.OUT, b"said\n")
    (spool.folder / name).unlink(missing_ok=True)
    plant(spool.folder / name)

    assert last_lines(tmp_path, lease, Mask()) == ([] if name == RECORDS else ["said"])


def test_false_records_hide_no_last_line(tmp_path, lease):
    spool = AttemptSpool(tmp_path, lease)
    spool.write(Stream.OUT, planting_tasks.record(1, 1 << 30) + b"\n")
    spool.write(Stream.OUT, b"the last one\n")

    assert "the last one" == last_lines(tmp_path, lease, Mask())[-1]


@pytest.mark.parametrize("plant", PLANTS)
def test_a_lock_that_is_no_file_is_nobodys(tmp_path, plant):
    folder = tmp_path / new_id()
    folder.mkdir()
    plant(folder / "lock")

    assert not is_left_by({"sqlite:///x"}, folder)


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("name", ["1.out", "2.err"])
def test_output_is_kept_where_something_was_planted(tmp_path, lease, plant, name):
    output = Output.make()
    output.belong_to(lease)
    folder_of(tmp_path, lease).mkdir()
    plant(folder_of(tmp_path, lease) / name)
    os.write(output.write_end(int(name[0])), b"written")

    with output.moving():
        output.pour_all(tmp_path)

    assert b"written" == (folder_of(tmp_path, lease) / name).read_bytes()


@pytest.mark.parametrize("plant", PLANTS)
def test_an_adopted_log_takes_the_place_of_what_was_planted(tmp_path, lease, plant):
    mine, left = tmp_path / "mine", tmp_path / "left"
    mine.mkdir()
    AttemptSpool(left, lease).write(Stream.OUT, b"said\n")
    plant(folder_of(mine, lease))

    assert [lease] == adopt(mine, left)
    assert ["said"] == last_lines(mine, lease, Mask())
    assert not left.exists()


@pytest.mark.parametrize("plant", [plant_pipe, plant_device, plant_loop])
def test_what_is_no_folder_is_no_log_and_keeps_its_mode(tmp_path, lease, plant):
    plant(folder_of(tmp_path, lease))

    assert not mark_end(tmp_path, lease)
    assert [] == list(leases_in(tmp_path))
    assert 0o666 == stat.S_IMODE(Path("/dev/zero").stat().st_mode)


@pytest.mark.parametrize(
    "noted", [b"\xff\xfe", b"1 2\n-4 -5 6\n7\n", b"9" * 5000 + b" 1 1\n", b"0 18 5\n"]
)
def test_notes_on_holes_that_a_task_has_written_break_nothing(store, tmp_path, lease, noted):
    spool = AttemptSpool(tmp_path, lease)
    spool.write(Stream.OUT, b"said\n")
    (spool.folder / "holes").write_bytes(noted)

    tail = Tail(lease, spool.folder, store.logs.position(lease), Mask())

    assert tail.look()
    assert (noted == b"0 18 5\n") == ("18 bytes" in (tail.missing() or ""))
