"""Show what Holdfast does when things go well, fail, hang, grow or die: `make demo`.

Everything happens on a store in a temporary folder, which is removed in the end (`--keep` keeps
it). Each promise is checked; the exit code is 0 only if all were kept.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import tasks
from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.text import Text
from stage import HOLDFAST, Broken, Service, Stage, take_signals

from holdfast import HoldfastError, RunState
from holdfast.core.clock import SECOND
from holdfast.store.runs import RunFilter
from holdfast.why import read_certificate

if TYPE_CHECKING:
    from holdfast import Run
    from holdfast.core.models import AttemptRecord

LIBRARY = sysconfig.get_path("stdlib")
MIB = 1 << 20


def act_one(stage: Stage) -> None:
    """Run a command over real files, and follow its log live."""
    stage.console.rule("[bold]1. A command with a long log, followed live", align="left")
    print("List every class and function that the standard library of Python defines.")
    command = ("sh", "definitions.sh", LIBRARY)
    stage.announce(("run", "--", *command))
    printed, live = follow(stage, command)
    run_id = newest(stage).id
    direct = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    stored = stage.output("logs", run_id)
    lines = direct.count(b"\n")
    stage.check(f"the {lines:,} lines came while the command was still running", kept=live)
    sums = [hashlib.sha256(data).hexdigest() for data in (direct, printed, stored)]
    print(f"    run here:    sha256 {sums[0]}")
    print(f"    followed:    sha256 {sums[1]}")
    print(f"    in store:    sha256 {sums[2]}")
    stage.check(f"{len(direct):,} bytes are the same, byte for byte", kept=len(set(sums)) == 1)
    stage.check("it was thousands of lines", kept=lines > 5000)


def follow(stage: Stage, command: tuple[str, ...]) -> tuple[bytes, bool]:
    """Return what `holdfast run` prints, and whether it came before the command had ended."""
    data = bytearray()
    live = False
    with (
        subprocess.Popen([*HOLDFAST, "run", "--", *command], stdout=subprocess.PIPE) as process,
        Live(console=stage.console, auto_refresh=False, transient=True) as view,
    ):
        assert process.stdout
        try:
            while chunk := os.read(process.stdout.fileno(), 1 << 16):
                live = live or newest(stage).state == RunState.RUNNING
                data += chunk
                view.update(newest_lines(data), refresh=True)
        except BaseException:
            process.kill()
            raise
    stage.console.print(newest_lines(data))
    stage.check("the command ended with exit code 0, and so did `run`", kept=not process.returncode)
    return bytes(data), live


def newest_lines(data: bytearray) -> Text:
    """Return how many lines there are so far, and the last of them."""
    count = data.count(b"\n")
    last = data[-2000:].decode(errors="replace").splitlines()[-4:-1]
    shown = [
        f"    {count:,} lines so far",
        *(f"    …{line.removeprefix(LIBRARY)}" for line in last),
    ]
    return Text("\n".join(shown), style="cyan", no_wrap=True, overflow="ellipsis")


def newest(stage: Stage) -> Run:
    """Return the run that was enqueued last."""
    found = stage.wait_for("a run", lambda: tasks.app.store.runs.list(RunFilter(limit=1)))
    if found[0].run_id not in stage.runs:
        stage.runs.append(found[0].run_id)
    return tasks.app.get_run(found[0].run_id)


def act_two(stage: Stage, service: Service) -> None:
    """Fail twice, wait longer each time, and succeed."""
    stage.console.rule("[bold]2. A function that fails and is tried again", align="left")
    print(f"Fetch a page from {service.url}, where nobody answers yet.")
    run = started(stage, tasks.fetch.enqueue(f"{service.url}/this.py"))
    for number in (1, 2):
        stage.wait_for(f"failure {number}", lambda n=number: len(run.attempts) >= n)
        failed = run.attempts[number - 1]
        certificate = read_certificate(failed)
        print(f"  attempt {number} {failed.outcome}: {certificate.sentence if certificate else ''}")
        if number == 2:
            service.start()
            print("  now the service answers")
    size = run.result(timeout=20)
    pauses = [(b.started_at - a.finished_at) / SECOND for a, b in pairwise(run.attempts)]
    waits = " and ".join(f"{pause:.1f} s" for pause in pauses)
    stage.check("it succeeded in attempt 3", kept=len(run.attempts) == 3)
    stage.check("its result is the page", kept=size == Path(LIBRARY, "this.py").stat().st_size)
    stage.check(f"it waited longer each time: {waits}", kept=pauses[1] > 1.5 * pauses[0] > 1)


def act_three(stage: Stage) -> None:
    """Eat memory, and be stopped at the limit."""
    stage.console.rule("[bold]3. A function that eats memory", align="left")
    print("It may hold 256 MiB, and takes 8 MiB more every 30 ms.")
    run = started(stage, tasks.hoard.enqueue())
    run.wait(timeout=30)
    stage.holdfast("why", run.id)
    certificate = read_certificate(run.attempts[0])
    assert certificate is not None
    peak = certificate.evidence.peak_rss or 0
    told = certificate.verdict in ("oom(cgroup)", "oom(limit)")  # by the kernel, or by sampling
    stage.check("its certificate says so", kept=told)
    stage.check(f"it was stopped at {peak // MIB} MiB", kept=255 * MIB < peak < 400 * MIB)
    stage.check("it waits for an operator", kept=run.state == RunState.QUARANTINED)


def act_four(stage: Stage) -> None:
    """Lose the executor in the middle of an attempt."""
    stage.console.rule("[bold]4. kill -9 in the middle", align="left")
    print("Pack 80 files, one by one; kill the process that does it on its way.")
    target = stage.folder / "library.zip"
    run = started(stage, tasks.pack.enqueue(LIBRARY, str(target)))
    stage.wait_for("20 lines of its log", lambda: run.log(1).count(b"\n") > 20)
    found = re.search(rb"process (\d+)", run.log(1))
    assert found is not None
    os.kill(int(found[1]), signal.SIGKILL)
    killed_at = time.time()
    print(f"  … kill -9 {int(found[1])} …")
    packed = run.result(timeout=30)
    first, _ = (show_log(stage, run.id, number) for number in ("1", "2"))
    again = run.attempts[1].started_at / SECOND - killed_at
    stage.check("attempt 2 packed all files", kept=packed == 80 and target.exists())
    stage.check(f"it began {again:.2f} s after the kill", kept=again < 2)
    stage.check("no line of attempt 1 is lost", kept=is_whole(first, Path(f"{target}.witness1")))
    stage.check("attempt 1 is explained", kept=verdict(run.attempts[0]) == "signal(SIGKILL)")


def is_whole(lines: list[str], witness: Path) -> bool:
    """Tell whether all lines that were written before the kill are there, in order."""
    numbers = [int(line.split()[0]) for line in lines]
    written = int(witness.read_text().split()[-1])
    return numbers == list(range(1, len(numbers) + 1)) and len(numbers) in (written, written + 1)


def verdict(attempt: AttemptRecord) -> str:
    """Return the verdict of an attempt's certificate, or nothing when it has none."""
    certificate = read_certificate(attempt)
    return certificate.verdict if certificate else ""


def show_log(stage: Stage, run_id: str, attempt: str) -> list[str]:
    """Print the ends of the log of an attempt, and return its lines but the first."""
    words = ("logs", "--attempt", attempt, run_id)
    stage.announce(words)
    lines = stage.output(*words).decode().splitlines()
    print("\n".join([*lines[:3], "…", *lines[-2:]]))
    return lines[1:]


def act_five(stage: Stage, service: Service) -> None:
    """Tell the progress of an async function."""
    stage.console.rule("[bold]5. An async function with progress", align="left")
    names = sorted(path.name for path in Path(LIBRARY).glob("*.py"))[:24]
    print(f"Fetch {len(names)} pages, four at a time; the service takes 0.4 s for each.")
    run = started(stage, tasks.crawl.enqueue(service.url, names))
    seen = [0.0]
    with Progress(console=stage.console, disable=not stage.console.is_terminal) as bar:
        shown = bar.add_task("pages", total=len(names))
        while not run.is_finished:
            progress = run.progress
            if progress is not None and progress.done != seen[-1]:
                seen.append(progress.done)
                bar.update(shown, completed=progress.done)
            time.sleep(0.05)
        bar.update(shown, completed=len(names))
    size = sum(Path(LIBRARY, name).stat().st_size for name in names)
    stage.check(f"it fetched {size:,} bytes", kept=run.result(timeout=5) == size)
    told = ", ".join(f"{done:g}" for done in seen[1:])
    stage.check(f"it told how far it was: {told}", kept=len(seen) > 2 and seen == sorted(seen))


def started(stage: Stage, run: Run) -> Run:
    """Note a run for the stories at the end."""
    print(f"  enqueued run {run.id}")
    stage.runs.append(run.id)
    return run


def tell_stories(stage: Stage) -> None:
    """Let the command line tell what became of each run."""
    stage.console.rule("[bold]The story of each run", align="left")
    stage.holdfast("list")
    for run_id in stage.runs:
        stage.holdfast("show", run_id)


def play(stage: Stage) -> None:
    """Play all acts on a stage that is set up."""
    service = Service(LIBRARY)
    try:
        stage.start_worker()
        act_one(stage)
        act_two(stage, service)
        act_three(stage)
        act_four(stage)
        act_five(stage, service)
        tell_stories(stage)
    finally:
        service.close()
        stage.stop_worker()


def conclude(stage: Stage, seconds: float) -> int:
    """Say what was kept, and return the exit code."""
    stage.console.rule("[bold]In the end", align="left")
    if stage.broken:
        stage.console.print(f"[bold red]{len(stage.broken)} promises were broken:[/]")
        print("\n".join(f"  {promise}" for promise in stage.broken))
    print(f"{stage.kept} promises checked and kept, in {seconds:.0f} s.")
    return 1 if stage.broken else 0


def main() -> int:
    """Play the demo and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the folder with the store")
    keep = parser.parse_args().keep
    take_signals()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    stage = Stage(folder, Console(highlight=False))
    try:
        stage.set_up()
        play(stage)
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped.")
        return 130
    except (Broken, HoldfastError, OSError, subprocess.SubprocessError) as problem:
        stage.broken.append(str(problem))
    finally:
        if keep:
            print(f"The store is kept in {folder}")
        else:
            shutil.rmtree(folder)
    return conclude(stage, time.monotonic() - began)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # the lines of child processes come in between
    sys.exit(main())
