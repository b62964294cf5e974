"""Machines of their own for workers: network namespaces on one bridge, each with a machine id."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import uuid

# What runs there sees another machine id: $0 is the file with it.
_BOOT = 'mount --bind "$0" /etc/machine-id; exec "$@"'


def ip(*words):
    """Carry out a command of ip(8) and return what it says."""
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


class Machine:
    """One machine: whatever runs `under` it has its network, and no other."""

    def __init__(self, network, number, folder):
        self.name = f"{network.name}n{number}"
        self._cable = f"{network.name}v{number}"
        ip("netns", "add", self.name)
        ip("link", "add", self._cable, "type", "veth", "peer", "eth0", "netns", self.name)
        ip("link", "set", self._cable, "master", network.name, "up")
        for words in (
            ["addr", "add", network.address(number + 2), "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["link", "set", "lo", "up"],
        ):
            ip("-n", self.name, *words)
        identity = folder / f"machine-id-{number}"
        identity.write_text(f"{uuid.uuid4().hex}\n")
        unshare = ["unshare", "--mount", "sh", "-c", _BOOT, str(identity)]
        self.under = ["ip", "netns", "exec", self.name, *unshare]

    def cut_off(self):
        """Pull the cable: nothing comes or goes, and nobody is told."""
        ip("link", "set", self._cable, "down")

    def reconnect(self):
        """Put the cable back."""
        ip("link", "set", self._cable, "up")

    def send(self, number):
        """Send a signal to everything that runs there."""
        for pid in map(int, ip("netns", "pids", self.name).split()):
            os.kill(pid, number)

    def end(self):
        """Switch it off, and take it away."""
        self.send(signal.SIGKILL)
        ip("netns", "del", self.name)


class Network:
    """One bridge, with this host on it under `host`."""

    def __init__(self, folder):
        self._folder = folder
        self._machines = []
        self.name = f"hf{secrets.token_hex(3)}"
        self._part = f"10.213.{secrets.randbelow(250)}"
        self.host = f"{self._part}.1"
        ip("link", "add", self.name, "type", "bridge")
        ip("addr", "add", self.address(1), "dev", self.name)
        ip("link", "set", self.name, "up")

    def address(self, number):
        """The address of a machine, with the size of the network."""
        return f"{self._part}.{number}/24"

    def machine(self):
        """A new machine."""
        self._machines.append(Machine(self, len(self._machines), self._folder))
        return self._machines[-1]

    def close(self):
        """Take everything away."""
        for machine in self._machines:
            machine.end()
        ip("link", "del", self.name)
