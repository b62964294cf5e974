"""Settings of a Django project for django-tasks-db on PostgreSQL.

Persistent connections, as https://docs.djangoproject.com/en/5.2/ref/databases/ advises.
"""

from __future__ import annotations

import os

SECRET_KEY = "bench"  # noqa: S105 - it protects nothing
DEBUG = False
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"],
        "USER": os.environ["PGUSER"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "CONN_MAX_AGE": None,
    }
}
INSTALLED_APPS = ["django_tasks_db"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
