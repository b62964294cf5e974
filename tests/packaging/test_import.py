"""`import holdfast` is cheap: a web process pays for nothing it does not use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ROUNDS = 10
LIMIT_SECONDS = 0.1

MEASURE = """
import time
start = time.perf_counter()
import holdfast
print(time.perf_counter() - start)
"""

LIST_MODULES = """
import holdfast, json, sys
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def imported(clean_environment):
    return set(json.loads(fresh_interpreter(LIST_MODULES, clean_environment)))


@pytest.mark.parametrize(
    "module",
    [
        "asyncio",
        "click",
        "holdfast.cli",
        "holdfast.worker",
        "multiprocessing",
        "psycopg",
        "pymysql",
        "rich",
        "socket",
        "sqlite3",
        "subprocess",
        "typer",
    ],
)
def test_importing_holdfast_does_not_import(module, imported):
    assert module not in imported


def test_importing_holdfast_takes_less_than_a_tenth_of_a_second(clean_environment):
    best = min(float(fresh_interpreter(MEASURE, clean_environment)) for _ in range(ROUNDS))

    assert best < LIMIT_SECONDS


def fresh_interpreter(code, environment):
    """Run code in a new interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout
