"""Which functions are virtual where no record says so: their physical functions tell where they are."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace

from atoll.errors import Unreadable
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Function
from atoll.pci.address import Address
from atoll.pci.bar import Bar
from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace
from atoll.pci.header import Command, PortType

__all__ = [
    "VirtualFunctions",
    "looks_virtual",
    "perhaps_answering",
    "physical_of",
    "read_virtual_functions",
    "virtual_of",
]


@dataclass(frozen=True, slots=True)
class VirtualFunctions:
    """The enabled virtual functions of a physical one (PCI Express Base Specification 9.3.3.8 to 9.3.3.10)."""

    count: int
    offset: int
    """From the physical function's requester id to the first virtual one's."""
    stride: int

    def addresses(self, physical: Address) -> Iterator[Address]:
        """Yield the addresses of the virtual functions."""
        for number in range(min(self.count, 0x10000)):
            identity = physical.requester_id + self.offset + number * self.stride
            if not self.offset or identity > 0xFFFF:
                return
            yield Address(physical.domain, identity >> 8, identity >> 3 & 0x1F, identity & 7)

    def number_of(self, physical: Address, address: Address) -> int | None:
        """Return which of the virtual functions stands at an address, counted from 0; None where none does."""
        past = address.requester_id - physical.requester_id - self.offset
        if not self.offset or past < 0 or (past and not self.stride):
            return None
        number, beside = divmod(past, self.stride or 1)
        return number if not beside and number < self.count else None


def read_virtual_functions(config: ConfigSpace) -> VirtualFunctions | None:
    """Return the virtual functions that are on; None where there are none, or that was not read.

    Number, offset and stride: PCI Express Base Specification 9.3.3 (+0x10, +0x14, +0x16).
    """
    try:
        at = config.find_extended(ExtendedId.SRIOV)
        if at is None or not config.word(at + 8) & 1:
            return None
        return VirtualFunctions(config.word(at + 0x10), config.word(at + 0x14), config.word(at + 0x16))
    except Unreadable:
        return None


def looks_virtual(function: Function) -> bool:
    """Whether a function shows what virtual ones do: it decodes no memory, and has places for memory that none of its
    registers holds.

    Both their memory enable and their BARs read as zero (PCI Express Base Specification 9.3.4.1.3, 9.3.4.1.11). A
    function that was reset looks alike.
    """
    if function.is_port or value_of(function.port_type, None) is PortType.CONVENTIONAL:
        return False
    memory = [bar for bar in value_of(function.bars, ()) if bar.memory]
    off = isinstance(function.command, Known) and not function.command.value & Command.MEMORY
    return off and bool(memory) and all(bar.register == 0 and bar.start for bar in memory)


def perhaps_answering(function: Function) -> Function:
    """Return a function that may be a virtual one of which the record does not show whose: whether it answers at the
    kernel's places is not known, be its own memory enable and registers zero."""
    command: Fact[Command] = function.command
    if isinstance(command, Known) and not command.value & Command.MEMORY:
        command = Unknown("its memory enable tells nothing if it is a virtual function: whose it is was not read")
    bars: Fact[tuple[Bar, ...]] = function.bars
    if isinstance(bars, Known) and not any(bar.memory for bar in bars.value):
        bars = Unknown("a virtual function's own registers hold no addresses, and whose it is was not read")
    elif isinstance(bars, Known):
        bars = Known(
            tuple(replace(bar, register=None) if bar.register == 0 else bar for bar in bars.value), bars.source
        )
    return replace(function, command=command, bars=bars)


def physical_of(functions: Container[Address], virtual: Mapping[Address, VirtualFunctions]) -> dict[Address, Address]:
    """Return the physical functions by virtual one, for the functions there are; ``virtual`` by physical function."""
    found: dict[Address, Address] = {}
    for owner in sorted(virtual):
        for address in virtual[owner].addresses(owner):
            if address in functions and address not in virtual and address != owner:
                found.setdefault(address, owner)
    return found


def virtual_of(physical: Mapping[Address, Address]) -> dict[Address, tuple[Address, ...]]:
    """Return the virtual functions by physical one, in address order; ``physical`` by virtual function."""
    found: dict[Address, list[Address]] = {}
    for address, owner in sorted(physical.items()):
        found.setdefault(owner, []).append(address)
    return {owner: tuple(addresses) for owner, addresses in found.items()}
