"""What the page on deaths says of each kind of them is what `holdfast why` prints."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack

import pytest

from helpers.cgroups import a_container
from helpers.deaths import CAUSES, World
from helpers.pages import ROOT
from helpers.workers import holdfast

PAGE = ROOT / "docs" / "explanation" / "deaths.md"
ROW = re.compile(r"^\| ([A-Z][^|]*) \| `(.*)` \|$", re.MULTILINE)
TOLD = dict(ROW.findall(PAGE.read_text()))
LEAST = 15
VARIABLE = {
    r"\b\d+(\.\d+)? (ms|s|min|h)\b( \d+ (s|min)\b)?": "DURATION",
    r"\b\d+(\.\d+)? [KMG]?i?B\b": "SIZE",
    "sample_tasks": "shop",
}


def test_page_tells_of_enough_kinds_of_death_and_each_can_be_caused():
    assert LEAST <= len(TOLD)
    assert set(TOLD) == set(CAUSES)


@pytest.fixture
def world(worker, tasks, folder, store, disk):
    with ExitStack() as containers:
        yield World(
            worker, tasks, folder, store, lambda: containers.enter_context(a_container()), disk
        )
        worker.end()


@pytest.mark.parametrize("kind", TOLD)
def test_why_says_what_the_page_says(world, kind):
    run = CAUSES[kind](world)
    printed = world.worker.run(*holdfast("why", run.id)).decode()

    lines = [plain(line, world.folder) for line in printed.splitlines()]
    assert any(re.search(pattern(TOLD[kind]), line) for line in lines), printed
    assert "unknown" not in printed.lower()


def plain(line, folder):
    """A line without what differs from time to time and from place to place."""
    line = line.strip().replace(f"{folder}/disk-0", "/data").replace(socket.gethostname(), "web1")
    for variable, name in VARIABLE.items():
        line = re.sub(variable, name, line)
    return line


def pattern(told):
    """An expression for a sentence of the page, in which … stands for anything."""
    return re.escape(plain(told, "/none")).replace("…", ".*")
