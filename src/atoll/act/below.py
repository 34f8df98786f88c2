"""What is below a port that was changed, and who uses it."""

from __future__ import annotations

from collections.abc import Collection

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.host.model import Host
from atoll.pci.address import Address

__all__ = ["is_above", "used_below"]


def is_above(host: Host, address: Address, port: Address) -> bool:
    """Whether a port, or a function itself, is on the way up from a function."""
    at: Address | None = address
    while at is not None:
        if at == port:
            return True
        function = host.functions.get(at)
        at = function.parent if function is not None else None
    return False


def used_below(
    machine: Machine, host: Host, ports: Collection[Address], known: Collection[Address]
) -> dict[Address, str]:
    """Return the ports that somebody has devices open below, by address, with the sentence that tells it.

    Not asked of what is ``known``, that entries tell of: of a cluster's devices that needed no change of their own none
    does.
    """
    found: dict[Address, str] = {}
    for address, function in sorted(host.functions.items()):
        above = [port for port in ports if is_above(host, address, port)]
        if function.is_port or address in known or not above:
            continue
        try:
            holder = device.other(machine, address)
            because = device.in_use(address, holder) if holder is not None else ""
        except Failure as error:
            because = error.message
        if because:
            found.update((port, f"{port} stays as it is set: below it, {because}") for port in above)
    return found
