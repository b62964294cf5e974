"""Settings of a Django project for django-tasks-db on SQLite.

Tuned as https://docs.djangoproject.com/en/5.2/ref/databases/#sqlite-notes advises for writers:
immediate transactions, a write-ahead log, persistent connections.
"""

from __future__ import annotations

import os

SECRET_KEY = "bench"  # noqa: S105 - it protects nothing
DEBUG = False
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{os.environ['BENCH_STORE']}/django.db",
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
INSTALLED_APPS = ["django_tasks_db"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
