"""Which functions are virtual where no record says so: their physical functions tell where they are."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from atoll.errors import Unreadable
from atoll.pci.address import Address
from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["VirtualFunctions", "physical_of", "read_virtual_functions", "virtual_of"]


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
