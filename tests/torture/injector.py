"""Break things: one fault every few seconds, chosen by the seed, written down and healed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import ExitStack, closing, suppress

from helpers.workers import is_free, send
from holdfast import StoreUnavailable
from torture import of_servers, plans
from torture.client import Client
from torture.history import Fault, Journal, path_of

LONG_FREEZE, SHORT_FREEZE = 8.0, 2.0  # seconds; the lease is between them
JUMP_SECONDS = 6.0
PAUSED_SECONDS = 3.0
PARTS = ("supervisor", "heartbeat", "shipper", "executor")
PAUSES = (0.8, 3.5)  # seconds between two faults
STORM_ROUNDS, STORM_PAUSE = 6, 0.6
_LOCK_PATIENCE = 10.0


class Injector:
    """Do one fault after the other; those that last are healed when their time has come."""

    def __init__(self, fleet, seed):
        self.fleet = fleet
        self.dice = random.Random(f"{seed}/faults")
        self.client = Client(seed, "injector", 0)
        self.journal = Journal(path_of(fleet.folder / "history", "faults"))
        self.number = 0
        self.healings = []  # threads
        self.frozen = set()  # slots
        self.kinds = {**KINDS, **(of_servers.KINDS if fleet.server else {})}
        if not fleet.is_embedded:
            del self.kinds["hold store"]

    # The course of it

    def run(self, until, between):
        """Break things until a moment; `between` is called all the time."""
        next_at = time.monotonic() + self.dice.uniform(*PAUSES)
        while time.monotonic() < until:
            between()
            if time.monotonic() >= next_at:
                self.strike()
                next_at = time.monotonic() + self.dice.uniform(*PAUSES)
            time.sleep(0.05)

    def strike(self):
        """Choose a fault and where it hits, and do it."""
        kind = self.dice.choices([*self.kinds], [weight for _, weight in self.kinds.values()])[0]
        number = self.dice.randrange(len(self.fleet.workers))
        choice = self.dice.random()
        do, _ = self.kinds[kind]
        if number not in self.frozen:
            do(self, number, choice)

    def later(self, seconds, heal):
        """Heal a fault after a time, whatever the injector does until then: it may be hit too."""
        timer = threading.Timer(seconds, heal)
        self.healings.append(timer)
        timer.start()

    def heal_all(self):
        """Wait until everything is healed."""
        for healing in self.healings:
            healing.join()

    def begin(self, kind, workers=(), pids=()):
        """Write down that a fault begins, and return what writes down that it is healed."""
        number, self.number = self.number, self.number + 1
        self.journal.write(Fault(number, kind, "start", _names(workers), tuple(pids)))
        return lambda more=(): self.journal.write(Fault(number, kind, "healed", _names(more)))

    # Faults; `choice` in 0..1 decides what is left to decide

    def kill_supervisor(self, number, _choice):
        worker = self.fleet.workers[number]
        healed = self.begin("kill supervisor", [worker])
        worker.kill()
        self.fleet.replace_worker(number)
        healed()

    def orphan_commands(self, number, _choice):
        """Kill a worker at one stroke, so that nobody is left to end what its commands do."""
        worker = self.fleet.workers[number]
        commands = worker.commands()
        pids = [pid for pid in worker.processes() if pid not in commands]
        healed = self.begin("orphan commands", [worker], pids)
        worker.doomed = True
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            send(pids, signum)
        worker.process.wait()
        self.fleet.replace_worker(number)
        healed()

    def _kill_part(self, kind, number, choice, pids):
        if not pids:
            return
        pid = pids[int(choice * len(pids))]
        worker = self.fleet.workers[number]
        healed = self.begin(kind, [worker], [pid])
        send([pid], signal.SIGKILL)
        healed()

    def kill_executor(self, number, choice):
        pids = self.fleet.workers[number].parts("executor")
        self._kill_part("kill executor", number, choice, pids)

    def kill_shipper(self, number, choice):
        pids = self.fleet.workers[number].parts("shipper")
        self._kill_part("kill shipper", number, choice, pids)

    def kill_heartbeat(self, number, choice):
        pids = self.fleet.workers[number].parts("heartbeat")
        self._kill_part("kill heartbeat", number, choice, pids)

    def kill_command(self, number, choice):
        pids = self.fleet.workers[number].commands()
        self._kill_part("kill command", number, choice, pids)

    def freeze(self, number, choice):
        """Stop all processes of a worker; half of the time at a moment without a lock."""
        worker = self.fleet.workers[number]
        worker.doomed = True
        pids = worker.processes()
        healed = self.begin("freeze", [worker])
        send(pids, signal.SIGSTOP)
        if choice < 0.5 and self.fleet.is_embedded:
            self._let_go_of_locks(pids)
        self.frozen.add(number)

        def thaw():
            send(worker.processes(), signal.SIGCONT)
            send(pids, signal.SIGCONT)
            self.frozen.discard(number)
            healed()

        seconds = SHORT_FREEZE if choice % 0.25 < 0.08 else LONG_FREEZE
        self.later(seconds, thaw)

    def freeze_part(self, number, choice):
        """Stop one process of a worker for longer than its lease."""
        name = PARTS[int(choice * len(PARTS))]
        worker = self.fleet.workers[number]
        pids = [worker.pid] if name == "supervisor" else worker.parts(name)[:1]
        worker.doomed = True
        healed = self.begin(f"freeze {name}", [worker], pids)
        send(pids, signal.SIGSTOP)

        def thaw():
            send(pids, signal.SIGCONT)
            healed()

        self.later(LONG_FREEZE, thaw)

    def pause_queue(self, _number, choice):
        """Let workers claim nothing from a queue for a moment."""
        queues = self.fleet.store.queues
        name = plans.QUEUES[int(choice * len(plans.QUEUES))]
        healed = self.begin("pause queue")
        self._insist(lambda: queues.pause(name, by="injector"))

        def resume():
            self._insist(lambda: queues.resume(name))
            healed()

        self.later(PAUSED_SECONDS, resume)

    def _insist(self, do):
        while True:
            with suppress(StoreUnavailable):
                return do()

    def _let_go_of_locks(self, pids):
        files = self._files()
        deadline = time.monotonic() + 1
        while not all(map(is_free, files)) and time.monotonic() < deadline:
            send(pids, signal.SIGCONT)
            send(pids, signal.SIGSTOP)

    def _files(self):
        store = self.fleet.store
        return [store.database.dialect.path, store.log_database.dialect.path]

    def deploy(self, number, _choice):
        worker = self.fleet.workers[number]
        healed = self.begin("deploy", [worker])
        self.fleet.deploy(number)
        healed()

    def storm(self, number, choice):
        """Start and stop one worker again and again, more often than it can get ready."""
        for turn in range(STORM_ROUNDS):
            worker = self.fleet.workers[number]
            healed = self.begin("storm", [worker])
            if (turn + int(choice * 2)) % 2:
                worker.kill()
                self.fleet.replace_worker(number)
            else:
                self.fleet.deploy(number)
            healed()
            time.sleep(STORM_PAUSE)

    def hold_store(self, _number, choice):
        """Keep everybody from writing to one file of the store, or to both."""
        files = self._files()
        if choice < 0.6:
            files = files[choice < 0.3 :][:1]
        healed = self.begin("hold store")
        holder = threading.Thread(target=_hold, args=(files, 1 + 4 * choice, healed))
        self.healings.append(holder)
        holder.start()

    def jump(self, _number, choice):
        """Show the first worker another time of day."""
        healed = self.begin("clock jump", [self.fleet.workers[0]])
        self._set_clock("+3600" if choice < 0.5 else "-3600")

        def back():
            self._set_clock("+0")
            healed([self.fleet.workers[0]])  # another one by now, perhaps

        self.later(JUMP_SECONDS, back)

    def _set_clock(self, text):
        new = self.fleet.clock.with_suffix(".new")
        new.write_text(text)
        new.rename(self.fleet.clock)

    def kill_client(self, _number, choice):
        number = int(choice * len(self.fleet.clients))
        client = self.fleet.clients[number]
        healed = self.begin("kill client", pids=[client.pid])
        client.kill()
        self.fleet.replace_client(number)
        healed()

    def blackout(self, _number, _choice):
        """Kill everything at once, as when a container ends."""
        fleet = self.fleet
        members = [*fleet.workers, *fleet.leaving, *fleet.clients]
        healed = self.begin("blackout", [*fleet.workers, *fleet.leaving])
        for member in members:
            member.doomed = True
        fleet.kill_everything()
        self.frozen.clear()
        for member in members:
            member.process.wait()
        fleet.tend()
        healed()

    def special(self, _number, choice):
        """Enqueue a run that does what runs should not do."""
        kind = [*plans.SPECIAL][int(choice * len(plans.SPECIAL))]
        healed = self.begin(kind, pids=[os.getpid()])
        self.client.enqueue([plans.SPECIAL[kind](self.dice)])
        healed()


def _names(workers):
    return tuple(worker.name for worker in workers)


def _hold(files, seconds, healed):
    """Keep all others from writing to some files for a time."""
    with ExitStack() as stack:
        for file in files:
            connection = sqlite3.connect(file, timeout=_LOCK_PATIENCE, isolation_level=None)
            stack.enter_context(closing(connection))
            with suppress(sqlite3.OperationalError):  # nobody let it in: then nobody is kept out
                connection.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
    healed()


KINDS = {  # name -> (what to do, how often)
    "kill supervisor": (Injector.kill_supervisor, 4),
    "orphan commands": (Injector.orphan_commands, 3),
    "kill executor": (Injector.kill_executor, 6),
    "kill shipper": (Injector.kill_shipper, 3),
    "kill heartbeat": (Injector.kill_heartbeat, 3),
    "kill command": (Injector.kill_command, 4),
    "freeze": (Injector.freeze, 4),
    "freeze part": (Injector.freeze_part, 4),
    "pause queue": (Injector.pause_queue, 2),
    "deploy": (Injector.deploy, 3),
    "storm": (Injector.storm, 1),
    "hold store": (Injector.hold_store, 3),
    "clock jump": (Injector.jump, 2),
    "kill client": (Injector.kill_client, 3),
    "blackout": (Injector.blackout, 1),
    "special": (Injector.special, 12),
}
