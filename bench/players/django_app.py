"""django-tasks-db on SQLite or PostgreSQL: https://pypi.org/project/django-tasks-db/."""

from __future__ import annotations

import os
from importlib.util import find_spec

import django

from bench.witness import sign

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.players.django_settings")
django.setup()

from django.core.management import call_command  # noqa: E402 - Django is set up first
from django.db import connection, transaction  # noqa: E402
from django_tasks_db.models import DBTaskResult  # noqa: E402

if find_spec("django.tasks"):  # Django 6 has the interface, before it was a package
    from django.tasks import task
else:
    from django_tasks import task

NEW_ID = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "gen_random_uuid()"}
TABLE = DBTaskResult._meta.db_table  # noqa: SLF001 - where Django keeps the name


@task()
def noop() -> None:
    """Sign the witness."""
    sign()


def prepare() -> None:
    """Make the tables."""
    call_command("migrate", verbosity=0)


def enqueue() -> None:
    """Enqueue one task; it is committed by itself."""
    noop.enqueue()


def enqueue_many(count: int) -> None:
    """Enqueue many in one transaction: there is no call for many."""
    with transaction.atomic():
        for _ in range(count):
            noop.enqueue()


def left() -> int:
    """Return how many tasks have not ended."""
    return DBTaskResult.objects.filter(status__in=["READY", "RUNNING"]).count()


def multiply(count: int) -> None:
    """Copy the one waiting task to so many in all, each with an id of its own."""
    names = [field.column for field in DBTaskResult._meta.fields if field.column != "id"]  # noqa: SLF001
    columns = ", ".join(names)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(  # names of its own columns
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s - 1) "
            f"INSERT INTO {TABLE} (id, {columns}) "
            f"SELECT {NEW_ID[connection.vendor]}, {columns} FROM n, "
            f"(SELECT {columns} FROM {TABLE} LIMIT 1) AS one",
            [count],
        )
