"""One function of a simulated machine: its configuration space and registers as they are now."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from atoll.pci.acs import REDIRECTING, AcsEnhanced, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, Command
from atoll.twin import allocation, configspace, resizing
from atoll.twin.spec import Bar, FunctionSpec

__all__ = ["SECONDARY_RESET", "Function"]

SECONDARY_RESET = 0x40
"""Secondary Bus Reset, bit 6 of bridge control at 0x3e (PCI-to-PCI Bridge 1.2, 3.2.5.18)."""
ACS_ENHANCED = 0x1F80
"""The control bits that came with ACS Enhanced (PCIe 7.7.11.3)."""
ATS_ENABLE = 0x8000
"""Enable, bit 15 of the ATS control word (PCIe 10.5.1.3)."""
ATOMICS_SENT, ATOMICS_BLOCKED = 0x40, 0x80
MULTICAST_SIZE, PORTAL_SIZE, RESIZABLE_SIZE, ARI_SIZE = 0x30, 0x24, 0x0C, 0x08

_NONE = Command(0)


@dataclass(slots=True)
class Function:
    """Hardware state of one function. The kernel's view of it is a ``Device``."""

    spec: FunctionSpec
    config: bytearray = field(default_factory=bytearray)
    registers: dict[int, int] = field(default_factory=dict)
    """32-bit registers behind BAR 0 that differ from their value at reset."""
    layout: configspace.Layout = field(init=False)

    def __post_init__(self) -> None:
        self.layout = configspace.build(self.spec)
        if not self.config:
            self.config = bytearray(self.layout.image)

    @property
    def address(self) -> Address:
        """Where it is."""
        return self.spec.address

    def get(self, offset: int, width: int) -> int:
        """Return a little-endian field of the configuration space, whatever state the device is in."""
        return int.from_bytes(self.config[offset : offset + width], "little")

    def put(self, offset: int, width: int, value: int) -> None:
        """Set a field, read-only bits included: what hardware and firmware do themselves."""
        self.config[offset : offset + width] = value.to_bytes(width, "little")

    @property
    def command(self) -> Command:
        """The command register."""
        return Command(self.get(0x04, 2))

    def set_command(self, *, on: Command = _NONE, off: Command = _NONE) -> None:
        """Switch bits of the command register."""
        self.put(0x04, 2, int((self.command & ~off) | on))

    @property
    def master(self) -> bool:
        """Bus mastering is on: it may send memory requests, or as a bridge forward them upwards."""
        return Command.MASTER in self.command

    @property
    def power(self) -> int:
        """The power state: 0 for D0 to 3 for D3hot."""
        return self.get(self.layout.pm + 4, 2) & 3

    def set_power(self, state: int) -> None:
        """Change the power state."""
        at = self.layout.pm + 4
        self.put(at, 2, self.get(at, 2) & ~3 | state)

    @property
    def acs(self) -> AcsFlag:
        """The ACS control word; nothing without the capability, but for ports that isolate for good without it."""
        if self.spec.acs_quirk and self.spec.port in DOWNSTREAM_PORTS and not self.layout.acs:
            return REDIRECTING
        return AcsFlag(self.get(self.layout.acs + 6, 2) & 0x7F) if self.layout.acs else AcsFlag(0)

    def set_acs(self, flags: AcsFlag) -> None:
        """Set the seven old bits of the ACS control word, as far as the capability implements them."""
        if self.layout.acs and self.spec.acs is not None:
            at = self.layout.acs + 6
            self.put(at, 2, self.get(at, 2) & ~0x7F | int(flags & self.spec.acs))

    @property
    def acs_enhanced(self) -> AcsEnhanced:
        """The further bits of the ACS control word; nothing without ACS Enhanced."""
        return AcsEnhanced(self.get(self.layout.acs + 6, 2) & ACS_ENHANCED if self.spec.acs_enhanced else 0)

    def egress(self, number: int | None) -> bool:
        """Whether the egress control vector has the bit of a port or function number; not beyond its size."""
        if number is None or number >= self.spec.egress_bits:
            return False
        return bool(self.get(self.layout.acs + 8 + number // 8, 1) >> number % 8 & 1)

    def forget_egress(self) -> None:
        """Clear what no kernel restores after a reset: the egress control vector and the bits of ACS Enhanced."""
        if self.layout.acs:
            at = self.layout.acs
            self.put(at + 6, 2, self.get(at + 6, 2) & 0x7F)
            self.put(at + 8, (self.spec.egress_bits + 7) // 8, 0)

    def put_back(self, config: bytes) -> None:
        """Restore a saved configuration space.

        A kernel does not save Multicast, portals and ARI; BARs get the sizes that it knows
        (``pci_restore_rebar_state``).
        """
        layout = self.layout
        sizes = {layout.multicast: MULTICAST_SIZE, layout.portal: PORTAL_SIZE, layout.resizable: RESIZABLE_SIZE}
        sizes[layout.ari] = ARI_SIZE
        kept = {at: bytes(self.config[at : at + size]) for at, size in sizes.items() if at}
        self.config[:] = config
        for at, registers in kept.items():
            self.config[at : at + len(registers)] = registers

    @property
    def port_number(self) -> int:
        """The port number of the link capabilities (PCIe 7.5.3.6)."""
        return self.get(self.layout.express + 15, 1) if self.layout.express else 0

    @property
    def groups_functions(self) -> bool:
        """ACS Function Groups Enable, bit 1 of ARI's control word: of function 0, for its whole device (7.8.8.3)."""
        return bool(self.layout.ari and self.get(self.layout.ari + 6, 2) & 2)

    @property
    def function_group(self) -> int:
        """The number of its function group, bits 6:4 of ARI's control word."""
        return self.get(self.layout.ari + 6, 2) >> 4 & 7 if self.layout.ari else 0

    @property
    def sends_atomics(self) -> bool:
        """AtomicOp Requester Enable, bit 6 of device control 2 (PCIe 7.5.3.16)."""
        return bool(self.layout.express and self.get(self.layout.express + 40, 2) & ATOMICS_SENT)

    @property
    def blocks_atomics(self) -> bool:
        """AtomicOp Egress Blocking, bit 7 of device control 2: for what leaves by a port."""
        return bool(self.layout.express and self.get(self.layout.express + 40, 2) & ATOMICS_BLOCKED)

    @property
    def ats(self) -> bool:
        """Address Translation Services are enabled: it may send translated requests."""
        return bool(self.layout.ats and self.get(self.layout.ats + 6, 2) & ATS_ENABLE)

    def set_ats(self, on: bool) -> None:
        """Switch Address Translation Services."""
        if self.layout.ats:
            self.put(self.layout.ats + 6, 2, ATS_ENABLE if on else 0)

    @property
    def buses(self) -> range:
        """The buses below a bridge, from secondary to subordinate, as its registers say now."""
        return range(self.get(0x19, 1), self.get(0x1A, 1) + 1) if self.spec.is_bridge else range(0)

    def bar(self, index: int, wide: bool, io: bool = False) -> int:
        """Return the address that a base address register holds, or what stands for it: of memory, or of I/O ports."""
        if self.layout.allocation:
            return allocation.address(self.config, self.layout.allocation, index)
        return self.get(0x10 + 4 * index, 8 if wide else 4) & ~(0x3 if io else 0xF)

    def size(self, bar: Bar) -> int:
        """Return how many bytes or ports a base address register stands for now."""
        return resizing.size(self.config, self.layout.resizable, bar)

    @property
    def holds_secondary_in_reset(self) -> bool:
        """A bridge whose secondary bus is being reset."""
        return self.spec.is_bridge and bool(self.get(0x3E, 2) & SECONDARY_RESET)

    @property
    def enabled_vfs(self) -> int:
        """How many virtual functions are enabled."""
        at = self.layout.sriov
        return self.get(at + 0x10, 2) if at and self.get(at + 0x08, 2) & 1 else 0

    def enable_vfs(self, count: int) -> None:
        """Enable so many virtual functions, and let them decode memory (VF Enable and VF MSE); 0: none of them."""
        at = self.layout.sriov
        self.put(at + 0x10, 2, count)
        self.put(at + 0x08, 2, 0x9 if count else 0)

    def solder(self, entries: bytes) -> None:
        """Fix what hardware tells by Enhanced Allocation, for good."""
        at, image = self.layout.allocation, bytearray(self.layout.image)
        image[at + 2] = len(entries) // allocation.ENTRY
        image[at + allocation.FIRST : at + allocation.FIRST + len(entries)] = entries
        self.layout = replace(self.layout, image=bytes(image))
        self.config[:] = image

    def power_on(self) -> None:
        """Forget everything, as at power-on and at a conventional reset."""
        self.config[:] = self.layout.image
        self.registers.clear()
