"""The work of the demo: one task that is fine, and three that have a bad night."""

from __future__ import annotations

import asyncio
import http.client
import os
import time
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from holdfast import App, Context, Retry

MIB = 1 << 20

app = App()


@app.task(retries=Retry(4, backoff="exponential", delay="1s"))
def fetch(url: str) -> int:
    """Fetch a page and return its length; raises while the service is down."""
    print(f"asking for {url}")
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    connection.request("GET", parts.path)
    return len(connection.getresponse().read())


@app.task(memory="256MiB", crashes=0)
def hoard() -> None:
    """Take more and more memory, and give none back."""
    kept = []
    for number in range(1, 129):  # a gibibyte, should nobody stop it
        kept.append(b"\x01" * (8 * MIB))
        print(f"holding {8 * number} MiB")
        time.sleep(0.03)


@app.task(takes_context=True)
def pack(context: Context, folder: str, target: str) -> int:
    """Pack Python files into an archive that is there whole or not at all.

    A run may be carried out twice, so it writes beside the target and moves it there at the end.
    """
    files = sorted(Path(folder).glob("*.py"))[:80]
    part, witness = Path(f"{target}.part"), Path(f"{target}.witness{context.attempt}")
    context.log("attempt %d runs in process %d", context.attempt, os.getpid())
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, file in enumerate(files, 1):
            archive.write(file, file.name)
            print(f"{number} {file.name}")
            with witness.open("a") as told:
                told.write(f"{number}\n")  # for the demo: so many lines were written
            time.sleep(0.03)
    part.replace(target)
    return len(files)


@app.task(takes_context=True)
async def crawl(context: Context, base: str, names: list[str]) -> int:
    """Fetch many pages, four at a time, and return how many bytes they have together."""
    gate = asyncio.Semaphore(4)
    done = 0

    async def length(name: str) -> int:
        nonlocal done
        async with gate:
            page = await _get(base, name)
        done += 1
        context.progress(done, len(names), name)
        return len(page)

    return sum(await asyncio.gather(*map(length, names)))


async def _get(base: str, name: str) -> bytes:
    parts = urlsplit(base)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(f"GET /{name} HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    return answer.partition(b"\r\n\r\n")[2]
