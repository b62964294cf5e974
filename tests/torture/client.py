"""Be a client: enqueue, cancel, retry and look, and write down each question and each answer.

It may be killed at any moment. Its next life asks again what the last one got no answer to.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import zlib
from collections import deque
from pathlib import Path

import msgspec

from holdfast import NotAllowed, Run, RunNotFound, StoreUnavailable, new_id
from torture import plans
from torture.history import ClientRecord, Fail, Info, Invoke, Journal, Ok, Strange, path_of
from torture.tasks import HISTORY, app, call_for

REMEMBERED = 400  # runs that it may still cancel, retry or look at
MOST_QUEUED = 1500  # it waits while more are queued
LOOK_EVERY = 20  # operations between two looks at the queue
TAIL = 1 << 20  # bytes of the journal in which the next life looks for its questions
REFUSALS = (NotAllowed, RunNotFound, StoreUnavailable)


class Client:
    """Ask at random; the choices follow from the seed, the number and the life."""

    def __init__(self, seed, number, life):
        self.name = f"client {number}.{life}"
        self.dice = random.Random(f"{seed}/{self.name}")
        self.path = path_of(Path(os.environ[HISTORY]), "clients")
        self.journal = Journal(self.path)
        self.store = app.store
        self.known = deque(maxlen=REMEMBERED)
        self.asked = 0
        self.ending = False

    def run(self):
        """Go on until somebody asks to stop."""
        while not self.ending:
            if self.asked % LOOK_EVERY == 0:
                self.wait_for_room()
            self.one()

    def one(self):
        """Do one thing."""
        chance = self.dice.random()
        if chance < 0.55 or not self.known:
            self.enqueue([plans.order(self.dice)])
        elif chance < 0.66:
            self.enqueue(plans.orders(self.dice, self.dice.randint(2, 120)))
        elif chance < 0.72:
            self.act("cancel", lambda run: {"state": run.cancel(by=self.name)})
        elif chance < 0.76:
            self.act("retry", lambda run: run.retry() or {})
        elif chance < 0.9:
            self.act("look", _seen)
        else:
            self.act("read", _read)

    def wait_for_room(self):
        while not self.ending:
            try:
                if sum(queue.queued for queue in self.store.queues.list()) < MOST_QUEUED:
                    return
            except StoreUnavailable:
                pass
            time.sleep(0.1)

    def question(self, verb, run, **facts):
        self.asked += 1
        invoke = Invoke(f"{self.name}/{self.asked}", verb, run, **facts)
        self.journal.write(invoke)
        return invoke

    def enqueue(self, orders):
        """Enqueue in one transaction."""
        calls, questions = [], []
        for one in orders:
            run = new_id()
            call = call_for(one.plan, one.kind, run_id=run, **one.options)
            calls.append(call)
            questions.append(self.ask_to_enqueue(run, call, one.plan))
            self.known.append(run)
        self.send(calls, questions)

    def ask_to_enqueue(self, run, call, plan):
        task = call.task
        return self.question(
            "enqueue",
            run,
            task=task.name,
            arguments=call.arguments,
            plan=plan,
            dedupe_key=task.dedupe_key,
            concurrency_key=task.concurrency_key,
            concurrency_limit=task.concurrency_limit,
        )

    def send(self, calls, questions):
        try:
            runs = app.enqueue_many(calls)
        except StoreUnavailable as error:
            answers = [_refusal(each, error) for each in questions]
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            answers = [Strange(each.op, repr(error)) for each in questions]
        else:
            pairs = zip(questions, runs, strict=True)
            answers = [Ok(each.op, run=run.id) for each, run in pairs]
        for answer in answers:
            self.journal.write(answer)

    def act(self, verb, do):
        """Do something with one of the last runs."""
        run = self.dice.choice(self.known)
        question = self.question(verb, run)
        try:
            answer = Ok(question.op, **do(Run(run, self.store)))
        except REFUSALS as error:
            answer = _refusal(question, error)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            answer = Strange(question.op, repr(error))
        self.journal.write(answer)

    def ask_again(self, life):
        """Repeat what the last life had asked to enqueue and was not answered: with the same id."""
        for invoke in unanswered(self.path, self.name.replace(f".{life}", f".{life - 1}")):
            options = {"run_id": invoke.run, "dedupe_key": invoke.dedupe_key}
            if invoke.concurrency_key is not None:
                options |= {
                    "concurrency_key": invoke.concurrency_key,
                    "concurrency_limit": invoke.concurrency_limit,
                }
            if invoke.plan.later:
                options["run_after"] = plans.LATER_SECONDS
            kind = _kind_of(invoke)
            call = call_for(invoke.plan, kind, **options)
            self.send([call], [self.ask_to_enqueue(invoke.run, call, invoke.plan)])


def _read(run):
    attempt = run.record.attempt or 1
    log = run.log(attempt)
    return {"attempt": attempt, "size": len(log), "crc": zlib.crc32(log)}


def _refusal(question, error):
    unknown = isinstance(error, StoreUnavailable) and error.unknown
    return (Info if unknown else Fail)(question.op, type(error).__name__)


def _seen(run):
    record = run.record
    return {"state": record.state.value, "attempt": record.attempt or 0, "result": record.result}


def _kind_of(invoke):
    names = {"torture.command": "command", "torture.tasks.work_async": "async"}
    return names.get(invoke.task, "sync")


def unanswered(path, name):
    """The last questions of a client that got no answer."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        lines = file.read().splitlines()[1:]
    decoder = msgspec.json.Decoder(ClientRecord)
    asked = {}
    for line in lines:
        if line.startswith(b"{") and f"{name}/".encode() in line and line.endswith(b"}"):
            record = decoder.decode(line)
            if isinstance(record, Invoke) and record.verb == "enqueue":
                asked[record.op] = record
            else:
                asked.pop(record.op, None)
    return [*asked.values()]


def main():
    """Start as ``python -m torture.client SEED NUMBER LIFE``."""
    seed, number, life = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    client = Client(seed, number, life)
    signal.signal(signal.SIGTERM, lambda *_: setattr(client, "ending", True))
    if life:
        client.ask_again(life)
    client.run()


if __name__ == "__main__":
    main()
