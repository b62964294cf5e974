"""Programs that have a transaction of their own: with a driver, SQLAlchemy or Django.

Each kind gives `connection` (what it hands to `using`), and `transaction()` and `savepoint()` as
those who use it write them.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from itertools import count

import sqlalchemy
from sqlalchemy import event, orm

CALLERS_OF = {
    "sqlite": ("sqlite3", "core", "session", "django"),
    "postgres": ("psycopg", "core", "session", "django"),
    "mysql": ("pymysql", "core", "session", "django"),
}
_aliases = count()


def a_caller(kind, store):
    """A caller of this kind, connected to the database of a store."""
    dialect = store.database.dialect
    return CALLERS[kind](dialect.path if dialect.name == "sqlite" else dialect.url)


class Driver:
    """What all kinds have in common: a table of their own."""

    def make_table(self):
        with self.transaction():
            self.execute("CREATE TABLE shop_order (number INTEGER)")

    def add_order(self, number=1):
        self.execute(f"INSERT INTO shop_order VALUES ({number})")

    def execute(self, sql):
        self.connection.execute(sql)

    def close(self):
        self.connection.close()


class Sqlite3(Driver):
    """The driver of the standard library, in its usual mode."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path)

    @contextmanager
    def transaction(self):
        with self.connection:
            yield

    @contextmanager
    def savepoint(self):
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN")
        self.connection.execute("SAVEPOINT mine")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK TO mine")
            raise
        self.connection.execute("RELEASE mine")


class Psycopg(Driver):
    """psycopg 3."""

    def __init__(self, url):
        import psycopg

        self.connection = psycopg.connect(url)

    def transaction(self):
        return self.connection.transaction()

    savepoint = transaction


class PyMySQL(Driver):
    """PyMySQL, with the settings that are the most in our way."""

    def __init__(self, url):
        import pymysql

        self.connection = pymysql.connect(
            **mysql_options(url), cursorclass=pymysql.cursors.SSDictCursor
        )

    @contextmanager
    def transaction(self):
        try:
            yield
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()

    @contextmanager
    def savepoint(self):
        self.execute("SAVEPOINT mine")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK TO SAVEPOINT mine")
            raise
        self.execute("RELEASE SAVEPOINT mine")

    def execute(self, sql):
        with self.connection.cursor() as cursor:
            cursor.execute(sql)

    def close(self):
        if self.connection.open:
            self.connection.close()


class Core(Driver):
    """SQLAlchemy without objects."""

    def __init__(self, place):
        self.engine = an_engine(place)
        self.connection = self.engine.connect()

    def transaction(self):
        return self.connection.begin()

    def savepoint(self):
        return self.connection.begin_nested()

    def execute(self, sql):
        self.connection.execute(sqlalchemy.text(sql))

    def close(self):
        self.connection.close()
        self.engine.dispose()


class Session(Core):
    """SQLAlchemy with objects."""

    def __init__(self, place):
        self.engine = an_engine(place)
        self.connection = orm.Session(self.engine)


class Django(Driver):
    """A connection of Django."""

    def __init__(self, place):
        import django
        from django.conf import settings
        from django.db import connections

        if not settings.configured:
            settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3"}})
            django.setup()
        self.alias = f"caller_{next(_aliases)}"
        named = django_options(place)
        connections.databases[self.alias] = {**connections.databases["default"], **named}
        self.connection = connections[self.alias]

    def transaction(self):
        from django.db import transaction

        return transaction.atomic(self.alias)

    savepoint = transaction

    def execute(self, sql):
        with self.connection.cursor() as cursor:
            cursor.execute(sql)


CALLERS = {
    "sqlite3": Sqlite3,
    "psycopg": Psycopg,
    "pymysql": PyMySQL,
    "core": Core,
    "session": Session,
    "django": Django,
}


def an_engine(place):
    """An engine of SQLAlchemy, with what its documentation asks for so that savepoints work."""
    for kind, driver in (("postgresql", "psycopg"), ("mysql", "pymysql")):
        if str(place).startswith(kind):
            return sqlalchemy.create_engine(str(place).replace(kind, f"{kind}+{driver}", 1))
    engine = sqlalchemy.create_engine(f"sqlite:///{place}")

    @event.listens_for(engine, "connect")
    def connect(connection, _):
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")

    return engine


def django_options(place):
    """The part of Django's DATABASES for this place."""
    kind = str(place).partition("://")[0]
    if kind not in ("postgresql", "mysql"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(place)}
    if kind == "mysql":
        import pymysql

        pymysql.install_as_MySQLdb()
    url = sqlalchemy.make_url(str(place))
    return {
        "ENGINE": f"django.db.backends.{kind}",
        "NAME": url.database,
        "USER": url.username,
        "HOST": url.host,
        "PORT": url.port,
    }


def mysql_options(place):
    """What PyMySQL is told of this place."""
    url = sqlalchemy.make_url(str(place))
    return {"host": url.host, "port": url.port, "user": url.username, "database": url.database}
