"""Small file systems of their own, to fill, to break and to look into."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

import pytest


class Disk:
    """One mounted file system."""

    def __init__(self, path):
        self.path = path

    def mount(self, kind, *options, device="none"):
        """Mount a file system of a kind here."""
        assert os.geteuid() == 0, "this test mounts a file system: run it as root"
        self.path.mkdir()
        subprocess.run(
            ["mount", "-t", kind, "-o", ",".join(options), device, self.path], check=True
        )

    def remount(self, *options):
        """Change how it is mounted."""
        subprocess.run(["mount", "-o", ",".join(["remount", *options]), self.path], check=True)

    def break_down(self):
        """Let it turn read-only for good, as a file system does that has met an error."""
        subprocess.run(["mount", "-o", "remount,abort", self.path], check=True)

    def unmount(self):
        """Take it away, also from those who still use it."""
        subprocess.run(["umount", "--lazy", self.path], check=True)

    def fill(self, leave=0, name="ballast"):
        """Fill it with a file until no more than so many bytes are free; return the file."""
        file = self.path / name
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
        while (more := self.free - leave) > 0:
            with suppress(OSError):  # somebody else has taken a part of it just now
                os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, more)
        os.close(descriptor)
        return file

    @property
    def free(self):
        """How many bytes are free."""
        now = os.statvfs(self.path)
        return now.f_bavail * now.f_frsize


@pytest.fixture
def disk(tmp_path):
    """Mount small file systems: `disk("64M")`, `disk("64M", inodes=30)`, `disk(kind="ext4")`."""
    mounted = []

    def mount(size="64M", *, inodes=None, kind="tmpfs"):
        made = Disk(tmp_path / f"disk-{len(mounted)}")
        match kind:
            case "tmpfs":
                more = [f"nr_inodes={inodes}"] if inodes else []
                made.mount(kind, f"size={size}", "mode=700", *more)
            case "ramfs":
                made.mount(kind, "mode=700")
            case "ext4":
                image = tmp_path / f"image-{len(mounted)}"
                subprocess.run(["truncate", "-s", size, image], check=True)
                subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
                made.mount(kind, "loop", device=image)
        mounted.append(made)
        return made

    yield mount
    for made in mounted:
        made.unmount()
