"""The bench measures what it says, ends whatever happens, and its page says what was measured."""

from __future__ import annotations

import subprocess
import sys
from array import array
from dataclasses import replace

import pytest

from bench import page, plot
from bench.contestants import HOLDFAST
from bench.course import COURSES, POSTGRES, SQLITE
from bench.figures import Figure
from bench.process import ROOT, BenchError
from bench.results import Results
from bench.ring import Ring
from bench.witness import Witness
from helpers.waiting import wait_until
from holdfast.worker import proc

MACHINE = {"date": "2026-01-01", "seconds": 60}
MEASURED = [one for one in COURSES.values() if one.results.exists()]
SILENT = "import time; time.sleep(60)"


@pytest.fixture
def ring(tmp_path):
    return Ring(tmp_path, SQLITE)


@pytest.mark.parametrize("course", COURSES.values(), ids=COURSES)
def test_a_quick_look_at_one_measure_finds_the_rates_of_holdfast(tmp_path, course):
    kept = tmp_path / "results.json"
    options = [
        "--store",
        course.key,
        "--quick",
        "--only",
        "drain",
        "--who",
        "holdfast",
        "--json",
        kept,
    ]

    done = run_bench(*options, "--folder", tmp_path)

    assert done.returncode == 0, done.stderr
    results = Results.load(course, kept)
    measured = [(figure.measure, figure.contestant) for figure in results.parts["drain"]]
    assert measured[:3] == [
        ("drain", "holdfast"),
        ("drain", "bare"),
        ("drain until settled", "holdfast"),
    ]
    costs = [("CPU of a run, workers", "holdfast"), ("CPU of a run, server", "holdfast")]
    assert measured[3:] == (costs if course is POSTGRES else [])
    assert all(figure.median > 0 for figure in results.figures)
    assert {"drain", "measure", "Holdfast"} <= set(done.stdout.split())
    assert not list(tmp_path.glob("bench-*"))


def run_bench(*options):
    return subprocess.run(
        [sys.executable, "-m", "bench", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_server_dies_with_the_bench(tmp_path):
    script = """
import pathlib, sys, time
from bench.servers import SERVERS
server = SERVERS["postgresql"](pathlib.Path(sys.argv[1]))
print(server._program.pid, flush=True)
time.sleep(60)
"""
    argv = [sys.executable, "-c", script, str(tmp_path / "server")]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as bench:
        server = int(bench.stdout.readline())
        assert proc.start_time(server)
        bench.kill()

    wait_until(lambda: not proc.start_time(server))


def test_a_peer_that_is_not_installed_is_named():
    with pytest.raises(BenchError, match="no-such-package is not here; `make bench`"):
        replace(HOLDFAST, package="no-such-package").require()


def test_a_rate_is_read_from_the_times_that_tasks_have_signed(tmp_path):
    witness = Witness(tmp_path / "witness")
    late_first = array("q", [3_000_000_000, 1_000_000_000, 2_000_000_000, 5_000_000_000])
    witness.path.write_bytes(late_first.tobytes())

    assert witness.count() == 4
    assert witness.rate(0, 2) == pytest.approx(1.0)
    assert witness.rate(0, 10) == pytest.approx(0.75)
    assert Witness.last(witness.path) == 5_000_000_000


def test_a_worker_that_does_not_start_ends_the_measure_with_its_words(ring, tmp_path):
    broken = with_worker("import sys; sys.exit('no such app')")

    with (
        pytest.raises(BenchError, match="no such app"),
        ring.worker(broken, tmp_path) as worker,
    ):
        worker.wait_count(1, within=20)


def test_a_worker_that_does_nothing_is_given_up_and_killed_with_its_children(ring, tmp_path):
    starts_another = f"import subprocess as s, sys; s.run([sys.executable, '-c', '{SILENT}'])"

    with pytest.raises(BenchError, match="1 runs carried out"):
        watch_in_vain(ring, with_worker(starts_another), tmp_path, pids := [])

    assert len(pids) == 2
    wait_until(lambda: not any(proc.start_time(pid) for pid in pids))


def watch_in_vain(ring, contestant, store, pids):
    with ring.worker(contestant, store) as worker:
        pids += wait_until(lambda: len(found := worker.pids()) == 2 and found)
        worker.wait_count(1, within=0.05)


def with_worker(script):
    return replace(HOLDFAST, setups={"one": [[sys.executable, "-c", script]]})


def test_goals_compare_turn_by_turn():
    parts = {
        "drain": [
            Figure("drain", "holdfast", "runs/s", (10.0, 30.0, 50.0)),
            Figure("drain", "huey", "runs/s", (5.0, 30.0, 10.0)),
        ],
        "enqueue": [
            Figure("enqueue, one by one", "holdfast", "runs/s", (100.0,)),
            Figure("enqueue, one by one", "bare", "runs/s", (140.0,)),
        ],
    }

    drain, enqueue = Results(SQLITE, MACHINE, {}, parts).goals()

    assert (drain.value, drain.met) == (2.0, True)
    assert (enqueue.value, enqueue.met) == (1.4, False)


@pytest.mark.parametrize("course", MEASURED, ids=lambda one: one.key)
def test_what_is_kept_is_read_again(tmp_path, course):
    results = Results.load(course)
    results.save(again := tmp_path / "again.json")

    assert page.text(Results.load(course, again)) == page.text(results)


@pytest.mark.parametrize("course", MEASURED, ids=lambda one: one.key)
def test_the_page_and_the_plot_say_what_the_results_say(course):
    results = Results.load(course)

    assert course.page.read_text() == page.text(results)
    assert course.plot.read_text() == plot.draw(results)
