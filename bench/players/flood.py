"""A command that writes so many log lines as fast as it can: `flood.py write|print LINES`.

`write` fills the pipe or file in big pieces, as a C program would; `print` prints each line.
"""

from __future__ import annotations

import sys
import time
from itertools import cycle, islice

LINE = 80  # bytes, with the newline
DIFFERENT = 10_000


def lines() -> list[str]:
    """Return lines as a web shop would log them, all of the same length."""
    texts = (
        f"2026-11-21 16:14:{n % 60:02}.{n % 1000:03} INFO shop.orders order {n * 7919:09} "
        f"shipped to {n % 977:07}"
        for n in range(DIFFERENT)
    )
    return [text.ljust(LINE - 1, ".") for text in texts]


def write(count: int) -> None:
    """Write lines in pieces of 800 kB."""
    block = "".join(f"{line}\n" for line in lines()).encode()
    for _ in range(count // DIFFERENT):
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.write(block[: count % DIFFERENT * LINE])
    sys.stdout.buffer.flush()


def print_lines(count: int) -> float:
    """Print lines and return the seconds that printing took."""
    texts = lines()
    began = time.perf_counter()
    for line in islice(cycle(texts), count):
        print(line)
    return time.perf_counter() - began


if __name__ == "__main__":
    how, how_many = sys.argv[1], int(sys.argv[2])
    if how == "write":
        write(how_many)
    else:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        sys.stderr.write(f"{print_lines(how_many)}\n")
