"""Put workers where memory is short, or where they have no rights to cgroups."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.waiting import wait_until
from holdfast.core.ids import new_id
from holdfast.worker import cgroup

# No cgroup can be seen and the log of the kernel cannot be read, as for most users.
WITHOUT_RIGHTS = (
    *("unshare", "--mount", "sh", "-c"),
    'mount -t tmpfs none /sys/fs/cgroup && mount --bind /dev/null /dev/kmsg && exec "$@"',
    "sh",
)
# The same without the log alone: what counts then is what the cgroups count.
WITHOUT_KERNEL_LOG = (
    *("unshare", "--mount", "sh", "-c"),
    'mount --bind /dev/null /dev/kmsg && exec "$@"',
    "sh",
)


class Container:
    """A cgroup around a worker, as a container has one."""

    def __init__(self, folder, limit_file):
        self.folder = folder
        self._limit_file = limit_file

    def limit(self, size):
        """Let all in it hold so many bytes together."""
        (self.folder / self._limit_file).write_text(str(size))

    @property
    def under(self):
        """What to start a worker under, so that it runs in there."""
        enter = f'echo $$ > {self.folder}/cgroup.procs && exec "$@"'
        return ("sh", "-c", enter, "sh")

    def remove(self):
        """Remove it once all in it have ended."""
        wait_until(lambda: not (self.folder / "cgroup.procs").read_text(), within=20)
        wait_until(lambda: cgroup._remove(self.folder))


@contextmanager
def a_container():
    """A cgroup with a limit of its own; it goes when all in it are gone."""
    place = cgroup.find()
    assert not place.why_not, place.why_not
    folder = Path(place.memory, f"test-{new_id()}")
    folder.mkdir()
    container = Container(folder, cgroup._FILES[place.version].limit)
    try:
        yield container
    finally:
        container.remove()


@pytest.fixture
def container(request):
    """A cgroup around workers of the test, which end before it does."""
    with a_container() as container:
        yield container
        request.getfixturevalue("worker").end()
