from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.factories import a_worker
from holdfast.cli import checks, errors
from holdfast.core.config import WorkerSettings
from holdfast.worker import cgroup
from holdfast.worker.disk import mount_of

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
30 22 0:40 / /srv rw - nfs4 server:/srv rw
31 30 8:2 / /srv/local\040disk rw - xfs /dev/sdb rw
"""


def findings(holdfast, *arguments):
    done = holdfast("check", "--json", *arguments)
    found = {}
    for finding in json.loads(done.stdout):
        found.setdefault(finding["level"], []).append(finding["sentence"])
    return done.exit_code, found


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/holdfast", "ext4"),
        ("/srv/holdfast", "nfs4"),
        ("/srv/local disk/holdfast", "xfs"),
        ("/srvice", "ext4"),
    ],
)
def test_the_closest_mount_tells_the_file_system(folder, kind):
    assert kind == mount_of(Path(folder), MOUNTS)[1]


def test_a_sound_store_is_found_sound(live, holdfast):
    a_worker(live)

    code, found = findings(holdfast)

    assert errors.OK == code
    assert "error" not in found
    assert any("journal mode wal, synchronous full" in line for line in found["ok"])
    assert any("Workers that are up: 1, on lathe" in line for line in found["ok"])


def test_who_holds_memory_limits_is_said(live, holdfast):
    place = cgroup.find()
    assert not place.why_not

    _, found = findings(holdfast)

    assert f"Memory limits are held by the kernel: {place.limits}, {place.memory}." in found["ok"]


def test_limits_that_can_be_overshot_are_a_warning(live, holdfast, monkeypatch):
    monkeypatch.setattr(cgroup, "find", lambda: cgroup.Place(2, "/x", why_not="no right to /x"))

    _, found = findings(holdfast)

    assert (
        "Memory limits are held by sampling, so a hungry task can overshoot: no right to /x."
    ) in found["warning"]


def test_a_missing_worker_is_a_warning(live, holdfast):
    code, found = findings(holdfast)

    assert errors.OK == code
    assert any("No worker is up" in line for line in found["warning"])


def test_a_missing_store_is_an_error(folder, holdfast):
    code, found = findings(holdfast)

    assert errors.FAILED == code
    assert "There is no store at" in found["error"][0]


def test_every_wrong_setting_is_a_finding(folder, holdfast):
    (folder / "holdfast.toml").write_text("[worker]\nexecutors = 0\nlease_seconds = 1\n")

    code, found = findings(holdfast)

    assert errors.FAILED == code
    assert 2 == len(found["error"])


def test_an_app_that_cannot_be_imported_is_an_error(live, holdfast):
    code, found = findings(holdfast, "--app", "nowhere:app")

    assert errors.FAILED == code
    assert "there is no module 'nowhere' here" in found["error"][0]


@pytest.mark.parametrize(
    ("kind", "level"),
    [("ext4", "ok"), ("nfs4", "warning"), ("overlay", "warning"), ("tmpfs", "warning")],
)
def test_file_systems_that_break_promises_are_named(kind, level, monkeypatch):
    monkeypatch.setattr(checks, "file_system_of", lambda *_: kind)

    (finding,) = checks.check_file_system("store", Path("/"))

    assert level == finding.level


@pytest.mark.parametrize(
    ("free", "level"), [(1 << 40, "ok"), (500 << 20, "warning"), (1 << 20, "error")]
)
def test_a_disk_that_fills_up_is_told(free, level, monkeypatch, tmp_path):
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage)

    (finding,) = checks.check_space("store", tmp_path)

    assert level == finding.level


@pytest.mark.parametrize(
    ("found", "level"), [(("wal", 2), "ok"), (("wal", 1), "error"), (("delete", 2), "error")]
)
def test_a_store_that_can_lose_runs_is_an_error(found, level, store, monkeypatch):
    monkeypatch.setattr(store, "durability", lambda: store.database.dialect.durability(*found))

    (finding,) = checks.check_durability(store)

    assert level == finding.level


@pytest.mark.parametrize(
    ("settings", "level", "words"),
    [
        ({}, "ok", "may hold 10.0 GiB; of 64.0 MiB that are free on its disk, 16.0 MiB are kept"),
        ({"spool_keep_free_bytes": 100 << 20}, "warning", "who writes much is slowed down"),
        ({"spool_keep_free_bytes": 1 << 30}, "error", "a worker would begin nothing"),
    ],
)
def test_what_the_spool_may_hold_is_told(disk, settings, level, words):
    *_, finding = checks.check_spool(WorkerSettings(**settings), disk("64M").path)

    assert level == finding.level
    assert words in finding.sentence


def test_a_spool_that_cannot_be_freed_is_a_warning(disk):
    found = list(checks.check_spool(WorkerSettings(), disk(kind="ramfs").path))

    assert ["ok", "warning", "ok"] == [finding.level for finding in found]
    assert "takes room there until its attempt has ended" in found[1].sentence


def test_a_spool_that_can_only_be_read_is_an_error(disk):
    made = disk()
    made.remount("ro")

    (finding,) = checks.check_spool(WorkerSettings(), made.path)

    assert "error" == finding.level
    assert "Read-only file system" in finding.sentence
