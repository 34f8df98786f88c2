"""Whose requester ids a function's requests may carry: ``pci_for_each_dma_alias()`` (drivers/pci/search.c)."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from atoll.fabric.vmd import FIRST_SEGMENT, is_told, vmds_of
from atoll.host.fact import value_of
from atoll.host.model import Function, Host, Platform
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass, DeviceClass
from atoll.pci.header import EXPRESS_PORTS, HeaderType, PortType
from atoll.pci.quirks.aliases import (
    BRIDGE_ALIAS,
    BRIDGE_NO_ALIAS,
    BRIDGE_TRANSLATION_ROOT,
    SWITCHTEC_NTB,
    dma_alias_mask,
    is_one_of,
    known_since,
    possible_alias_mask,
)

__all__ = ["AliasStep", "Aliases", "unread_aliases"]

_WHOLE_BUS = frozenset(range(256))
_ADAPTEC = 0x9005
"""Whose cards are told apart by their subsystem ids (``quirk_fixed_dma_alias``)."""
_PLAIN_CLASSES = frozenset(
    {
        BaseClass.STORAGE,
        BaseClass.NETWORK,
        BaseClass.DISPLAY,
        BaseClass.MULTIMEDIA,
        BaseClass.COMMUNICATION,
        BaseClass.INPUT,
        BaseClass.SERIAL_BUS,
        BaseClass.WIRELESS,
    }
)
"""What is never a bridge to another bus."""


class AliasStep(NamedTuple):
    """A function that another one's requests may be taken for."""

    function: Function
    requester_id: int
    """The id that the requests carry."""
    why: str
    missing: tuple[str, ...] = ()
    """What the record does not tell and this step rests on."""


class Aliases:
    """The aliases among the functions of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._masks: dict[Address, frozenset[int]] = {}
        self._doubtful: dict[Address, str] = {}
        self._aliasing: set[tuple[int, int]] = set()
        self._unread: dict[tuple[int, int], list[str]] = {}
        there = {(address.domain, address.bus, address.devfn) for address in host.functions}
        for address, function in host.functions.items():
            bus = (address.domain, address.bus)
            mask = dma_alias_mask(function.vendor, function.device, value_of(function.subsystem, None), address.devfn)
            if mask:
                self._masks[address] = mask
                self._doubtful |= self._unless_known(function)
            if mask or self._by_firmware(address):
                self._aliasing.add(bus)
            switchtec = is_one_of(SWITCHTEC_NTB, function.vendor, function.device)
            if switchtec and function.device_class == DeviceClass.OTHER_BRIDGE:
                why = f"{address}: the proxy ids of this Switchtec bridge (quirk_switchtec_ntb_dma_alias)"
                self._unread.setdefault(bus, []).append(why)
            elif not mask and any((*bus, devfn) in there for devfn in _possible(function)):
                why = f"{address}: its ids, which the record does not show, and whether it uses others' requester ids"
                self._unread.setdefault(bus, []).append(why)
        self._vmd = vmds_of(host.functions)

    def _by_firmware(self, address: Address) -> frozenset[int]:
        """``setup_aliases`` of AMD's driver: the id that the firmware gives a function, where it is of its own bus."""
        used = value_of(self._host.firmware_aliases, {}).get(address)
        return frozenset() if used is None or used >> 8 != address.bus else frozenset({used & 0xFF})

    @property
    def lenders(self) -> tuple[Function, ...]:
        """Functions that may lend their id to what stands in a domain of their own (VMD)."""
        return tuple(self._vmd)

    def on_bus(self, address: Address) -> bool:
        """Whether any function of this one's bus uses ids of others on the bus."""
        return (address.domain, address.bus) in self._aliasing

    def unread_on_bus(self, address: Address) -> tuple[str, ...]:
        """Return what the record does not tell about aliases on a function's bus."""
        return tuple(self._unread.get((address.domain, address.bus), ()))

    def related(self, one: Address, other: Address, *, set_up: Container[Address]) -> bool:
        """``pci_devs_are_dma_aliases``, for two functions on one bus.

        What firmware says of a function counts from when the driver sets that function up, right before it is grouped.
        """
        return any(
            user.devfn in self._masks.get(used, ()) or (used in set_up and user.devfn in self._by_firmware(used))
            for used, user in ((one, other), (other, one))
        )

    def doubts(self, one: Address, other: Address) -> tuple[str, ...]:
        """Return why two functions may be no aliases after all, for a kernel too old to know."""
        sides = {used for used, user in ((one, other), (other, one)) if user.devfn in self._masks.get(used, ())}
        firm = any(user.devfn in self._by_firmware(used) for used, user in ((one, other), (other, one)))
        if firm or not sides <= self._doubtful.keys():
            return ()
        return tuple(self._doubtful[used] for used in sorted(sides))

    def _unless_known(self, function: Function) -> dict[Address, str]:
        """The doubt whether the host's kernel has the quirk that gives a function its mask."""
        kernel = value_of(self._host.kernel, None)
        since = known_since(function.vendor, function.device)
        if since == (0, 0) or (kernel is not None and (kernel.major, kernel.minor) >= since):
            return {}
        text = kernel.text if kernel is not None else "an unknown release: add what uname -a prints"
        return {function.address: f"{function.address}: whether this kernel ({text}) has the quirk of its DMA alias"}

    def whose(self, one: Address, other: Address) -> str:
        """Return who says that two functions on one bus use one id."""
        pairs = ((one, other), (other, one))
        if any(user.devfn in self._by_firmware(used) for used, user in pairs):
            return "so the firmware's table for AMD's IOMMU says, IVRS"
        return "pci_devs_are_dma_aliases: so a quirk of Linux says"

    def upwards(self, function: Function) -> tuple[AliasStep, ...]:
        """Return the functions whose ids this one's requests may carry, itself first, in the kernel's order."""
        start, why, missing = self._real_dma_function(function)
        steps = [AliasStep(start, start.address.requester_id, why, missing)]
        parent = start.parent
        while parent is not None:
            bridge = self._host.functions.get(parent)
            if bridge is None or is_one_of(BRIDGE_TRANSLATION_ROOT, bridge.vendor, bridge.device):
                break
            step = self._bridge(bridge)
            if step is not None:
                steps.append(step)
            parent = bridge.parent
        return tuple(steps)

    def _real_dma_function(self, function: Function) -> tuple[Function, str, tuple[str, ...]]:
        """``pci_real_dma_dev`` (arch/x86/pci/common.c): behind a VMD, the VMD's own function."""
        if function.address.domain < FIRST_SEGMENT:
            return function, "its own id", ()
        behind = self._host.functions.get(function.behind) if function.behind is not None else None
        if behind is not None:
            why = f"{function.address} lies behind the VMD {behind.address}, whose id it uses (pci_real_dma_dev)"
            return behind, why, ()
        if not self._vmd:
            return self._beside_unread_vmd(function)
        domains = sorted({a.domain for a in self._host.functions if a.domain >= FIRST_SEGMENT})
        place = domains.index(function.address.domain)
        endpoint = self._vmd[min(place, len(self._vmd) - 1)]
        why = f"{function.address} lies behind the VMD {endpoint.address}, whose id it uses (pci_real_dma_dev)"
        missing: tuple[str, ...] = ()
        if len(self._vmd) > 1:
            missing = (f"{function.address}: behind which of {len(self._vmd)} VMDs it lies",)
        elif not is_told(endpoint):
            missing = (f"{function.address}: whether {endpoint.address} is the VMD that made its segment",)
        return endpoint, why, missing

    def _beside_unread_vmd(self, function: Function) -> tuple[Function, str, tuple[str, ...]]:
        """Of a segment whose VMD the record does not show, the first function stands for it: all use its one id."""
        if self._host.platform not in (Platform.X86, Platform.UNKNOWN):
            return function, "its own id", ()
        segment = function.address.domain
        first = min(address for address in self._host.functions if address.domain == segment)
        why = f"all of segment {segment:x} uses the id of the VMD that made it, which the record does not show"
        lost = f"{function.address}: the VMD that made its segment, whose id it uses (pci_real_dma_dev)"
        return self._host.functions[first], why, (lost,)

    def _bridge(self, bridge: Function) -> AliasStep | None:
        secondary = value_of(bridge.bridge, None)
        below = (secondary.secondary << 8) if secondary is not None else bridge.address.requester_id
        own = bridge.address.requester_id
        port_type = value_of(bridge.port_type, None)
        if port_type is None:
            # A guess that costs nothing: an unread port is also not known to isolate, so what is below joins it.
            return None
        if port_type in EXPRESS_PORTS:
            return None
        if port_type is PortType.PCIE_TO_PCI:
            if is_one_of(BRIDGE_NO_ALIAS, bridge.vendor, bridge.device):
                return None
            return AliasStep(bridge, below, f"{bridge.address} (pcie-to-pci) sends with its secondary bus's id")
        if port_type is PortType.PCI_TO_PCIE:
            return AliasStep(bridge, own, f"{bridge.address} (pci-to-pcie) sends with its own id")
        if port_type is not PortType.CONVENTIONAL:
            return None
        if self._aliases_like_pcie(bridge):
            return AliasStep(bridge, below, f"{bridge.address} sends with its secondary bus's id (bridge quirk)")
        return AliasStep(bridge, own, f"{bridge.address} (conventional PCI bridge) sends with its own id")

    def _aliases_like_pcie(self, bridge: Function) -> bool:
        """``quirk_use_pcie_bridge_dma_alias``: right below a PCIe port that is no PCIe-to-PCI bridge."""
        if not is_one_of(BRIDGE_ALIAS, bridge.vendor, bridge.device) or bridge.parent is None:
            return False
        if value_of(bridge.header, HeaderType.BRIDGE) is not HeaderType.BRIDGE:
            return False
        above = self._host.functions.get(bridge.parent)
        kind = value_of(above.port_type, None) if above is not None else None
        return kind not in (None, PortType.CONVENTIONAL, PortType.PCIE_TO_PCI)


def unread_aliases(function: Function) -> frozenset[int]:
    """Return the devfns on its bus whose ids a function may use, without anything telling that it does.

    Of ids that were not all read, and of Switchtec's bridges, whose table of proxy ids no record shows.
    """
    if function.possible_ids or function.vendor == _ADAPTEC:
        return _possible(function)
    switchtec = is_one_of(SWITCHTEC_NTB, function.vendor, function.device)
    return _WHOLE_BUS if switchtec and function.device_class == DeviceClass.OTHER_BRIDGE else frozenset()


def _possible(function: Function) -> frozenset[int]:
    """The devfns whose ids a function may use, where its own ids were not all read."""
    subsystem = value_of(function.subsystem, None)
    # A root bus carries what is built in; a record that does not show the bridge above a bus may have one there.
    within = function.parent is not None or not function.parent_told
    card = within and not function.is_port and function.base_class not in _PLAIN_CLASSES
    return frozenset[int]().union(
        *(
            possible_alias_mask(vendor, device, subsystem, function.address.devfn, card=card)
            for vendor, device in function.all_ids
        )
    )
