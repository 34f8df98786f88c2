"""Held devices that the kernel wants back: pulled by somebody, or their driver is taken off.

The kernel removes no device that a process has open: it asks (``vfio_unregister_group_dev`` and
``vfio_pci_core_request``), and waits. While an owner has it open the holder keeps it too, since nobody else would cut
it again after a reset; once no owner has, it is let go. The rest of its cluster, and all others, stay held; what has
links to it is cut from it, since what comes back in its place is the host's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atoll.act.failure import Failure
from atoll.errors import AtollError
from atoll.guard.keepers import Keeping
from atoll.guard.owners import Tenant
from atoll.pci.address import Address

__all__ = ["Departures"]

_LOG = logging.getLogger("atoll.guard")


@dataclass(slots=True)
class Departures:
    """Which devices are wanted back, and which were let go."""

    users: Callable[[Address], Sequence[Tenant]]
    """Tells which owners have a device open. OSError where that cannot be seen."""
    cut_off: Callable[[Address], None]
    """Cuts the links of what stays held that lead to a device. OSError where they are not seen to be cut."""
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
        done = []
        for address, keeping in tuple(self.wanted.items()):
            try:
                left = (*self.users(address), *handed(address))
                if left:
                    self._reasons[address] = f", and waits for {', '.join(map(str, left))}"
                    continue
                self.cut_off(address)
                keeping.leases[address].close()
            except (AtollError, Failure, OSError) as error:
                # A keeper that has ended closed it by that.
                if not keeping.ended:
                    said = error.message if isinstance(error, AtollError | Failure) else error.strerror or str(error)
                    reason = f", and it could not be let go: {said}"
                    if reason != self._reasons[address]:
                        _LOG.error("unreleased=%s error=%r", address, str(error))
                    self._reasons[address] = reason
                    continue
            del self.wanted[address]
            self.gone.add(address)
            done.append(address)
            _LOG.warning("released=%s reason='the kernel wanted it back, and no owner has it open'", address)
        return tuple(done)
