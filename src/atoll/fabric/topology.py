"""Who hangs below whom: the PCIe tree of a host as routing needs it."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from atoll.fabric.default_domain import found_anew
from atoll.fabric.families import is_brick
from atoll.fabric.settings import Domain
from atoll.fabric.vmd import vmds_of
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Host, Link, NpuBrick
from atoll.pci.address import Address
from atoll.pci.class_code import VGA_CLASSES, answers_fixed_ports
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = ["Branches", "Topology"]

_BELOW_A_PORT = (PortType.ENDPOINT, PortType.LEGACY_ENDPOINT, PortType.UPSTREAM, PortType.DOWNSTREAM)
"""What has a link above it; what is built into a root complex is of other types (Base Specification 7.5.3.2)."""
_CONVENTIONAL_BRIDGES = (PortType.PCIE_TO_PCI, PortType.CONVENTIONAL)


class Branches(NamedTuple):
    """Where the ways up from two functions meet.

    ``source`` and ``target`` are the functions or ports on the meeting bus (the functions themselves
    included); they are equal where one function is an ancestor of the other. ``bridge`` is the port right
    above the bus, None on a root bus or where the two meet in the root complex only.
    """

    source: Address
    target: Address
    bridge: Address | None


class Topology:
    """Relations between the functions of one host; made once, asked often."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.functions = host.functions
        self._up: dict[Address, tuple[Address, ...]] = {}
        self._severed: set[Address] = set()

    def up(self, address: Address) -> tuple[Address, ...]:
        """Return the ports above a function, nearest first."""
        known = self._up.get(address)
        if known is None:
            self._seek_up(address)
            known = self._up[address]
        return known

    def _seek_up(self, address: Address) -> None:
        """Find the ports above a function and above each of those."""
        chain = [address]
        while True:
            parent = self.functions[chain[-1]].parent
            if parent is None or parent not in self.functions or parent in self._up:
                break
            if parent in chain:
                # No machine has a ring: where its members hang is not known.
                ring = chain[chain.index(parent) :]
                del chain[-len(ring) :]
                self._up.update(dict.fromkeys(ring, ()))
                self._severed.update(ring)
                break
            chain.append(parent)
        for member in reversed(chain):
            above = self.functions[member].parent
            if above is not None and above in self._up:
                self._up[member] = (above, *self._up[above])
                if above in self._severed:
                    self._severed.add(member)
            else:
                self._up[member] = ()
                if above is not None or not self.functions[member].parent_told:
                    self._severed.add(member)

    def root(self, address: Address) -> str:
        """Return what to call the root complex above a function; which it is, is not known where ports are missing."""
        if self.severed(address):
            return "its root complex"
        return f"root complex of {self.functions[address].host_bridge}"

    def severed(self, address: Address) -> bool:
        """Whether the way up from a function ends at a port that was not read: where it hangs is not known."""
        if address not in self._up:
            self._seek_up(address)
        return address in self._severed

    def below_hidden_port(self, address: Address) -> bool:
        """Whether a function of a root bus must hang below a port that the host does not show.

        Virtual machines and some platforms show what is below root ports as if it stood on the root bus.
        """
        return self.functions[address].parent is None and self.port_type(address) in _BELOW_A_PORT

    def port_type(self, address: Address) -> PortType | None:
        """The device or port type; None where it was not read."""
        function = self.functions.get(address)
        return None if function is None else value_of(function.port_type, None)

    def meeting(self, source: Address, target: Address) -> Branches:
        """Return where the way from ``source`` to ``target`` turns."""
        ups, downs = (source, *self.up(source)), (target, *self.up(target))
        below = 0
        while below < min(len(ups), len(downs)) and ups[-1 - below] == downs[-1 - below]:
            below += 1
        if below == len(ups):
            return Branches(source, source, None)
        if below == len(downs):
            return Branches(target, target, None)
        return Branches(ups[-1 - below], downs[-1 - below], ups[-below] if below else None)

    def conventional_bus(self, bridge: Address | None) -> bool:
        """Whether the bus below a bridge is a shared conventional one."""
        return bridge is not None and self.port_type(bridge) in _CONVENTIONAL_BRIDGES

    def same_device(self, one: Address, other: Address) -> bool:
        """Whether two functions of one bus are functions of one device.

        Below a root or downstream port stands one device only, whatever device numbers ARI makes of its
        functions; virtual functions belong to their physical function's device.
        """
        a, b = self.functions[one], self.functions[other]
        if a.parent == b.parent and a.parent is not None and self.port_type(a.parent) in DOWNSTREAM_PORTS:
            return True
        first, second = a.physical_function or one, b.physical_function or other
        return first[:3] == second[:3]

    @cached_property
    def links(self) -> dict[Address, tuple[Link, ...]]:
        """Links by the functions at their ends."""
        found: dict[Address, list[Link]] = {}
        for link in self.host.links:
            for end in {end.function for end in (link.a, link.b) if end.function is not None}:
                found.setdefault(end, []).append(link)
        return {address: tuple(links) for address, links in sorted(found.items())}

    @cached_property
    def bricks(self) -> dict[Address, NpuBrick]:
        """NPU bricks by their emulated PCI functions, which send nothing over PCIe.

        Those that no device tree told of are known by their ids, and not which GPU they face.
        """
        found = {brick.function: brick for brick in self.host.npu_bricks if brick.function is not None}
        for address, function in self.functions.items():
            if address not in found and is_brick(function):
                found[address] = NpuBrick("", "", None, address, None)
        return found

    @cached_property
    def faceable(self) -> tuple[Address, ...]:
        """What a CPU-facing link may lead to: bricks, and what may be one where a record hides its ids."""
        return tuple(a for a, f in self.functions.items() if a in self.bricks or is_brick(f) is not False)

    @cached_property
    def multicasting(self) -> tuple[Address, ...]:
        """Functions at which Multicast is on, or may be as far as their registers were read."""
        return tuple(address for address, function in self.functions.items() if _may_copy(function))

    @cached_property
    def vmds(self) -> tuple[Address, ...]:
        """Intel's volume management devices, under whose ids the devices of their own segments send."""
        return tuple(function.address for function in vmds_of(self.functions))

    @cached_property
    def on_bus(self) -> dict[Address | None, tuple[Address, ...]]:
        """What stands right below each port; below None, what has no port above it that was read."""
        found: dict[Address | None, list[Address]] = {}
        for address in self.functions:
            up = self.up(address)
            found.setdefault(up[0] if up else None, []).append(address)
        return {port: tuple(members) for port, members in found.items()}

    @cached_property
    def virtual(self) -> dict[Address, tuple[Address, ...]]:
        """The virtual functions of each physical one."""
        found: dict[Address, list[Address]] = {}
        for address, function in self.functions.items():
            if function.physical_function is not None:
                found.setdefault(function.physical_function, []).append(address)
        return {physical: tuple(members) for physical, members in found.items()}

    @cached_property
    def below(self) -> dict[Address, tuple[Address, ...]]:
        """All functions below each port, in address order."""
        found: dict[Address, list[Address]] = {}
        for address in self.functions:
            for port in self.up(address):
                found.setdefault(port, []).append(address)
        return {port: tuple(members) for port, members in found.items()}

    @cached_property
    def straying(self) -> frozenset[Address]:
        """Ports whose bus numbers hold buses of functions that are not below them, as nobody but a mistake sets up.

        What hangs nobody knows where does not count.
        """
        buses: dict[tuple[int, int], list[Address]] = {}
        for address in self.functions:
            if not self.severed(address):
                buses.setdefault(address[:2], []).append(address)
        found = set()
        for port, function in self.functions.items():
            bridge = value_of(function.bridge, None)
            if bridge is None or self.severed(port):
                continue
            for number in range(bridge.secondary, bridge.subordinate + 1):
                if any(port not in self.up(one) for one in buses.get((port.domain, number), ())):
                    found.add(port)
                    break
        return frozenset(found)

    @cached_property
    def found_anew(self) -> dict[Address, Domain]:
        """The address spaces that functions get when the kernel finds them again; NPU functions follow their GPUs."""
        return {
            address: found_anew(self.host, function)
            for address, function in self.functions.items()
            if not function.is_port and address not in self.bricks
        }

    @cached_property
    def endpoints(self) -> tuple[Address, ...]:
        """All functions that are no ports, in address order."""
        return tuple(address for address, function in self.functions.items() if not function.is_port)

    def has_memory(self, function: Function) -> bool:
        """Whether the function has an address of its own that memory requests can hit; what was not read counts."""
        if not isinstance(function.bars, Known):
            return True
        if function.physical_function is not None and not function.bars.value:
            # Its own registers read as zero: the physical function's SR-IOV capability holds its addresses.
            return True
        if any(bar.memory for bar in function.bars.value) or function.device_class in VGA_CLASSES:
            return True
        if not (function.class_told or function.is_port):
            # It may be a VGA controller.
            return True
        return not isinstance(function.rom, Known) or (function.rom.value is not None and function.rom.value.enabled)

    def has_ports(self, function: Function) -> bool:
        """Whether the function has an address of its own that I/O requests can hit; what was not read counts.

        Virtual functions have none (Base Specification 9.2.1.1.1).
        """
        if function.physical_function is not None:
            return False
        if not isinstance(function.bars, Known) or not function.class_told:
            return True
        if answers_fixed_ports(function.class_code):
            return True
        return any(not bar.memory for bar in function.bars.value)


def _may_copy(function: Function) -> bool:
    if isinstance(function.multicast, Unknown):
        return isinstance(function.acs, Known)
    return function.multicast.value is not None and function.multicast.value.enabled
