"""Plant one error in a correct history; each kind names the finding that must tell of it.

A mutation changes the history that it is given, and returns False when there is nothing in it
that it could change.
"""

from __future__ import annotations

from uuid import UUID

from msgspec.structs import replace

from torture.book import Book
from torture.history import Invoke


def caught_as(finding):
    """Declare what must tell of a mutation."""

    def declare(mutation):
        mutation.caught_as = finding
        return mutation

    return declare


def mutations_in(*modules):
    """All mutations of some modules, with the kind of finding that must tell of each."""
    found = [one for module in modules for one in vars(module).values()]
    return {one: one.caught_as for one in found if hasattr(one, "caught_as")}


class Subject:
    """A history with what mutations need to find their way in it."""

    def __init__(self, history, dice):
        self.history = history
        self.dice = dice
        self.book = Book(history)

    def new_id(self):
        return str(UUID(int=self.dice.getrandbits(128), version=4))

    def choose(self, found):
        found = list(found)
        return self.dice.choice(found) if found else None

    def run(self, condition=lambda _: True):
        return self.choose(run for run in self.history.dump if condition(run))

    def story(self, run):
        return self.book.story(run.run)

    def untouched(self, run):
        """Nobody retried it, so its end and its counts are those of all its attempts."""
        return not self.story(run).retries

    def was_accepted(self, run):
        return any(op.happened and op.answer.run == run.run for op in self.story(run).enqueues)

    def attempt(self, condition):
        return self.choose(
            (run, attempt)
            for run in self.history.dump
            for attempt in run.attempts
            if condition(run, attempt)
        )

    def set_run(self, run, **changes):
        self.history.dump[self.history.dump.index(run)] = replace(run, **changes)
        return True

    def set_attempt(self, found, **changes):
        if found is None:
            return False
        run, attempt = found
        changed = replace(attempt, **changes)
        attempts = tuple(changed if one is attempt else one for one in run.attempts)
        return self.set_run(run, attempts=attempts)

    def set_invokes(self, run, **changes):
        clients = self.history.clients
        for place, record in enumerate(clients):
            if isinstance(record, Invoke) and (record.verb, record.run) == ("enqueue", run.run):
                clients[place] = replace(record, **changes)

    def drop_marks(self, run, attempt, *whats):
        def gone(mark):
            return (mark.run, mark.attempt) == (run.run, attempt.attempt) and mark.what in whats

        self.history.witness[:] = [mark for mark in self.history.witness if not gone(mark)]
        return True

    def say(self, invoke, answer):
        self.history.clients += [invoke, answer]
        return True
