"""Stores on private servers that tests may break."""

from __future__ import annotations

import atexit
from contextlib import ExitStack, closing
from itertools import count

import pytest

from helpers.mysql import MysqlServer
from helpers.postgres import PostgresServer
from helpers.proxy import Proxy
from holdfast.core.config import StoreSettings
from holdfast.store import open_store

SERVERS = {"postgres": PostgresServer, "mysql": MysqlServer}
_numbers = count()
_made = {}


@pytest.fixture(params=SERVERS)
def server(request):
    """A server of each kind, running; it is the same one in all tests of a process."""
    kind = request.param
    if kind not in _made:
        _made[kind] = SERVERS[kind]()
        atexit.register(_made[kind].stop)
    server = _made[kind]
    return server if server.is_running else server.start()


@pytest.fixture
def store(server, folder):
    """A new store on a database of its own."""
    with closing(a_store(server)) as store:
        yield store


def a_store(server, *, through=None, host="127.0.0.1"):
    """A new, ready store on a database of its own, by the way of another server perhaps."""
    name = f"holdfast_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name}")
    url = (through or server).url(name).replace("127.0.0.1", host)
    store = open_store(StoreSettings(url=url))
    store.prepare()
    return store


@pytest.fixture
def proxy(server):
    """What stands between a server and those who go through it."""
    with closing(Proxy(server.port, server.kind)) as proxy:
        yield proxy


@pytest.fixture
def through(store, server, proxy):
    """The same store by way of the proxy."""
    url = store.url.replace(f":{server.port}/", f":{proxy.port}/")
    with closing(open_store(StoreSettings(url=url))) as through:
        yield through


class Crowd:
    """Take all connections that a server has, until told to leave."""

    def __init__(self, server):
        self._server = server
        self._stack = ExitStack()
        self._first = self._stack.enter_context(closing(server.connect()))

    def come(self):
        """Take every connection that is free."""
        while True:
            try:
                self._stack.enter_context(closing(self._server.connect()))
            except self._server.full:
                return

    def push_out(self):
        """End the connections of Holdfast, and take them."""
        self._server.cut(through=self._first)
        self.come()

    def leave(self):
        """Give all of them back."""
        self._stack.close()
