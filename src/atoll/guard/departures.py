"""Held devices that the kernel wants back: pulled by somebody, or their driver is taken off.

The kernel removes no device that a process has open: it asks (``vfio_unregister_group_dev`` and
``vfio_pci_core_request``), and waits. While an owner has it open the holder keeps it too, since nobody else would cut
it again after a reset; once no owner has, it is let go. The rest of its cluster, and all others, stay held; what has
links to it is cut from it, since what comes back in its place is the host's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from atoll.act.failure import Failure
from atoll.errors import AtollError
from atoll.guard.keeping import LOOK_PATIENCE, Keeping
from atoll.guard.owners import Tenant
from atoll.pci.address import Address

__all__ = ["Departures"]

_LOG = logging.getLogger("atoll.guard")


@dataclass(slots=True)
class Departures:
    """Which devices are wanted back, and which were let go."""

    users: Callable[[Address], Sequence[Tenant]]
    """Tells which owners have a device open. OSError where that cannot be seen."""
    cut_off: Callable[[Address, Collection[Address]], None]
    """Cuts the links of what stays held, not of others that leave with it, that lead to a device. OSError where they
    are not seen to be cut."""
    wanted: dict[Address, Keeping] = field(default_factory=dict)
    """Those that the kernel waits for."""
    gone: set[Address] = field(default_factory=set)
    """Those that were let go: they are held no more, should they come back."""
    _reasons: dict[Address, str] = field(default_factory=dict)

    def ask(self, address: Address, keeping: Keeping) -> bool:
        """Note that the kernel asks for a device; return whether that is new."""
        if address in self.wanted or address not in keeping.leases:
            return False
        self.wanted[address] = keeping
        self._reasons[address] = ""
        return True

    def reason(self, address: Address) -> str:
        """Return why a device is not, or will not be, held any more; empty for one that is."""
        if address in self.wanted:
            return f"the kernel wants it back{self._reasons[address]}"
        return "the kernel wanted it back, and it was let go" if address in self.gone else ""

    def settle(self, handed: Callable[[Address], Sequence[Tenant]]) -> tuple[Address, ...]:
        """Let go what no owner has open any more; return what that was.

        ``handed`` tells to whom a device is on its way: what was sent and is not received yet is open, and no process
        shows it.
        """
        leaving = set()
        for address, keeping in tuple(self.wanted.items()):
            try:
                # In this order: what was received since it was looked for on its way is seen in a process.
                left = (*handed(address), *self.users(address))
            except OSError as error:
                if not self._kept(address, keeping, error):
                    leaving.add(address)
                continue
            if left:
                self._reasons[address] = f", and waits for {', '.join(map(str, left))}"
            else:
                leaving.add(address)
        leaving = self._cut_from_the_rest(leaving)
        return tuple(address for address in tuple(self.wanted) if address in leaving and self._let_go(address))

    def _cut_from_the_rest(self, leaving: set[Address]) -> set[Address]:
        """Return what of it can go together: of links among these no end is held any more."""
        while True:
            kept = set()
            for address in sorted(leaving):
                try:
                    self.cut_off(address, leaving)
                except (AtollError, Failure, OSError) as error:
                    if self._kept(address, self.wanted[address], error):
                        kept.add(address)
            if not kept:
                return leaving
            leaving = leaving - kept

    def _let_go(self, address: Address) -> bool:
        keeping = self.wanted[address]
        try:
            keeping.leases[address].close(patience=LOOK_PATIENCE)
        except (AtollError, Failure, OSError) as error:
            if self._kept(address, keeping, error):
                return False
        del self.wanted[address]
        self.gone.add(address)
        _LOG.warning("released=%s reason='the kernel wanted it back, and no owner has it open'", address)
        return True

    def _kept(self, address: Address, keeping: Keeping, error: Exception) -> bool:
        """Note why a device could not be let go; return whether it is held still."""
        if keeping.ended:
            # A keeper that has ended closed it by that.
            return False
        if isinstance(error, OSError) and not isinstance(error, AtollError):
            said = error.strerror or str(error)
        else:
            said = str(getattr(error, "message", error))
        reason = f", and it could not be let go: {said}"
        if reason != self._reasons[address]:
            _LOG.error("unreleased=%s error=%r", address, str(error))
        self._reasons[address] = reason
        return True
