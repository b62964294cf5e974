"""A spool, a store, and shippers between them that come and go."""

from __future__ import annotations

from helpers.databases import settings_for
from holdfast.core.clock import FixedClock
from holdfast.core.ids import RunId, new_id
from holdfast.core.masking import Mask
from holdfast.core.models import Lease
from holdfast.store import open_store
from holdfast.worker.shipper import UNWATCHED_SECONDS, Shipper
from holdfast.worker.spool import AttemptSpool, folder_of, mark_end


class Bench:
    """One attempt that writes, and shippers that come and go."""

    def __init__(self, folder, spool=None, secrets=()):
        self.secrets = secrets
        self.clock = FixedClock()
        self.store = open_store(settings_for(folder), self.clock)
        self.store.prepare()
        self.spool = (spool or folder) / "spool"
        self.spool.mkdir()
        self.lease = Lease(RunId(new_id()), 1)
        self.attempt = AttemptSpool(self.spool, self.lease)
        self.folder = folder_of(self.spool, self.lease)
        self.shipper = self.new_shipper()

    def new_shipper(self):
        return Shipper(self.store.logs, self.spool, self.clock, Mask(self.secrets))

    def append(self, name, data):
        self.folder.mkdir(exist_ok=True)
        with (self.folder / name).open("ab") as file:
            file.write(data)

    def ship(self, after=UNWATCHED_SECONDS):
        self.shipper.run_once()
        self.clock.advance(after)
        self.shipper.run_once()

    def stored(self, stream=None):
        chunks = list(self.store.logs.iterate(self.lease))
        return b"".join(c.data for c in chunks if stream is None or c.stream == stream)

    def on_disk(self):
        """The bytes that the files of the attempt take on the disk."""
        return sum(file.stat().st_blocks * 512 for file in self.folder.iterdir())

    def end(self):
        mark_end(self.spool, self.lease)
        for _ in range(50):
            self.ship()
            if (end := self.store.logs.end(self.lease)) is not None:
                return end
        raise AssertionError("the log never ended")
