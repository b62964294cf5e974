"""Invent correct histories: a small honest world, with clients, workers, deaths and zombies."""

from __future__ import annotations

import json
import random
import zlib
from uuid import UUID

import msgspec

from torture.history import (
    AttemptDump,
    EndDump,
    Fail,
    Fault,
    History,
    Info,
    Invoke,
    Left,
    Mark,
    Memory,
    Ok,
    RunDump,
    Running,
    SinkWrite,
    WorkerDump,
)
from torture.honest import ERROR, FINAL, LIMITS, PLANS, SOURCES, Execution, InventedRun, cut_up
from torture.lines import line_of
from torture.of_logs import CUT, PIPED


class World:
    """Let things happen at random, as an honest product would answer to them."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.history = History()
        self.runs = {}
        self.executions = []
        self.workers = [self.new_id() for _ in range(3)]
        self.asked = 0
        self.pids = 100

    def new_id(self):
        return str(UUID(int=self.dice.getrandbits(128), version=4))

    # What clients do

    def ask(self, verb, run, **facts):
        self.asked += 1
        invoke = Invoke(op=f"{verb} {self.asked}", verb=verb, run=run, **facts)
        self.history.clients.append(invoke)
        return invoke

    def answer(self, invoke, kind=Ok, **facts):
        """Note the answer, unless the client is killed just then."""
        if self.dice.random() < 0.1:
            if self.dice.random() < 0.5:
                self.history.clients.append(Info(invoke.op, "the line was cut"))
            return
        self.history.clients.append(kind(invoke.op, **facts))

    def enqueue(self):
        run = self.new_id()
        plan = self.dice.choice(PLANS)
        concurrency_key = self.dice.choice([None, None, *LIMITS])
        invoke = self.ask(
            "enqueue",
            run,
            task=f"torture.{plan.does}",
            arguments=json.dumps({"args": [run]}),
            plan=plan,
            dedupe_key=None if plan.later else self.dice.choice([None, None, "one", "two"]),
            concurrency_key=concurrency_key,
            concurrency_limit=LIMITS.get(concurrency_key, 1),
        )
        fate = self.dice.random()
        if fate < 0.1:
            self.history.clients.append(Fail(invoke.op, "StoreUnavailable"))
        elif fate > 0.15:  # between: its client is killed before it gets that far
            self.answer(invoke, run=self.accept(invoke))

    def enqueue_again(self):
        if self.runs:
            run = self.dice.choice([*self.runs.values()])
            facts = msgspec.structs.asdict(run.asked)
            for name in ("op", "verb", "run"):
                del facts[name]
            self.answer(self.ask("enqueue", run.id, **facts), run=run.id)

    def accept(self, invoke):
        holder = self.holder_of(invoke.dedupe_key)
        if holder is not None:
            return holder.id
        state = "scheduled" if invoke.plan.later else "queued"
        self.runs[invoke.run] = InventedRun(invoke.run, invoke, state)
        return invoke.run

    def holder_of(self, key):
        for run in self.runs.values():
            same = key is not None and run.asked.dedupe_key == key
            if same and run.is_live and run.has_dedupe_key:
                return run
        return None

    def some(self, condition=lambda _: True):
        found = [run for run in self.runs.values() if condition(run)]
        return self.dice.choice(found) if found else None

    def cancel(self):
        run = self.some()
        if run is None:
            return
        invoke = self.ask("cancel", run.id)
        if not run.is_live:
            self.answer(invoke, Fail, error="NotAllowed")
        elif run.state == "running":
            run.cancel_asked = True
            self.answer(invoke, state="running")
        else:
            run.state = "cancelled"
            self.answer(invoke, state="cancelled")

    def retry(self):
        run = self.some(lambda run: not run.is_live)
        if run is None:
            return
        run.has_dedupe_key = self.holder_of(run.asked.dedupe_key) is None
        run.state, run.result, run.failures, run.crashes = "queued", None, 0, 0
        self.answer(self.ask("retry", run.id))

    def look(self):
        run = self.some()
        if run is not None:
            facts = {"state": run.state, "attempt": len(run.executions), "result": run.result}
            self.answer(self.ask("look", run.id), **facts)

    def read(self):
        """Read what is written of a log so far; the honest shipper is as fast as light."""
        if self.executions:
            execution = self.dice.choice(self.executions)
            if len(execution.run.plan.pens) == 1:  # else nobody knows yet how they will be mixed
                data = "".join(execution.sources.values()).encode()
                facts = {"attempt": execution.attempt, "size": len(data), "crc": zlib.crc32(data)}
                self.answer(self.ask("read", execution.run.id), **facts)

    def look_for_nothing(self):
        self.answer(self.ask("look", self.new_id()), Fail, error="RunNotFound")

    # What workers do

    def claim(self):
        run = self.some(lambda run: run.state == "queued" and self.has_room(run))
        if run is None:
            return None
        self.pids += 1
        worker = self.dice.choice(self.workers)
        execution = Execution(run, len(run.executions) + 1, worker, self.pids)
        run.state = "running"
        run.executions.append(execution)
        self.executions.append(execution)
        return execution

    def has_room(self, run):
        key = run.asked.concurrency_key
        states = [r.state for r in self.runs.values() if r.asked.concurrency_key == key]
        return key is None or states.count("running") < LIMITS[key]

    def work(self):
        """Let any execution go on for a step; it does not know whether it lost its lease."""
        if self.executions:
            execution = self.dice.choice(self.executions)
            self.begin(execution)
            pens = execution.run.plan.pens
            if pens:
                pen = self.dice.choice([*pens])
                self.write(execution, pen, self.dice.randint(0, pens[pen]))

    def begin(self, execution):
        if not execution.begun:
            execution.begun = True
            self.mark(execution, "start")

    def mark(self, execution, what, **facts):
        self.history.witness.append(Mark(execution.run.id, execution.attempt, what, **facts))

    def write(self, execution, pen, until):
        before = execution.counts[pen]
        for number in range(before + 1, until + 1):
            line = line_of(execution.run.id, execution.attempt, pen, number)
            execution.sources[SOURCES[pen]] += f"{line}\n"
            execution.counts[pen] = number
        if execution.counts[pen] > before and self.dice.random() < 0.7:
            self.mark(execution, "line", pen=pen, line=execution.counts[pen])

    def finish(self, execution):
        """Let the code of an execution come to its own end, and its worker report it."""
        self.begin(execution)
        plan = execution.run.plan
        for pen, count in plan.pens.items():
            self.write(execution, pen, count)
        if plan.sink:
            newer = any(other.begun for other in execution.run.executions[execution.attempt :])
            sink = SinkWrite(execution.run.id, execution.attempt, accepted=not newer)
            self.history.sinks.append(sink)
        if plan.does == "die":
            self.settle(execution, "crashed", "signal(SIGKILL)")
        elif plan.does == "fail":
            self.mark(execution, "end")
            self.settle(execution, "failed", "error", raised=ERROR)
        elif plan.does == "snooze" and execution.attempt == 1:
            self.mark(execution, "end")
            self.settle(execution, "snoozed")
        else:
            result = json.dumps([execution.run.id, execution.attempt])
            self.mark(execution, "end", result=result)
            self.settle(execution, "succeeded", result=result)

    def finish_one(self):
        if self.executions:
            self.finish(self.dice.choice(self.executions))

    def settle(self, execution, outcome, verdict="", result=None, **facts):
        """Write an outcome, if the lease is still held; the execution is over in any case."""
        self.executions.remove(execution)
        if not execution.held:
            return
        execution.held = False
        run = execution.run
        if outcome not in ("succeeded", "snoozed"):
            facts |= {"verdict": verdict, "sentence": verdict, "pid": execution.pid}
        run.ended.append(AttemptDump(execution.attempt, outcome, execution.worker, **facts))
        run.failures += outcome == "failed"
        run.crashes += outcome == "crashed"
        state = self.state_after(run, outcome)
        asked = run.cancel_asked and state == "queued"
        run.state, run.cancel_asked = "cancelled" if asked else state, False
        run.result = result

    def state_after(self, run, outcome):
        if outcome in ("succeeded", "cancelled"):
            return outcome
        if outcome == "failed" and run.failures > run.plan.retries:
            return "failed"
        if outcome == "crashed" and run.crashes > run.plan.crashes:
            return "quarantined"
        return "queued"

    def heed_cancel(self):
        for execution in [*self.executions]:
            if execution.held and execution.run.cancel_asked:
                self.settle(execution, "cancelled", "cancelled(somebody)")

    # What the injector does

    def fault(self, kind, **facts):
        number = len(self.history.faults)
        self.history.faults.append(Fault(number, kind, "start", **facts))
        self.history.faults.append(Fault(number, kind, "healed"))

    def tear(self, execution):
        """Let a kill come in the middle of a write."""
        pens = execution.run.plan.pens
        if pens and self.dice.random() < 0.3:
            pen = min(pens)
            number = execution.counts[pen] + 1
            line = line_of(execution.run.id, execution.attempt, pen, number)
            execution.sources[SOURCES[pen]] += line[: self.dice.randrange(len(line))]

    def kill_executor(self):
        """Kill one that has a crash to spare: who is killed too often is given up."""
        spare = [e for e in self.executions if e.run.crashes < e.run.plan.crashes]
        if spare:
            execution = self.dice.choice(spare)
            self.fault(
                "kill executor", processes=(process_of(execution.worker),), pids=(execution.pid,)
            )
            self.tear(execution)
            self.settle(execution, "crashed", "signal(SIGKILL)")

    def kill_supervisor(self):
        number = self.dice.randrange(3)
        worker, self.workers[number] = self.workers[number], self.new_id()
        self.fault(self.dice.choice(["kill supervisor", "storm"]), processes=(process_of(worker),))
        for execution in [e for e in self.executions if e.worker == worker]:
            self.tear(execution)
            self.settle(execution, "lost", "worker_died(supervisor killed)")

    def orphan(self):
        """Kill a worker at one stroke: what its executions have in a pipe just then is gone."""
        number = self.dice.randrange(3)
        worker, self.workers[number] = self.workers[number], self.new_id()
        kind = self.dice.choice(["blackout", "orphan commands"])
        self.fault(kind, processes=(process_of(worker),))
        for execution in [e for e in self.executions if e.worker == worker]:
            execution.cut = CUT if any(execution.counts.values()) else None
            for pen in PIPED:
                if execution.cut and pen in execution.run.plan.pens:
                    last = execution.counts[pen] + self.dice.randrange(200)
                    self.mark(execution, "line", pen=pen, line=last)
            self.settle(execution, "lost", "worker_died(supervisor killed)")

    def deploy(self):
        number = self.dice.randrange(3)
        worker, self.workers[number] = self.workers[number], self.new_id()
        self.fault("deploy", processes=(process_of(worker),))
        for execution in [e for e in self.executions if e.worker == worker]:
            self.settle(execution, "released", "released(deploy)")

    def freeze(self):
        """Let a worker lose its leases and go on: its executions are zombies."""
        number = self.dice.randrange(3)
        worker, self.workers[number] = self.workers[number], self.new_id()
        self.fault("freeze", processes=(process_of(worker),))
        for execution in [e for e in self.executions if e.worker == worker and e.held]:
            self.settle(execution, "lost", "worker_died(stopped)")
            self.executions.append(execution)

    def give_back(self):
        for execution in self.executions:
            if execution.held and not execution.begun:
                self.settle(execution, "released", "released(busy)")
                return

    # What the observer sees

    def observe(self):
        running = tuple(run.id for run in self.runs.values() if run.state == "running")
        self.history.samples.append(Running(running))
        for worker in self.workers:
            age = self.dice.uniform(0, 60)
            resident = int(self.dice.gauss(4e7, 2e5))
            self.history.samples.append(Memory(0, worker, age, resident))
        if self.executions:
            execution = self.executions[0]
            left = Left(execution.run.id, execution.attempt, execution.pid, self.dice.uniform(0, 7))
            self.history.samples.append(left)

    # The end

    def drain(self):
        for _ in range(1000):
            if all(run.state in (*FINAL, "scheduled") for run in self.runs.values()):
                break
            self.claim()
            self.heed_cancel()
            for execution in [*self.executions]:
                self.finish(execution)
            self.observe()
        names = sorted({a.worker for run in self.runs.values() for a in run.ended})
        self.history.workers = [WorkerDump(name, process_of(name)) for name in names]
        self.history.dump = [self.dumped(run) for run in self.runs.values()]

    def dumped(self, run):
        return RunDump(
            run.id,
            run.asked.task,
            run.state,
            run.asked.arguments,
            dedupe_key=run.asked.dedupe_key,
            concurrency_key=run.asked.concurrency_key,
            attempt=len(run.executions),
            failures=run.failures,
            crashes=run.crashes,
            result=run.result,
            attempts=tuple(
                self.with_log(ended, run.executions[ended.attempt - 1])
                for ended in sorted(run.ended, key=lambda ended: ended.attempt)
            ),
        )

    def with_log(self, ended, execution):
        if not any(execution.sources.values()):
            return ended
        chunks = tuple(cut_up(execution.sources, self.dice))
        last = chunks[-1]
        size, lines = last.start + len(last.data), last.line + last.lines
        end = EndDump(size, lines, last.crc, execution.cut)
        return msgspec.structs.replace(ended, logged=True, chunks=chunks, end=end)


def process_of(worker):
    """A name for the process of a worker."""
    return f"the process of {worker}"


STEPS = {
    World.enqueue: 6,
    World.enqueue_again: 1,
    World.cancel: 1,
    World.retry: 1,
    World.look: 3,
    World.look_for_nothing: 1,
    World.read: 2,
    World.claim: 8,
    World.work: 8,
    World.finish_one: 3,
    World.heed_cancel: 2,
    World.kill_executor: 1,
    World.kill_supervisor: 1,
    World.orphan: 1,
    World.deploy: 1,
    World.freeze: 1,
    World.give_back: 1,
    World.observe: 2,
}


def invent(seed, steps=120):
    """Return a correct history; the same seed gives the same one."""
    world = World(seed)
    for step in world.dice.choices([*STEPS], [*STEPS.values()], k=steps):
        step(world)
    world.drain()
    return world.history
