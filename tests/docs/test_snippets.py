"""What the pages show works: their files are written, their commands are typed.

A Python block that begins with `# file: NAME` is written to a new folder. The lines of a `console`
block that begin with `$ ` are typed into a shell there, and print what follows them. Ids, times
and sizes may differ, and … stands for anything. In the pages the host is `web1`, the person `ann`
and the folder `/home/ann/shop`. Workers are started in the background. Where a page names a
database on a server, there is one.
"""

from __future__ import annotations

import ast
import os
import pwd
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.pages import PAGES, ROOT, blocks, name_of
from helpers.postgres import PostgresServer
from holdfast.core.config import without_password

WITHIN_SECONDS = 60
DATABASE = "postgresql://shop:secret@db.example/shop"  # in the pages
READ_ME = ROOT / "README.md"
TYPED = [
    page
    for page in PAGES
    if any(block.language == "console" for block in blocks(page)) and "zh-CN" not in page.name
]
VARIABLE = {
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{12}\b": "ID",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d( [A-Z+0-9-]+)?": "TIME",
    r"\b\d+(\.\d+)? (ms|s|min|h)\b( \d+ (s|min)\b)?": "DURATION",
    r"\b\d+(\.\d+)? [KMG]?i?B\b": "SIZE",
    r"[ \t]+": " ",
}


class Terminal:
    """A shell in a folder of its own, with the project's programs on its path."""

    def __init__(self, folder):
        self.folder = folder
        self.workers = []
        self.server = None
        programs = Path(sys.executable).parent
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "COLUMNS"},
            "PATH": f"{programs}:{os.environ['PATH']}",
        }
        self.shell = self._start(["bash", "--norc"])

    def _start(self, words, **more):
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **more,
        )

    def type(self, line):
        """Type a line and return what it prints."""
        if re.match(r"pip install ", line):
            return ""  # tests/packaging does that
        if DATABASE in line:
            line = line.replace(DATABASE, self.a_database())
        if match := re.fullmatch(r"export (\w+)=(\S+)", line):  # for the workers too
            value = re.sub(r"\$(\w+)", lambda name: self.environment[name[1]], match[2])
            self.environment[match[1]] = value
        if re.match(r"holdfast (--\S+ \S+ )*(up|worker)\b", line):
            return self.start_worker(line)
        mark = f"mark-{time.monotonic_ns()}"
        # In a group of its own, so that $? is kept for the next line.
        text = f"{line}\ncode=$?; echo; echo {mark}; (exit $code)\n"
        self.shell.stdin.write(text.encode())
        self.shell.stdin.flush()
        return self._read_to(self.shell, mark.encode()).removesuffix("\n")

    def a_database(self):
        """Start a server and return its address."""
        if self.server is None:
            self.server = PostgresServer().start()
        return self.server.url()

    def in_the_pages(self, text):
        """Return a text with the names that the pages give to things."""
        text = text.replace(str(self.folder), "/home/ann/shop")
        if self.server is not None:
            text = text.replace(self.server.url(), without_password(DATABASE))
        for name, shown in (
            (socket.gethostname(), "web1"),
            (pwd.getpwuid(os.getuid()).pw_name, "ann"),
        ):
            text = re.sub(rf"\b{re.escape(name)}\b", shown, text)
        return text

    def start_worker(self, line):
        """Start a worker and wait until it is ready."""
        worker = self._start(["bash", "-c", f"exec {line}"])
        self.workers.append(worker)
        self._read_to(worker, b" is up: ")
        return ""  # what it says of itself goes on for ever

    def _read_to(self, process, mark):
        data, deadline = b"", time.monotonic() + WITHIN_SECONDS
        while mark not in data:
            left = deadline - time.monotonic()
            assert left > 0, f"{mark} did not come: {data.decode()}"
            if select.select([process.stdout], [], [], left)[0]:
                piece = os.read(process.stdout.fileno(), 65536)
                assert piece, f"it ended before {mark}: {data.decode()}"
                data += piece
        return data.partition(mark)[0].decode()

    def close(self):
        """End the shell and the workers."""
        for process in (*self.workers, self.shell):
            process.send_signal(signal.SIGTERM if process in self.workers else signal.SIGKILL)
        for process in (*self.workers, self.shell):
            process.communicate(timeout=WITHIN_SECONDS)
        if self.server is not None:
            self.server.stop()


@pytest.fixture
def terminal(tmp_path):
    """A terminal in an empty folder."""
    folder = tmp_path / "shop"
    folder.mkdir()
    terminal = Terminal(folder)
    yield terminal
    terminal.close()


@pytest.mark.parametrize("page", TYPED, ids=name_of)
def test_what_a_page_shows_is_what_happens(page, terminal):
    for block in blocks(page):
        write_file(block, terminal.folder)
        if block.language == "console":
            follow(page, block, terminal)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_block_is_python(page):
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text, f"{name_of(page)}:{block.line}")


def test_the_read_me_and_the_tutorial_are_among_the_pages_tried():
    assert {READ_ME, ROOT / "docs" / "tutorial.md"} <= set(TYPED)


def write_file(block, folder):
    """Write a block that names its file."""
    match = re.match(r"# file: (\S+)\n", block.text)
    if match:
        (folder / match[1]).write_text(block.text)


def follow(page, block, terminal):
    """Type the lines of a block and compare what they print."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, expected = part.partition("\n")
        printed = terminal.in_the_pages(terminal.type(line))
        place = f"{name_of(page)}:{block.line}"
        told = f"{place}: $ {line}\n{printed}\n-- instead of --\n{expected}"
        assert fits(expected, printed), told


def fits(expected, printed):
    """Tell whether a text is what the page shows, up to what differs from time to time."""
    pattern = re.escape(plain(expected)).replace(r"\ …\ ", r"\ (.*\ )?").replace("…", ".*")
    return re.fullmatch(pattern, plain(printed), re.DOTALL) is not None


def plain(text):
    """A text without what differs from time to time."""
    for pattern, name in VARIABLE.items():
        text = re.sub(pattern, name, text)
    return "\n".join(line.strip() for line in text.strip().splitlines())
