"""Faults of the database server, where the torture has one of its own.

All of them are over when they return: the server has to be started by the thread that lives as
long as it does, and what else is broken meanwhile would only wait.
"""

from __future__ import annotations

import signal
import time

from helpers.mysql import MysqlServer
from helpers.postgres import PostgresServer

SERVERS = {"postgresql": PostgresServer, "mysql": MysqlServer}
DATABASE = "torture"
AWAY_SECONDS = 6.0  # at most; the lease is shorter


def start_server(name):
    """Start a private server with an empty database."""
    server = SERVERS[name]().start()
    server.execute(f"CREATE DATABASE {DATABASE}")
    return server


def kill_server(injector, _number, choice):
    """Kill the server with all its processes, and start it again after a while."""
    _away(injector, "kill server", choice, signal.SIGKILL)


def restart_server(injector, _number, choice):
    """Stop the server as one does for an update, and start it again."""
    _away(injector, "restart server", choice, None)


def _away(injector, kind, choice, number):
    server = injector.fleet.server
    healed = injector.begin(kind)
    server.stop(number)
    time.sleep(AWAY_SECONDS * choice)
    server.start()
    healed()


def freeze_server(injector, _number, choice):
    """Let the server answer nobody for a while, as a sick disk or a live migration does."""
    server = injector.fleet.server
    healed = injector.begin("freeze server")
    server.send(signal.SIGSTOP)
    time.sleep(AWAY_SECONDS * choice)
    server.send(signal.SIGCONT)
    healed()


def cut_connections(injector, _number, _choice):
    """End all connections, as a firewall or an administrator does."""
    healed = injector.begin("cut connections")
    injector.fleet.server.cut()
    healed()


KINDS = {  # name -> (what to do, how often)
    "kill server": (kill_server, 2),
    "restart server": (restart_server, 1),
    "freeze server": (freeze_server, 1),
    "cut connections": (cut_connections, 4),
}
