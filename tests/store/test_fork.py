"""A child process never uses its parent's connection, and loses nothing that it commits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

BEGIN = """
import os, sys, threading
sys.path.insert(0, sys.argv[2])
from helpers.databases import settings_for
from helpers.factories import a_new_run, enqueue
from holdfast.store import open_store
from holdfast.store.runs import RunFilter

store = open_store(settings_for(sys.argv[1]))
store.prepare()

def count():
    return len(store.runs.list(RunFilter()))

def in_child(work):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0

def files():
    held = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}"))
    return [name for name in held if "holdfast.db" in name]
"""


@pytest.fixture
def script(database_kind, tmp_path):
    """Run a program that forks, in a process of its own."""

    def run(code):
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", BEGIN + code, str(tmp_path), str(TESTS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    return run


def test_a_child_uses_the_store_and_the_parent_goes_on(script):
    script("""
enqueue(store)
in_child(lambda: enqueue(store))
enqueue(store)
assert count() == 3
""")


def test_a_child_begins_without_any_open_file_of_the_store(script):
    script("""
enqueue(store)
store.logs.watched()
assert files()

def work():
    assert not files()
    enqueue(store)
    assert files()

in_child(work)
""")


def test_a_child_leaves_nothing_behind_for_its_own_children(script):
    script("""
enqueue(store)

def child():
    enqueue(store)
    in_child(lambda: enqueue(store))
    enqueue(store)

in_child(child)
assert count() == 4
""")


def test_what_a_child_commits_stays_when_its_parent_has_gone(script):
    """SQLite's memory of the parent's locks is worth nothing in the child."""
    script("""
import subprocess
enqueue(store)
to_child, to_parent = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    enqueue(store)
    os.write(to_parent[1], b"!")
    os.read(to_child[0], 1)
    enqueue(store)
    os._exit(0)
os.read(to_parent[0], 1)
store.close()
look = '''
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM run")
connection.close()
'''
subprocess.run([sys.executable, "-c", look, sys.argv[1] + "/holdfast.db"], check=True)
os.write(to_child[1], b"!")
assert os.waitpid(child, 0)[1] == 0
assert count() == 3
""")


def test_a_child_may_exit_in_the_ordinary_way(script):
    script("""
enqueue(store)
child = os.fork()
if child == 0:
    enqueue(store)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
enqueue(store)
assert count() == 3
""")


def test_a_fork_waits_for_the_transactions_of_other_threads(script):
    script("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: that is the point
stop = threading.Event()

def keep_enqueueing():
    while not stop.is_set():
        enqueue(store)

threads = [threading.Thread(target=keep_enqueueing) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(8):
    in_child(lambda: store.runs.get(enqueue(store)))
stop.set()
for thread in threads:
    thread.join()
with store.database.transaction() as tx:
    assert tx._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
""")


def test_a_store_can_be_forked_before_its_first_use(script):
    script("""
fresh = open_store(settings_for(sys.argv[1] + "/other"))
in_child(lambda: fresh.prepare())
in_child(lambda: enqueue(fresh))
assert len(fresh.runs.list(RunFilter())) == 1
""")


BESIDE_A_DRIVER_THAT_LOGS = """
import os, threading
from holdfast.store.connections import Connections
import logging

class Connection:
    def close(self):
        thread = threading.Thread(target=self.log)
        thread.start()
        thread.join()

    def log(self):
        free = logging._lock.acquire(timeout=5)
        print("free" if free else "held", flush=True)
        if free:
            logging._lock.release()

connections = Connections(Connection, lambda _: False, float("inf"))
connections.release(connections.acquire())
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
"""


def test_who_forks_waits_for_connections_before_the_lock_of_logging_is_taken():
    """A driver that logs while it connects would wait for that lock, and the fork for it."""
    done = subprocess.run(
        [sys.executable, "-c", BESIDE_A_DRIVER_THAT_LOGS],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "free\n" == done.stdout
