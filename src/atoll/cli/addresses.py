"""Addresses as people type them."""

from __future__ import annotations

from atoll.errors import InputError
from atoll.host.groups import only_grouped
from atoll.host.model import Host
from atoll.pci.address import Address

__all__ = ["address_of", "function_address"]


def address_of(text: str) -> Address:
    """Read an address. Raises InputError."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise InputError(
            str(error), hint="an address is written as in sysfs: 0004:04:00.0, or 04:00.0 in domain 0"
        ) from error


def function_address(text: str, host: Host) -> Address:
    """Read the address of one of a machine's functions. Raises InputError, which tells of its group what is known."""
    address = address_of(text)
    if address in host.functions:
        return address
    grouped = only_grouped(host, address)
    if not grouped:
        near = [str(other) for other in host.functions if other[1:] == address[1:]]
        hint = f"did you mean {near[0]}?" if near else "see: atoll show"
        if not host.functions:
            hint = "give lspci -nnvvv, run as root, beside it; what messages in it mean tells atoll doctor"
        raise InputError(f"{host.name} has no function {address}", hint=hint)
    hint = "give lspci -nnvvv, run as root, beside it: --host LIST --host LSPCI"
    raise InputError(f"{host.name} shows of {address} {grouped}", hint=hint)
