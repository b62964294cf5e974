"""Who is measured on PostgreSQL: Holdfast, its peers there and on Redis and RabbitMQ.

How each peer was tuned, and where its documentation says so, stands in its player.
"""

from __future__ import annotations

import signal
from dataclasses import replace

from bench.contestants import CORES, DJANGO, HOLDFAST, HUEY, Argv, Contestant
from bench.process import python

SYNCED = "every commit synced"
UNSYNCED = "nothing synced"
ON_DISK = "kept on disk, not confirmed to the sender"
LOOP = "none: tasks run in the event loop that reads the queue"


def _main(module: str, function: str, *arguments: str) -> Argv:
    """Return the command of a console script."""
    script = f"import sys; from {module} import {function}; sys.exit({function}())"
    return python("-c", script, *arguments)


def _holdfast(workers: int, executors: int) -> list[Argv]:
    (argv,) = HOLDFAST.setups["as it comes"]
    return [[*argv, "--executors", str(executors)]] * workers


def _pgqueuer(workers: int, batch: int) -> list[Argv]:
    return [python("-m", "bench.players.pgqueuer_app", str(batch))] * workers


def _procrastinate(workers: int, concurrency: int) -> list[Argv]:
    app = ["--app", "bench.players.procrastinate_app.app", "--log-level", "warning"]
    options = ["--concurrency", str(concurrency)]
    return [python("-m", "procrastinate", *app, "worker", *options)] * workers


def _chancy(workers: int, concurrency: int) -> list[Argv]:
    return [python("-m", "bench.players.chancy_app", str(concurrency))] * workers


def _celery(processes: int, prefetch: int) -> list[Argv]:
    options = ["--pool", "prefork", "--concurrency", str(processes), "--loglevel", "WARNING"]
    options += [f"--prefetch-multiplier={prefetch}", "--without-gossip", "--without-mingle"]
    return [python("-m", "celery", "--app", "bench.players.celery_app", "worker", *options)]


def _dramatiq(processes: int, threads: int) -> list[Argv]:
    options = ["--processes", str(processes), "--threads", str(threads)]
    return [python("-m", "dramatiq", *options, "bench.players.dramatiq_app")]


def _taskiq(workers: int) -> list[Argv]:
    options = ["--workers", str(workers), "--log-level", "WARNING"]
    return [python("-m", "taskiq", "worker", *options, "bench.players.taskiq_app:broker")]


def _huey(workers: int, kind: str) -> list[Argv]:
    options = ["-w", str(workers), "-k", kind, "-n", "-q"]
    player = "bench.players.huey_redis_app.huey"
    return [_main("huey.bin.huey_consumer", "consumer_main", player, *options)]


def _rq(workers: int, kind: str) -> list[Argv]:
    url = 'import os; sys.argv += ["--url", os.environ["BENCH_URL"]]'
    script = f"import sys; from rq.cli import main; {url}; sys.exit(main())"
    options = ["worker", "--worker-class", kind, "--quiet", "--disable-job-desc-logging", "bench"]
    return [python("-c", script, *options)] * workers


HOLDFAST_POSTGRES = Contestant(
    key=HOLDFAST.key,
    title=HOLDFAST.title,
    package=HOLDFAST.package,
    player=HOLDFAST.player,
    durability=f"{SYNCED}; a run is kept until its outcome is stored",
    isolation=HOLDFAST.isolation,
    setups={**HOLDFAST.setups, "2 workers, 1 executor each": _holdfast(2, 1)},
    environment={
        "HOLDFAST_STORE": "{url}",
        "HOLDFAST_WORKER_SPOOL": "{store}/spool",
        "HOLDFAST_WORKER_EXECUTORS": str(CORES),
    },
    server="postgresql",
)
PGQUEUER = Contestant(
    key="pgqueuer",
    title="pgqueuer",
    package="pgqueuer",
    player="bench.players.pgqueuer_app",
    durability=f"{SYNCED}; acknowledged after the work, up to 0.1 s later",
    isolation=LOOP,
    setups={
        "1 worker, batches of 10": _pgqueuer(1, 10),
        "1 worker, batches of 100": _pgqueuer(1, 100),
        "2 workers, batches of 100": _pgqueuer(2, 100),
    },
    server="postgresql",
    grows=False,
)
PROCRASTINATE = Contestant(
    key="procrastinate",
    title="procrastinate",
    package="procrastinate",
    player="bench.players.procrastinate_app",
    durability=f"{SYNCED}; acknowledged after the work; what a dead worker held stays `doing`",
    isolation=LOOP,
    setups={
        "1 worker, 10 at once": _procrastinate(1, 10),
        "2 workers, 10 at once": _procrastinate(2, 10),
    },
    server="postgresql",
    grows=False,
)
CHANCY = Contestant(
    key="chancy",
    title="chancy",
    package="chancy",
    player="bench.players.chancy_app",
    durability=f"{SYNCED}; acknowledged after the work, up to 1 s later",
    isolation=LOOP,
    setups={
        "1 worker, 100 at once": _chancy(1, 100),
        "1 worker, 1,000 at once": _chancy(1, 1000),
        "2 workers, 100 at once": _chancy(2, 100),
    },
    server="postgresql",
    grows=False,
)
DJANGO_POSTGRES = replace(
    DJANGO,
    durability=f"{SYNCED}; a task whose worker died stays RUNNING for ever",
    environment={"DJANGO_SETTINGS_MODULE": "bench.players.django_settings_postgres"},
    server="postgresql",
    grows=False,
)
_CELERY = Contestant(
    key="celery-redis",
    title="celery, Redis",
    package="celery",
    player="bench.players.celery_app",
    durability=f"{UNSYNCED}; acknowledged after the work, again after an hour if its worker dies",
    isolation="forked processes that never touch the queue",
    setups={
        "2 processes, prefetch 64": _celery(2, 64),
        "2 processes, prefetch 128": _celery(2, 128),
    },
    server="redis",
    grows=False,
)
CELERY_REDIS = _CELERY
CELERY_RABBIT = replace(
    _CELERY,
    key="celery-rabbitmq",
    title="celery, RabbitMQ",
    durability=f"{ON_DISK}; acknowledged after the work",
    server="rabbitmq",
)
DRAMATIQ_REDIS = Contestant(
    key="dramatiq-redis",
    title="dramatiq, Redis",
    package="dramatiq",
    player="bench.players.dramatiq_app",
    durability=f"{UNSYNCED}; acknowledged after the work, again after a minute if not",
    isolation="none: tasks run in threads of the processes that read the queue",
    setups={
        "1 process, 8 threads": _dramatiq(1, 8),
        "2 processes, 8 threads": _dramatiq(2, 8),
    },
    server="redis",
    grows=False,
)
DRAMATIQ_RABBIT = replace(
    DRAMATIQ_REDIS,
    key="dramatiq-rabbitmq",
    title="dramatiq, RabbitMQ",
    durability=f"{ON_DISK}; acknowledged after the work",
    server="rabbitmq",
)
TASKIQ = Contestant(
    key="taskiq",
    title="taskiq, Redis",
    package="taskiq",
    player="bench.players.taskiq_app",
    durability=f"{UNSYNCED}; acknowledged after the work, again after ten minutes if not",
    isolation=LOOP,
    setups={"1 worker": _taskiq(1), "2 workers": _taskiq(2)},
    server="redis",
    grows=False,
)
HUEY_REDIS = Contestant(
    key="huey-redis",
    title="huey, Redis",
    package="huey",
    player="bench.players.huey_redis_app",
    durability=f"{UNSYNCED}; a task is deleted before it is run",
    isolation=HUEY.isolation,
    setups={
        "1 process": _huey(1, "process"),
        "2 processes": _huey(2, "process"),
        "2 threads": _huey(2, "thread"),
    },
    server="redis",
    acks_after_work=False,
    grows=False,
    stop_signal=signal.SIGINT,
)
RQ = Contestant(
    key="rq",
    title="rq, Redis",
    package="rq",
    player="bench.players.rq_app",
    durability=f"{UNSYNCED}; taken from the queue before it is run, failed if its worker dies",
    isolation="none in simple workers; else a fork for each job",
    setups={
        "2 simple workers": _rq(2, "rq.SimpleWorker"),
        "2 forking workers": _rq(2, "rq.Worker"),
    },
    server="redis",
    acks_after_work=False,
    grows=False,
)
BARE_POSTGRES = Contestant(
    key="bare",
    title="bare PostgreSQL",
    package="",
    player="bench.players.bare_postgres",
    durability=SYNCED,
    isolation="it runs nothing",
    setups={},
    server="postgresql",
)
RIVALS = (
    PGQUEUER,
    PROCRASTINATE,
    CHANCY,
    DJANGO_POSTGRES,
    CELERY_REDIS,
    CELERY_RABBIT,
    DRAMATIQ_REDIS,
    DRAMATIQ_RABBIT,
    TASKIQ,
    HUEY_REDIS,
    RQ,
)
