"""Inside the guest: an owner of a held device, who outlives the holder."""

import os
import signal
import socket
from pathlib import Path

from killed_host import MASK, must
from killing import Observed

from atoll.guard import message
from atoll.plan.possession import holder_name
from atoll.vfio.handover import receive
from lab.gpu.driver import MAILBOX, Register


class Tenant:
    """An owner's process. It drives the device that it is handed, and ends when it is killed."""

    def __init__(self, cluster: str, address: str) -> None:
        self.cluster = cluster
        self.address = address
        self.connection, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            try:
                Path("/proc/self/comm").write_text("tenant")
                self.connection.close()
                self.live(there)
            finally:
                os._exit(0)
        there.close()

    @staticmethod
    def live(connection: socket.socket) -> None:
        """Look at the device, reset it, or run on it no longer, whenever that is asked for."""
        answer, descriptors = message.receive(connection)
        assert answer is not None
        device = receive(answer["handover"], descriptors).devices[0]
        connection.send(b"taken")
        while asked := connection.recv(64):
            if asked == b"reset":
                device.reset()
                device.decode(True)
            elif asked == b"stop":
                device.region(0).write32(MAILBOX + Register.OWNER, 0)
            connection.send(str(device.region(0).read32(MASK) >> 16).encode())

    def take(self, machine: Observed) -> None:
        """Have its device handed to it by its keeper."""
        keeping = machine.keepers.by_holder[holder_name(self.cluster)]
        keeping.order("hand", None, self.connection.fileno(), devices=[self.address], reply={})
        # Its keeper sends through it without waiting, which holds for all who have it.
        self.connection.setblocking(True)
        must(self.connection.recv(64) == b"taken", "the tenant has its device")
        machine.points.mine.pop(self.address)

    def ask(self, what: bytes) -> int:
        """Return the links that it sees as cut, after what it was asked to do."""
        self.connection.send(what)
        return int(self.connection.recv(64))

    def end(self) -> None:
        """Kill it: what it has open is closed, which resets its device."""
        self.ask(b"stop")
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.connection.close()
