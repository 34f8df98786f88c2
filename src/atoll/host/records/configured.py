"""What the bytes of a configuration space tell of a function: the same readers as for sysfs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from atoll.errors import Unreadable
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Function
from atoll.host.records.virtual import VirtualFunctions, read_virtual_functions
from atoll.pci.acs import read_acs
from atoll.pci.address import Address
from atoll.pci.ats import read_ats, read_pasid
from atoll.pci.bar import read_bars, read_rom
from atoll.pci.bridge import read_bridge
from atoll.pci.config import ConfigSpace
from atoll.pci.cxl import read_cxl_cache
from atoll.pci.express import (
    read_ari_forwarding,
    read_flr,
    read_link,
    read_pending,
    read_port_number,
    read_port_type,
    read_slot,
)
from atoll.pci.multicast import read_multicast
from atoll.pci.power import read_power_state
from atoll.pci.serial import read_serial
from atoll.pci.sriov import read_sriov
from atoll.pci.subsystem import read_subsystem

__all__ = ["Dumped", "from_dump"]

T = TypeVar("T")

_VIRTUAL = (0xFFFF, 0xFFFF)
"""What a virtual function has for ids (PCI Express Base Specification 9.3.4.1.1, 9.3.4.1.2): those of its kind stand in
its physical function, and the kernel tells them."""
_UNTOLD = ((None, None),)


@dataclass(frozen=True, slots=True)
class Dumped:
    """A function as its dump shows it, without what stands elsewhere (group, driver, place)."""

    function: Function
    ari_forwarding: Fact[bool]
    virtual: VirtualFunctions | None


def from_dump(address: Address, dump: bytes, *, source: str) -> Dumped | None:
    """Return what a dump of 64, 256 or 4096 bytes tells; None for one that is too short or all ones."""
    config = ConfigSpace(lambda offset, size: dump[offset : offset + size])

    def told(read: Callable[[ConfigSpace], T]) -> Fact[T]:
        try:
            return Known(read(config), source)
        except Unreadable as error:
            return Unknown(f"{source}: {error.message}")

    try:
        vendor, device, class_code = config.word(0), config.word(2), config.dword(8) >> 8
    except Unreadable:
        return None
    function = Function(
        address=address,
        vendor=vendor,
        device=device,
        class_code=class_code,
        parent=None,
        host_bridge="",
        possible_ids=_UNTOLD if (vendor, device) == _VIRTUAL else (),
        header=told(lambda space: space.header_type),
        multifunction=told(lambda space: space.multifunction_bit),
        says_multifunction=told(lambda space: space.multifunction_bit),
        port_type=told(read_port_type),
        command=told(lambda space: space.command),
        acs=told(lambda space: read_acs(space, vendor, device)),
        ats=told(read_ats),
        pasid=told(read_pasid),
        cxl_cache=told(read_cxl_cache),
        multicast=told(read_multicast),
        sriov=told(read_sriov),
        flr=told(read_flr),
        pending=told(read_pending),
        link=told(read_link),
        slot=told(read_slot),
        port_number=told(read_port_number),
        power_state=told(read_power_state),
        bridge=told(read_bridge),
        bars=told(read_bars),
        rom=told(read_rom),
        revision=told(lambda space: space.byte(0x08)),
        subsystem=told(read_subsystem),
        serial=told(read_serial),
    )
    return Dumped(function, told(read_ari_forwarding), read_virtual_functions(config))
