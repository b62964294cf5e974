from __future__ import annotations

import signal
import sys

from helpers.workers import PATIENCE

ENQUEUE_AND_DIE = """
import os, signal, sample_tasks
run = sample_tasks.add.enqueue(int(os.environ["NUMBER"]), 1)
os.write(1, run.id.encode())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_run_of_a_web_process_that_died_right_after_enqueue_is_carried_out(worker, tasks):
    worker(executors=1)

    for number in range(5):
        web = worker.start(
            sys.executable, "-c", ENQUEUE_AND_DIE, env={"NUMBER": str(number)}, stdout=-1
        )
        run_id = web.communicate(timeout=PATIENCE)[0].decode()
        assert -signal.SIGKILL == web.returncode

        assert number + 1 == tasks.app.get_run(run_id).result(PATIENCE)


def test_run_that_was_enqueued_while_no_worker_was_there_is_carried_out(worker, tasks):
    web = worker.start(sys.executable, "-c", ENQUEUE_AND_DIE, env={"NUMBER": "1"}, stdout=-1)
    run_id = web.communicate(timeout=PATIENCE)[0].decode()

    worker(executors=1)

    assert 2 == tasks.app.get_run(run_id).result(PATIENCE)
