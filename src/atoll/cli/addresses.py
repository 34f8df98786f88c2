"""Addresses as people type them, and paste them from what other programs print."""

from __future__ import annotations

from atoll.errors import InputError
from atoll.host.model import Host
from atoll.pci.address import Address
from atoll.plan.selector import counts, matching

__all__ = ["address_of", "function_address"]

_NAMED = 8
_HINT = "an address is written as in sysfs: 0004:04:00.0, or 04:00.0 in domain 0"


def address_of(text: str) -> Address:
    """Read an address. Raises InputError."""
    try:
        return Address.parse(_plain(text))
    except ValueError as error:
        raise InputError(str(error), hint=_HINT) from error


def _plain(text: str) -> str:
    """Return an address without what stands around it: a path in sysfs, lshw's ``pci@``, libvirt's ``pci_0000_…``."""
    word = text.strip().strip("[](),;'\"").rstrip("/").rpartition("/")[2].removeprefix("pci@")
    parts = word.split("_")
    if parts[0] == "pci" and len(parts) == 5:
        return f"{':'.join(parts[1:4])}.{parts[4]}"
    return word


def function_address(text: str, host: Host) -> Address:
    """Read what names one of a machine's functions: its address, that of its device if it is the only one there, ids,
    or the number of a GPU (``gpu[0]``).

    Raises InputError.
    """
    if counts(text):
        return _single(matching(text, host), f"{text!r} names", host)
    device = _plain(text)
    if "." not in device:
        return _of_device(device, host)
    address = address_of(text)
    if address in host.functions:
        return address
    near = [str(other) for other in host.functions if other[1:] == address[1:]]
    hint = f"did you mean {near[0]}?" if near else "see: atoll show"
    if not host.functions:
        hint = "give lspci -nnvvv, run as root, beside it; what messages in it mean tells atoll doctor"
    raise InputError(f"{host.name} has no function {address}", hint=hint)


def _of_device(text: str, host: Host) -> Address:
    """Read the address of a device: ``0004:04:00``."""
    try:
        slot = Address.parse(f"{text}.0").slot
    except ValueError:
        raise InputError(f"not a PCI address (DDDD:BB:DD.F): {text!r}", hint=f"{_HINT}; or gpu[0]") from None
    found = tuple(address for address in host.functions if address.slot == slot)
    if not found:
        raise InputError(f"{host.name} has no device {text}", hint="see: atoll show")
    return _single(found, f"the device {text} has", host)


def _single(found: tuple[Address, ...], what: str, host: Host) -> Address:
    if len(found) == 1:
        return found[0]
    named = " ".join(map(str, found[:_NAMED])) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
    raise InputError(f"{what} {len(found)} functions of {host.name}", hint=f"name one: {named}")
