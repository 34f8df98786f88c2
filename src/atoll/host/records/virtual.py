"""Which functions are virtual: lspci does not say so, but their physical functions tell where they are."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from atoll.pci.address import Address

__all__ = ["VirtualFunctions", "physical_of", "virtual_of"]


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
