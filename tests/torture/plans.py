"""Choose what a run is told to do: the load of a torture."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from torture.history import Plan

OFTEN = 60  # kills at random are no poison: who is no poison has that many crashes to spare
TINY = Plan(crashes=OFTEN)
DEDUPE_KEYS = [f"report {number}" for number in range(40)]
CONCURRENCY_KEYS = {**{f"narrow {n}": 1 for n in range(4)}, **{f"wide {n}": 3 for n in range(4)}}
PENS = ("print", "say", "log", "fd", "err")
ASYNC_PENS = ("print", "say", "log")
COMMAND_PENS = ("fd", "err")
QUEUES = ("default", "mail")
COMMAND_SECONDS = (0.0, 0.0, 0.3, 0.3, 20.0)
LATER_SECONDS = 86_400


@dataclass
class Order:
    """What a client is to enqueue: a plan, the kind of task, and the options of the run."""

    plan: Plan
    kind: str = "sync"
    options: dict = field(default_factory=dict)


def orders(dice, count):
    """Choose many small ones, for one transaction."""
    return [Order(TINY, dice.choice(["sync", "async"])) for _ in range(count)]


def order(dice):
    """Choose one of any sort."""
    sort = dice.choices([*SORTS], [*SORTS.values()])[0]
    found = sort(dice)
    if dice.random() < 0.15:
        found.options["dedupe_key"] = dice.choice(DEDUPE_KEYS)
    elif dice.random() < 0.15:
        key = dice.choice([*CONCURRENCY_KEYS])
        limit = CONCURRENCY_KEYS[key]
        found.options |= {"concurrency_key": key, "concurrency_limit": limit}
    if dice.random() < 0.2:
        found.options["queue_name"] = QUEUES[1]
    if dice.random() < 0.2:
        found.options["priority"] = dice.choice([-5, 5])
    if dice.random() < 0.1 and not found.plan.later:
        found.options["run_after"] = dice.choice([0.3, 2.0])
    return found


def _talker(dice):
    lines = dice.choice([3, 3, 20, 20, 300])
    pens = dict.fromkeys(dice.sample(PENS, dice.randint(1, 3)), lines)
    return Order(Plan(pens=pens, sink=dice.random() < 0.5, crashes=OFTEN))


def _async_talker(dice):
    pens = dict.fromkeys(dice.sample(ASYNC_PENS, 2), dice.choice([3, 20, 100]))
    seconds = dice.choice([0.0, 0.05, 0.5])
    return Order(Plan(pens=pens, seconds=seconds, crashes=OFTEN), "async")


def _command(dice):
    pens = dict.fromkeys(dice.sample(COMMAND_PENS, dice.randint(1, 2)), dice.choice([3, 50, 400]))
    plan = Plan(pens=pens, seconds=dice.choice(COMMAND_SECONDS), crashes=OFTEN, retries=OFTEN)
    if dice.random() < 0.3:
        plan = replace(plan, does="fail", ends=("failed",), blames=("exit(3)",), retries=1)
    return Order(plan, "command")


def _sleeper(dice):
    seconds = dice.choice([0.05, 0.3, 0.3, 2.0, 9.0])
    kind = dice.choice(["sync", "async", "async"])
    return Order(Plan(seconds=seconds, pens={"print": 5}, crashes=OFTEN), kind)


def _failing(dice):
    retries = dice.randint(0, 2)
    plan = Plan("fail", ends=("failed",), blames=("error",), retries=retries, crashes=OFTEN)
    return Order(plan, dice.choice(["sync", "async"]))


def _flaky(dice):
    limits = {"retries": OFTEN, "crashes": OFTEN}
    plan = Plan("fail", times=dice.randint(1, 2), blames=("error",), pens={"print": 4}, **limits)
    return Order(plan, dice.choice(["sync", "async"]))


def _snoozing(dice):
    plan = Plan("snooze", times=1, sink=True, crashes=OFTEN)
    return Order(plan, dice.choice(["sync", "async"]))


def _later(_dice):
    return Order(Plan("later", later=True, crashes=OFTEN), options={"run_after": LATER_SECONDS})


def poison(_dice):
    """It kills its executor each time."""
    blames = ("signal(SIGKILL)",)
    return Order(Plan("die", ends=("quarantined",), blames=blames, crashes=1, pens={"print": 3}))


def crash(_dice):
    """It makes its executor crash each time."""
    return Order(Plan("crash", ends=("quarantined",), blames=("crash(SIGSEGV)",), crashes=1))


def crash_once(_dice):
    """It makes its executor crash once."""
    return Order(Plan("crash", times=1, blames=("crash(SIGSEGV)",), crashes=OFTEN))


def hog(_dice):
    """It takes more memory than it may."""
    return Order(Plan("hog", ends=("quarantined",), blames=("oom(",), crashes=0))


def hang(dice):
    """It never comes back."""
    plan = Plan("hang", ends=("failed",), blames=("timeout(",), crashes=OFTEN)
    return Order(plan, dice.choice(["sync", "async"]))


def escape(dice):
    """It leaves a process behind."""
    return Order(Plan("escape", crashes=OFTEN, retries=OFTEN), dice.choice(["sync", "command"]))


def fork(_dice):
    """It forks, and its child comes back as well."""
    return Order(Plan("fork", pens={"print": 3}, crashes=OFTEN))


def flood(dice):
    """It writes without an end in sight."""
    kind = dice.choice(["sync", "command"])
    pens = {"fd": 40_000} if kind == "command" else {dice.choice(["print", "fd"]): 40_000}
    return Order(Plan(pens=pens, crashes=OFTEN, retries=OFTEN), kind)


SORTS = {
    _talker: 30,
    _async_talker: 25,
    _command: 6,
    _sleeper: 8,
    _failing: 6,
    _flaky: 6,
    _snoozing: 6,
    _later: 1,
}
SPECIAL = {
    "poison": poison,
    "segfault": crash,
    "segfault once": crash_once,
    "memory hog": hog,
    "hang": hang,
    "escape": escape,
    "fork": fork,
    "flood": flood,
}
