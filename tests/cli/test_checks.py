from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.factories import a_worker
from holdfast.cli import checks, errors

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
    assert kind == checks.file_system_of(Path(folder), MOUNTS)


def test_a_sound_store_is_found_sound(live, holdfast):
    a_worker(live)

    code, found = findings(holdfast)

    assert errors.OK == code
    assert "error" not in found
    assert any("journal mode wal, synchronous full" in line for line in found["ok"])
    assert any("Workers that are up: 1, on lathe" in line for line in found["ok"])


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
    ("settings", "level"), [(("wal", "normal"), "error"), (("delete", "full"), "error")]
)
def test_a_store_that_can_lose_runs_is_an_error(settings, level, store, monkeypatch):
    monkeypatch.setattr(store, "durability", lambda: settings)

    (finding,) = checks.check_durability(store)

    assert level == finding.level
