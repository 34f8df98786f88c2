"""The holder's side of its keepers: a process a cluster, whose open devices are leases like any other.

It satisfies :class:`atoll.act.live.machine.VfioLeases`, so that the same executor opens, cuts and closes through it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from atoll.guard.keeper_process import run_keeper
from atoll.guard.keeping import Keeping, KeptLease
from atoll.pci.address import Address

__all__ = ["Keepers", "start_keeper"]


def start_keeper(holder: str) -> Keeping:
    """Start a keeper's process."""
    with ExitStack() as undo:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        for end in (end for pair in pairs for end in pair):
            undo.callback(end.close)
        (orders, theirs), (events, told) = pairs
        parent = os.getpid()
        # No end comes while it is not yet ready for one.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        try:
            child = os.fork()
            if not child:
                try:
                    run_keeper(theirs, told, holder, parent)
                finally:
                    os._exit(0)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        undo.pop_all()
    theirs.close()
    told.close()
    for end in (orders, events):
        end.setblocking(False)
    return Keeping(holder, child, orders, events)


class Keepers:
    """The keepers of one holder; a context manager that ends them."""

    def __init__(self, start: Callable[[str], Keeping] = start_keeper) -> None:
        self._start = start
        self._keeping: dict[str, Keeping] = {}

    @property
    def by_holder(self) -> Mapping[str, Keeping]:
        """All that were started, by their names."""
        return self._keeping

    @property
    def pids(self) -> frozenset[int]:
        """The processes of those that run."""
        return frozenset(keeping.pid for keeping in self._keeping.values() if keeping.pid)

    def lease(self, address: Address, *, holder: str) -> KeptLease:
        """Open a device for a holder, or return its lease. VfioError."""
        keeping = self._keeping.get(holder)
        if keeping is None:
            keeping = self._keeping[holder] = self._start(holder)
        if address not in keeping.leases:
            resets = keeping.order("open", address)["resets"]
            keeping.leases[address] = KeptLease(keeping, address, resets=bool(resets))
        return keeping.leases[address]

    def close(self) -> None:
        """End all of them, which closes what they have open."""
        for keeping in self._keeping.values():
            keeping.end()

    def __enter__(self) -> Keepers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
