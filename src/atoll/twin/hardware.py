"""The hardware of a simulated machine: functions in their tree, registers, secondary bus resets.

Nothing here knows of a kernel: what it saves and restores around a reset is in ``kernel``.
"""

from __future__ import annotations

from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, Command, PortType
from atoll.twin import allocation, decoding, portal, resizing, v100, vmd
from atoll.twin.function import SECONDARY_RESET, Function
from atoll.twin.placement import Placement, Range, place
from atoll.twin.spec import X86, Blueprint, FunctionSpec, HostBridge, Model

__all__ = ["ALL_ONES", "ARI_FORWARDING", "Hardware"]

ALL_ONES = 0xFFFFFFFF
"""What a load that nobody answers gives."""
ARI_FORWARDING = 0x20
"""ARI Forwarding Enable, bit 5 of device control 2 (PCIe 7.5.3.16)."""
INITIATE_FLR = 0x8000
"""Initiate Function Level Reset, bit 15 of device control (PCIe 7.5.3.4)."""


class Hardware:
    """All functions of a machine, present to the kernel or not."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint
        self.placement: Placement = place(blueprint)
        self.functions: dict[Address, Function] = {
            spec.address: Function(spec) for spec in sorted(blueprint.functions, key=lambda spec: spec.address)
        }
        for function in self.functions.values():
            if function.layout.allocation:
                function.solder(allocation.entries(function.spec, self._placed(function.spec)))
        self._parents: dict[Address, Function | None] = {}
        self._by_bus: dict[tuple[int, int], list[Function]] = {}
        for function in self.functions.values():
            self._by_bus.setdefault(function.address[:2], []).append(function)
        bridges = {(f.address.domain, f.spec.secondary): f for f in self.functions.values() if f.spec.secondary}
        self._further: dict[tuple[int, int], list[Function]] = {}
        """Virtual functions by their physical one's bus, which is not theirs."""
        for function in self.functions.values():
            # The kernel makes a virtual bus for those that are on another than their physical one.
            family = function.spec.physfn or function.address
            self._parents[function.address] = bridges.get(family[:2])
            if family[:2] != function.address[:2]:
                self._further.setdefault(family[:2], []).append(function)
        self._volumes = {bridge.vmd: bridge for bridge in blueprint.bridges if bridge.vmd is not None}

    def _placed(self, spec: FunctionSpec) -> dict[int, Range]:
        """Return where a function's BARs are, as far as there was room for them."""
        bars, ports = self.placement.bars, self.placement.ports
        found = ((bar.index, (ports if bar.io else bars).get((spec.address, bar.index))) for bar in spec.bars)
        return {index: place for index, place in found if place is not None}

    # -- the tree

    def parent(self, function: Function) -> Function | None:
        """Return the bridge that a function's bus hangs from; None on a root bus."""
        return self._parents[function.address]

    def on_bus(self, domain: int, bus: int) -> list[Function]:
        """Return the functions that exist on a bus (virtual functions: while they are enabled)."""
        return [function for function in self._by_bus.get((domain, bus), []) if self.exists(function)]

    def mates(self, function: Function) -> list[Function]:
        """Return the other functions of the same device: a link has one below it, however many numbers it takes (ARI).

        On other buses a device is a slot, and a physical function's virtual ones are its own.
        """
        family = function.spec.physfn or function.address
        parent = self.parent(function)
        alone = parent is not None and parent.spec.port in (*DOWNSTREAM_PORTS, PortType.PCI_TO_PCIE)
        return [
            mate
            for mate in self.beside(function)
            if mate is not function
            and (alone or mate.address[:3] == function.address[:3] or family in (mate.address, mate.spec.physfn))
        ]

    def beside(self, function: Function) -> list[Function]:
        """Return the functions on the link or bus of one, itself among them."""
        return self.on_link(*(function.spec.physfn or function.address)[:2])

    def on_link(self, domain: int, bus: int) -> list[Function]:
        """Return the functions on a bus, and their virtual ones on whatever buses."""
        further = self._further.get((domain, bus), ())
        return [*self.on_bus(domain, bus), *(each for each in further if self.exists(each))]

    def ari(self, function: Function) -> bool:
        """Whether the port above forwards by 8-bit function numbers (Alternative Routing-ID Interpretation)."""
        parent = self.parent(function)
        if parent is None or parent.spec.port not in DOWNSTREAM_PORTS:
            return False
        return bool(parent.get(parent.layout.express + 40, 2) & ARI_FORWARDING)

    def groups_functions(self, function: Function) -> bool:
        """Whether egress vectors of a device stand for function groups: as its function 0 says (PCIe 7.8.8.3)."""
        bus = (function.spec.physfn or function.address)[:2]
        first = self.functions.get(Address(*bus, 0, 0))
        return first is not None and first.groups_functions

    def children(self, bridge: Function) -> list[Function]:
        """Return the functions on a bridge's secondary bus."""
        return self.on_link(bridge.address.domain, bridge.spec.secondary) if bridge.spec.secondary else []

    def below(self, bridge: Function) -> list[Function]:
        """Return all functions below a bridge, outer ones first."""
        found = []
        for child in self.children(bridge):
            found += [child, *self.below(child)]
        return found

    def host_bridge(self, address: Address) -> HostBridge:
        """Return the host bridge that a function hangs from."""
        for bridge in self.blueprint.bridges:
            if bridge.domain == address.domain and bridge.bus <= address.bus <= bridge.last_bus:
                return bridge
        raise LookupError(f"no host bridge for {address}")

    def volume(self, function: Function) -> HostBridge | None:
        """Return the root complex behind a Volume Management Device; None for all other functions."""
        return self._volumes.get(function.address)

    def real_requester(self, function: Function) -> Function:
        """Return the function under whose name another's requests reach the IOMMU (``pci_real_dma_dev``)."""
        device = self.host_bridge(function.address).vmd
        return function if device is None else self.functions[device]

    def exists(self, function: Function) -> bool:
        """Whether it answers: always, except for a virtual function that is not enabled."""
        physfn = function.spec.physfn
        return physfn is None or function.spec.vf_index < self.functions[physfn].enabled_vfs

    def in_reset(self, function: Function) -> bool:
        """Whether some bridge above holds its bus in reset."""
        parent = self.parent(function)
        return parent is not None and (parent.holds_secondary_in_reset or self.in_reset(parent))

    def answers(self, function: Function) -> bool:
        """Whether its configuration space can be had: behind a Volume Management Device, through that one's BAR.

        A port that does not forward by 8-bit function numbers lets no request for configuration down that bears
        another device number than 0: of the link itself, not of further buses (PCIe 6.13).
        """
        if self.in_reset(function) or not self.exists(function):
            return False
        port = self.parent(function)
        on_link = (
            port is not None and port.spec.port in DOWNSTREAM_PORTS and function.address.bus == port.spec.secondary
        )
        if on_link and function.address.device and not self.ari(function):
            return False
        device = self.real_requester(function)
        return device is function or any(index == vmd.CONFIG for index, _, _ in self.bars(device))

    # -- addresses

    def bars(self, function: Function) -> tuple[tuple[int, int, int], ...]:
        """Return index, first and last byte (bus addresses) of each BAR of memory that answers now."""
        if function.power or self.in_reset(function) or not self.exists(function):
            return ()
        spec = function.spec
        if spec.physfn is not None:
            pf = self.functions[spec.physfn]
            at = pf.layout.sriov
            if pf.power or not pf.get(at + 0x08, 2) & 0x8:
                return ()
            start = (pf.get(at + 0x24, 8) & ~0xF) + spec.vf_index * pf.spec.vf_bar
            return ((0, start, start + pf.spec.vf_bar - 1),)
        if Command.MEMORY not in function.command:
            return ()
        found = [(bar.index, function.bar(bar.index, bar.wide), function.size(bar)) for bar in spec.bars if not bar.io]
        return tuple((index, start, start + size - 1) for index, start, size in found)

    def claimed(self, function: Function, *, io: bool = False) -> tuple[tuple[str, int, int], ...]:
        """Return all that a function answers to itself now, with a word for each: memory, or I/O ports."""
        if function.spec.physfn is not None:
            return () if io else tuple((f"BAR {index}", first, last) for index, first, last in self.bars(function))
        if self.in_reset(function):
            return ()
        return tuple(decoding.claimed(function, io))

    def system_address(self, function: Function, address: int) -> int | None:
        """Return where a bus address on a function's side is in the system's address space; None: nowhere."""
        bridge = self.host_bridge(self.real_requester(function).address)
        for window in (bridge.low, bridge.high):
            if window.bus <= address < window.bus + window.size:
                return address - window.bus + window.cpu
        first, last = decoding.VGA_MEMORY
        return address if first <= address <= last and self.blueprint.platform in X86 else None

    def passes(self, device: Function, address: int) -> bool:
        """Whether a Volume Management Device lets a bus address through to what is behind it."""
        first = {vmd.LOW: 0, vmd.HIGH: vmd.OWN}
        return any(
            start + first[index] <= address <= last for index, start, last in self.bars(device) if index in first
        )

    def spaces(self, function: Function) -> Command:
        """Return what a kernel switches on to enable a function: decoding of what it was given addresses for."""
        address, done = function.address, self.placement
        ports = any((address, bar.index) in done.ports for bar in function.spec.bars)
        io = ports or address in done.io or bool(decoding.fixed_ports(function))
        return Command.MEMORY | Command.IO if io else Command.MEMORY

    # -- registers

    def read_config(self, function: Function, offset: int, width: int) -> int:
        """Load from configuration space; all ones while the function is held in reset."""
        if not self.answers(function):
            return (1 << 8 * width) - 1
        return function.get(offset, width)

    def write_config(self, function: Function, offset: int, width: int, value: int) -> None:
        """Store to configuration space: writable bits only, with what follows from them."""
        if not self.answers(function):
            return
        mask = int.from_bytes(function.layout.writable[offset : offset + width], "little")
        held, awake = function.holds_secondary_in_reset, function.power == 0
        function.put(offset, width, function.get(offset, width) & ~mask | value & mask)
        portal.touched(function, offset, width)
        resizing.touched(function, function.layout.resizable, offset, width)
        if function.holds_secondary_in_reset and not held:
            self.reset_below(function)
        if not awake and function.power == 0 and function.spec.pm_reset:
            self.reset_function(function)
        pcie = function.layout.express
        if pcie and function.spec.flr and function.get(pcie + 8, 2) & INITIATE_FLR:
            self.reset_function(function)

    def _loads(self, function: Function) -> bool:
        """Whether a processor's loads come to BAR 0: not where it was left at 0, which no processor maps."""
        return any(index == 0 and first for index, first, _ in self.bars(function))

    def read_bar0(self, function: Function, offset: int) -> int:
        """Load from BAR 0; all ones with decoding off, in D3 and in reset, as on the bus."""
        if not self._loads(function):
            return ALL_ONES
        if function.spec.model is Model.V100:
            return v100.read(function.registers, offset)
        if (volume := self.volume(function)) is not None:
            address, register = vmd.configured(volume, offset)
            behind = self.functions.get(address)
            if behind is None or register >= len(behind.config):
                return ALL_ONES
            return self.read_config(behind, register, 4)
        return function.registers.get(offset, 0)

    def write_bar0(self, function: Function, offset: int, value: int) -> None:
        """Store to BAR 0; lost with decoding off, in D3 and in reset."""
        if not self._loads(function):
            return
        if function.spec.model is Model.V100:
            v100.write(function.registers, offset, value)
        elif (volume := self.volume(function)) is not None:
            address, register = vmd.configured(volume, offset)
            behind = self.functions.get(address)
            if behind is not None and register < len(behind.config):
                self.write_config(behind, register, 4, value)
        else:
            function.registers[offset] = value

    # -- resets

    def reset_below(self, bridge: Function) -> None:
        """A secondary bus reset: everything below a bridge is as after power-on."""
        for function in self.below(bridge):
            function.power_on()

    def pulse(self, bridge: Function) -> None:
        """Set and clear Secondary Bus Reset."""
        bridge.put(decoding.BRIDGE_CONTROL, 2, bridge.get(decoding.BRIDGE_CONTROL, 2) | SECONDARY_RESET)
        self.reset_below(bridge)
        bridge.put(decoding.BRIDGE_CONTROL, 2, bridge.get(decoding.BRIDGE_CONTROL, 2) & ~SECONDARY_RESET)

    def reset_function(self, function: Function) -> None:
        """A function level reset or a change from D3hot: configuration and what the model does not keep.

        A physical function takes its virtual ones with it (PCI Express Base 9.2.1.2).
        """
        for virtual in self.functions.values():
            if virtual.spec.physfn == function.address:
                virtual.power_on()
        kept = dict(function.registers) if function.spec.model is Model.V100 else {}
        function.power_on()
        function.registers.update(kept)

    def lose_power(self) -> None:
        """Everything is as after power-on."""
        for function in self.functions.values():
            function.power_on()
