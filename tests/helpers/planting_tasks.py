"""Tasks that plant in the spool what does not belong there: links, pipes, false records."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from holdfast import App

app = App()
SPOOL = Path("spool")


def record(stream, length, time=0, text=b"false"):
    """A record as nobody but a task would write it."""
    return struct.pack("<2sBIQ", b"\xf5\xfa", stream, length, time) + text


def forge(folder, data):
    with (folder / "0.rec").open("ab") as file:
        file.write(data)


def replace_with_link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def worker(place, *parts):
    """The folder of a worker that never was."""
    folder = SPOOL / str(uuid4())
    folder.mkdir()
    place(folder.joinpath(*parts))


def keep_busy(folder):
    program = (
        "import sys,time,itertools\nfor n in itertools.count(): open(f'{sys.argv[1]}/{n}', 'w')"
    )
    subprocess.Popen([sys.executable, "-c", program, folder], stderr=subprocess.DEVNULL)


WAYS = {
    "nothing": lambda mine, ours: None,
    "pipe for output": lambda mine, ours: os.mkfifo(mine / "1.out"),
    "folder for output": lambda mine, ours: (mine / "1.out").mkdir(),
    "link for output": lambda mine, ours: (mine / "1.out").symlink_to(Path("precious").absolute()),
    "device for output": lambda mine, ours: (mine / "2.err").symlink_to("/dev/zero"),
    "link for records": lambda mine, ours: replace_with_link(mine / "0.rec", "/dev/zero"),
    "link for notes": lambda mine, ours: [
        (mine / name).symlink_to(Path("precious").absolute()) for name in ("shipped", "holes")
    ],
    "pipe for notes": lambda mine, ours: [
        *(os.mkfifo(mine / name) for name in ("shipped", "holes", "secrets")),
        forge(mine, record(99, 5)),
    ],
    "unknown stream": lambda mine, ours: forge(mine, record(99, 5)),
    "endless record": lambda mine, ours: forge(mine, record(1, 1 << 31, text=b"false" * 30_000)),
    "record of the far future": lambda mine, ours: forge(mine, record(1, 5, (1 << 64) - 1)),
    "no folder": lambda mine, ours: shutil.rmtree(mine),
    "file for folder": lambda mine, ours: [shutil.rmtree(mine), mine.write_text("false")],
    "link for folder": lambda mine, ours: [
        shutil.rmtree(mine),
        mine.symlink_to(Path("precious folder").absolute()),
    ],
    "closed folder": lambda mine, ours: mine.chmod(0),
    "busy folder": lambda mine, ours: keep_busy(mine),
    "file for another run": lambda mine, ours: (ours / f"{uuid4()}.1").write_text("false"),
    "link for another run": lambda mine, ours: (ours / f"{uuid4()}.1").symlink_to(
        Path("precious folder").absolute()
    ),
    "pipe for arguments": lambda mine, ours: os.mkfifo(ours / f"{mine.name[:-1]}2.arguments"),
    "pipe for lock": lambda mine, ours: worker(os.mkfifo, "lock"),
    "bytes for lock": lambda mine, ours: worker(lambda path: path.write_bytes(b"\xff"), "lock"),
    "device for lock": lambda mine, ours: worker(lambda path: path.symlink_to("/dev/zero"), "lock"),
    "link for worker": lambda mine, ours: (SPOOL / str(uuid4())).symlink_to(ours.absolute()),
}


def our_folder():
    """The folder of this worker."""
    return SPOOL / os.environ["HOLDFAST_WORKER_ID"]


@app.task(takes_context=True)
def plant(context, way):
    print("before")  # noqa: T201 - it is what is looked at
    ours = our_folder()
    WAYS[way](ours / f"{context.run_id}.{context.attempt}", ours)
    print("after")  # noqa: T201 - it is what is looked at


@app.task(takes_context=True, retries=1)
def length_at_last(context, text):
    """Plant a pipe where the arguments of the next attempt will be handed over."""
    if context.attempt > 1:
        return len(text)
    ours = our_folder()
    os.mkfifo(ours / f"{context.run_id}.2.arguments")
    raise ValueError


@app.task
def say(text):
    print(text)  # noqa: T201 - it is what is looked at
    os.write(1, b"to the descriptor\n")
