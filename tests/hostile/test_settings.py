"""Settings and store URLs are refused with the place they stand in, and nothing is touched."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from contextlib import closing

import pytest

from holdfast.cli import errors
from holdfast.core.config import LARGEST_FILE, StoreSettings, load
from holdfast.core.errors import ConfigError, NotAStore, StoreError
from holdfast.store import open_store

FILES = {
    "no UTF-8": (b"\xff\xfe", "cannot be read"),
    "no TOML": (b"[worker", "cannot be read"),
    "twice": (b"[worker]\nexecutors = 1\nexecutors = 2", "cannot be read"),
    "digits": (b"[worker]\nexecutors = " + b"9" * 5000, "cannot be read"),
    "deep": (b"x = " + b"[" * 20_000 + b"]" * 20_000, "nested too deep"),
    "long": (b"#" * (LARGEST_FILE + 1), "has more than 65536 bytes"),
    "truth": (b"[worker]\nexecutors = true", "worker.executors: True is not a whole number"),
    "half": (b"[worker]\nexecutors = 2.5", "worker.executors: 2.5 is not a whole number"),
    "list": (b"[worker]\nexecutors = [1]", "worker.executors: [1] is not a whole number"),
    "huge": (b"[worker]\nexecutors = 99999999999", "must be above zero, and below 1000000"),
    "date": (b"[worker]\nlease_seconds = 2026-11-21", "worker.lease_seconds="),
    "nan": (b"[worker]\nlease_seconds = nan", "worker.lease_seconds=nan"),
    "table": (b"[worker]\nqueues = {a = 1}", "worker.queues: {'a': 1} is not a list of queues"),
    "no list": (b"[worker]\nqueues = 5", "worker.queues: 5 is not a list of queues"),
    "numbers": (b"[worker]\nqueues = [1]", "worker.queues: [1] is not a list of queues"),
    "escape": (b'[worker]\nqueues = ["\\u001b[31m"]', "is not a list of queues"),
    "NUL": (b'[worker]\nspool = "a\\u0000b"', "worker.spool: 'a\\x00b' is not a text"),
    "no text": (b"app = 5", "app: 5 is not a text"),
    "no app": (b'app = "../../etc/passwd"', "app='../../etc/passwd' is not module:name"),
    "part": (b"worker = 3", "worker: unknown setting"),
    "unknown": (b"[worker]\nexecuters = 3", "did you mean worker_executors?"),
    "URL NUL": (b'[store]\nurl = "sqlite:///a\\u0000b"', "store.url: 'sqlite:///a\\x00b' is not"),
    "URL table": (b"[store.url]\nx = 1", "store.url: {'x': 1} is not a text"),
}
URLS = {
    "": "is not a URL",
    "holdfast.db": "is not a URL; write sqlite:///holdfast.db",
    "sqlite://x": "names no file",
    "sqlite:///": "names no file",
    "sqlite:///:memory:": "would be gone with its process",
    "sqlite:///x.db?mode=memory": "has options after the ?",
    "sqlite:///\udcff.db": "is not a text",
    "sqlite:///" + "x" * 300: "is too long",
    "sqlite:///" + "x/" * 3000: "is too long",
}


@pytest.mark.parametrize("kind", FILES)
def test_a_settings_file_is_refused_with_the_place_of_what_is_wrong(folder, kind):
    content, problem = FILES[kind]
    (folder / "holdfast.toml").write_bytes(content)

    with pytest.raises(ConfigError) as refused:
        load(environ={})

    assert "holdfast.toml" in str(refused.value) or "app=" in str(refused.value)
    assert problem in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_a_settings_file_that_is_none_does_not_stop_the_program(folder):
    os.mkfifo(folder / "holdfast.toml")

    with pytest.raises(ConfigError, match="is no plain file"):
        load(environ={})


def test_a_pipe_can_be_named_as_settings_file(folder):
    os.mkfifo(folder / "settings")
    writer = threading.Thread(
        target=(folder / "settings").write_text, args=["[worker]\nexecutors = 3"]
    )
    writer.start()

    assert 3 == load(folder / "settings", environ={}).worker.executors
    writer.join()


def test_an_endless_settings_file_is_refused():
    with pytest.raises(ConfigError, match="has more than 65536 bytes"):
        load("/dev/zero", environ={})


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_no_store_can_have_is_refused(folder, url):
    with pytest.raises(ConfigError) as refused:
        load(environ={"HOLDFAST_STORE": url})

    assert URLS[url] in str(refused.value)
    assert len(str(refused.value)) < 500
    assert [] == os.listdir(folder)


@pytest.mark.parametrize(
    "name", ["a b/漢字.db", "100%/%20.db", "#;'\".db", "new\nline.db", "~no-such-user/x.db"]
)
def test_a_store_may_have_any_name_that_files_have(folder, name):
    store = open_store(load(environ={}, store=f"sqlite:///{name}").store)

    with closing(store):
        store.prepare()

    assert (folder / name).is_file()


def test_a_folder_that_is_not_utf8_is_refused_in_one_sentence(folder, monkeypatch):
    strange = folder / os.fsdecode(b"\xff")
    strange.mkdir()
    monkeypatch.chdir(strange)

    with pytest.raises(ConfigError, match="lies in a folder whose name is not UTF-8"):
        load(environ={})


def make_database(path):
    """Make the database of another program, closed as it should be."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE precious (x)")
        connection.execute("INSERT INTO precious VALUES (1)")
        connection.commit()


def make_log_store(path):
    """Make a store, and take its log file for the store of runs."""
    with closing(open_store(StoreSettings(url=f"sqlite:///{path.parent}/other.db"))) as store:
        store.prepare()
    (path.parent / "other.logs.db").rename(path)


FOREIGN = {
    "another program's": (make_database, "the database of something else"),
    "our logs": (make_log_store, "the database of something else"),
    "no database": (lambda path: path.write_bytes(b"precious" * 999), "no SQLite database"),
    "folder": (lambda path: path.mkdir(), "no plain file"),
    "pipe": (os.mkfifo, "no plain file"),
    "device": (lambda path: path.symlink_to("/dev/null"), "no plain file"),
}


@pytest.mark.parametrize("kind", ["another program's", "no database"])
def test_a_command_leaves_what_is_no_store_as_it_is(call_all, folder, kind):
    make, found = FOREIGN[kind]
    make(folder / "app.db")
    before = hashlib.sha256((folder / "app.db").read_bytes()).digest()
    verbs = (["list"], ["up"], ["worker"], ["migrate"], ["run", "--", "true"])

    for said in call_all(*(["--store", f"sqlite:///{folder}/app.db", *verb] for verb in verbs)):
        assert errors.STORE == said.code
        assert f"it is {found}, and was left as it is".encode() in said.err
    assert before == hashlib.sha256((folder / "app.db").read_bytes()).digest()
    assert not list(folder.glob("app*-*"))


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ["holdfast.db", "holdfast.logs.db"])
def test_what_is_no_store_is_refused(tmp_path, kind, name):
    make, found = FOREIGN[kind]
    make(tmp_path / name)
    store = open_store(StoreSettings(url=f"sqlite:///{tmp_path}/holdfast.db", wait_seconds=0.1))

    if (kind, name) == ("our logs", "holdfast.logs.db"):
        store.prepare()  # nothing is wrong with it
    else:
        with pytest.raises(NotAStore, match=found):
            store.prepare()


def test_a_file_system_without_the_right_to_write_is_said(call, disk):
    there = disk()
    there.remount("ro")

    said = call("--store", f"sqlite:///{there.path}/holdfast.db", "migrate")

    assert errors.STORE == said.code
    assert b"unable to open database file" in said.err
    assert f"cannot write in {there.path}".encode() in said.err


def test_an_old_store_without_the_right_to_write_is_said(call, call_all, disk):
    there = disk()
    url = f"sqlite:///{there.path}/holdfast.db"
    call("--store", url, "migrate")
    there.remount("ro")

    verbs = (["list"], ["run", "--detach", "true"], ["worker"])
    for said in call_all(*(["--store", url, *verb] for verb in verbs)):
        assert errors.STORE == said.code
        assert said.err.startswith(b"holdfast: The store sqlite:///")


def test_a_store_that_is_not_there_is_not_made_by_looking(call, folder):
    said = call("--store", f"sqlite:///{folder}/none/holdfast.db", "list")

    assert errors.STORE == said.code
    assert b"There is no store at" in said.err
    assert [] == [name for name in os.listdir(folder) if name.startswith("none")]


def test_stores_of_other_kinds_are_refused(folder):
    for url in (
        "oracle://h/db",
        "mysql://h",
        "SQLITE:///x",
        "http://[::1",
        "file:///etc/passwd",
        "a\x1b://b",
    ):
        with pytest.raises((ConfigError, StoreError), match="store="):
            open_store(load(environ={}, store=url).store)
