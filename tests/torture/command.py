"""Do what a plan says, as a command: no package is at hand, and the token is in the environment."""

from __future__ import annotations

import json
import os
import select
import signal
import sys

EVERY = 500  # lines between two words to the witness


def mark(what, **facts):
    """Tell the witness, by one synced write."""
    record = {"run": RUN, "attempt": ATTEMPT, "what": what, **facts}
    os.write(WITNESS, b"\n" + json.dumps(record).encode() + b"\n")
    os.fdatasync(WITNESS)


def write(pen, count):
    """Write the lines of a pen."""
    for number in range(1, count + 1):
        width = (0, 7, 60, 200)[number % 4]
        line = f"{RUN}.{ATTEMPT} {pen} {number} {'x' * width}\n"
        os.write(2 if pen == "err" else 1, line.encode())
        if number % EVERY == 0 or number == count:
            mark("line", pen=pen, line=number)


RUN, ATTEMPT = os.environ["HOLDFAST_RUN_ID"], int(os.environ["HOLDFAST_ATTEMPT"])
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT
WITNESS = os.open(f"{os.environ['TORTURE_HISTORY']}/witness.jsonl", FLAGS, 0o600)
PLAN = json.loads(sys.argv[1])
DOES = PLAN.get("does") if ATTEMPT <= (PLAN.get("times") or ATTEMPT) else "succeed"

mark("start")
for name, lines in PLAN.get("pens", {}).items():
    write(name, lines)
select.select([], [], [], PLAN.get("seconds", 0))  # not by the call that libfaketime breaks
if DOES == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if DOES == "escape":
    os.environ["TORTURE_ATTEMPT"] = f"{RUN}.{ATTEMPT}"
    if not os.fork():
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        select.select([], [], [], 1000)
mark("end", result=None if DOES == "fail" else "null")
sys.exit(3 if DOES == "fail" else 0)
