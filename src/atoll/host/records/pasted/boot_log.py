"""What a kernel's boot log tells: release, command line, groups, IOMMUs, interrupt remapping, where functions stand.

Source of the lines: ``iommu_group_add_device`` ("Adding to iommu group", before 5.3 "Adding device … to group") and
``start_kernel`` in Linux; ``pci_setup_device``, ``pci_scan_bridge_extend`` and ``pci_register_host_bridge`` in
``drivers/pci/probe.c`` (ids and type of each function, the bus below a bridge, buses below none).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from atoll.host.model import KernelRelease, Platform
from atoll.host.records.lspci.slot import address_in
from atoll.host.records.pasted.iommu_log import IOMMU_WORDS, IommuLog
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = ["NARROW", "BootLog", "goes_on", "release_of"]

_OVERRIDES = "PCIe ACS overrides enabled"
"""``pcie_acs_override_setup`` of the patch "pci: Enable overrides for missing ACS capabilities" (A. Williamson, 2013;
not merged, and in the kernels of Proxmox, Unraid and others)."""
_REDIRECT_OFF = "disabled ACS redirect"
_CONFIGURED = "Configured ACS to "
"""``pci_disable_acs_redir``, since 6.11 ``__pci_config_acs``, of a port that the command line names; both leave it to
``pci_quirk_disable_intel_spt_pch_acs_redir`` where that knows the port, which says what it works around before that."""
_REFUSALS = (
    "Device is ineligible for IOMMU domain attach due to platform RMRR requirement",
    "Firmware has requested this device have a 1:1 IOMMU mapping, rejecting",
)
"""What ``intel_iommu_attach_device`` and, in newer kernels, ``__iommu_device_set_domain`` say of a device that firmware
wants memory mapped for one to one (an RMRR, a unity map)."""
_XEN = ("Hypervisor detected: Xen", "Booting paravirtualized kernel on Xen", "Booting kernel on Xen", "(XEN) ")
"""``init_hypervisor_platform`` and ``xen_banner``; and what stands before each line of Xen's own log (``xl dmesg``)."""
_WORDS = (
    *_REFUSALS,
    *_XEN,
    "type 0",
    "bridge to [bus ",
    "host bridge to bus ",
    "root bus resource",
    "Intel PCH ",
    "Intel SPT PCH ",
    _REDIRECT_OFF,
    _CONFIGURED,
    *IOMMU_WORDS,
    "Linux version",
    "ommand line: ",
    _OVERRIDES,
    "PowerNV",
    "-powernv: ",
    "[PE# ",
)
_POWERNV = re.compile(
    r"Using PowerNV machine description|Hardware name: .{1,120} PowerNV\b|EEH: PowerNV platform initialized"
    r"|NUMA PowerNV\b|^\s*(?:platform|machine)\s*:\s*PowerNV\b|\bcpuidle-powernv: "
    r"|\bpci [\da-f]{4}:[\da-f]{2}\S*\s*: \[PE# [\da-f]{2,5}\] [A-Z]"
)
"""``probe_machine``, which names the hardware, too, from 6.1 on, ``eeh_powernv_init``, ``__die``, ``show_cpuinfo``,
``pe_level_printk`` of arch/powerpc and ``drivers/cpuidle/cpuidle-powernv.c``: people speak of PowerNV elsewhere,
too."""
_LONGEST = 4096
NARROW = 50
"""Mailers wrap no line that is shorter."""
_BEGINS = ("[", "<", "$", "#", "-", "*", "|", "/")
_MOST_OTHERS = 64
_OTHERS = (": ", "~$", "~#", " -> ", "Linux version")
"""What lines begin with and hold that do not go on with the one before: a time, a level, a prompt, a list."""


_CHIPSET = (
    ("Intel PCH root port ACS workaround enabled", True),
    ("Intel SPT PCH root port ACS workaround enabled", True),
    ("Failed to enable Intel PCH ACS quirk", False),
)
_TYPES = {
    "PCIe Endpoint": PortType.ENDPOINT,
    "PCIe Legacy Endpoint": PortType.LEGACY_ENDPOINT,
    "PCIe Root Port": PortType.ROOT_PORT,
    "PCIe Switch Upstream Port": PortType.UPSTREAM,
    "PCIe Switch Downstream Port": PortType.DOWNSTREAM,
    "PCIe to PCI/PCI-X bridge": PortType.PCIE_TO_PCI,
    "PCI/PCI-X to PCIe bridge": PortType.PCI_TO_PCIE,
    "PCIe Root Complex Integrated Endpoint": PortType.ROOT_INTEGRATED,
    "PCIe Root Complex Event Collector": PortType.EVENT_COLLECTOR,
    "conventional PCI endpoint": PortType.CONVENTIONAL,
    "conventional PCI bridge": PortType.CONVENTIONAL,
}
"""``pci_type_str`` (drivers/pci/probe.c; Linux 6.12 and 7.3 have it, 6.1 has not)."""


@dataclass(slots=True)
class BootLog:
    """Takes lines one by one."""

    members: dict[Address, int] = field(default_factory=dict)
    release: str | None = None
    command_line: str | None = None
    iommu: IommuLog = field(default_factory=IommuLog)
    overrides_acs: bool | None = None
    """True where the kernel says so; one that does not has no message for it."""
    xen: bool = False
    """Whether the kernel says that it runs on Xen."""
    refused: set[Address] = field(default_factory=set)
    """Functions that the kernel would not give away."""
    powernv: bool = False
    """Whether the kernel says that it runs on bare-metal POWER."""
    others: list[str] = field(default_factory=list)
    """Members of groups that are no PCI functions: platform devices."""
    found: dict[Address, tuple[int, int, int, int]] = field(default_factory=dict)
    """Vendor, device, class code and header type of the functions that the log shows being found."""
    types: dict[Address, PortType] = field(default_factory=dict)
    chipset_acs: dict[Address, bool] = field(default_factory=dict)
    """Root ports of Intel's chipsets that have no ACS: whether the kernel set up what stands in for it. Those that hold
    its control where lspci does not look: whether it is on."""
    bridges: dict[tuple[int, int], Address] = field(default_factory=dict)
    """The bridge right above a bus, by segment and bus."""
    roots: set[tuple[int, int]] = field(default_factory=set)
    """Buses below no bridge."""
    _wrapped: bool = False
    """Whether the line before is a command line that may go on."""
    _perhaps_again: bool = False
    """Whether the release stood alone on the last such line: /proc/version has it so too, and a log goes on."""
    boots: int = 0
    """How often the log begins; of several boots the last counts."""

    def take(self, line: str) -> bool:
        """Read a line; return whether it is one of a boot log that tells something."""
        if self._wrapped and self.command_line is not None and goes_on(line):
            # An option that hides on the next line, pcie_acs_override for one, would be a claim that it is not there.
            self.command_line = f"{self.command_line} {line.strip()}"[:_LONGEST]
            self._wrapped = len(line) >= NARROW
            return True
        self._wrapped = False
        for word in _WORDS:
            if word in line:
                if word in _REFUSALS:
                    return self._refusal(line.partition(word)[0])
                if word in _XEN:
                    self.xen = True
                    return True
                told = self._boot(line) or self._group(line) or self._function(line) or self._bus(line)
                return told or self._chipset(line) or self._machine(line)
        return False

    def _refusal(self, before: str) -> bool:
        """``vfio-pci 0000:04:00.0: DMAR: `` before what it says."""
        address = next((a for word in before.split()[-2:] if (a := address_in(word.rstrip(":"))) is not None), None)
        if address is not None:
            self.refused.add(address)
        return address is not None

    def _chipset(self, line: str) -> bool:
        """``pci 0000:00:1c.0: Intel PCH root port ACS workaround enabled`` (``pci_quirk_enable_intel_pch_acs``)."""
        for message in (_REDIRECT_OFF, _CONFIGURED):
            before, found, _ = line.partition(message)
            words = before.split() if found else []
            address = next((a for word in reversed(words) if (a := address_in(word.rstrip(":"))) is not None), None)
            if address is not None:
                self.chipset_acs.pop(address, None)
                return True
        for message, done in _CHIPSET:
            before, found, _ = line.partition(message)
            words = before.split()
            address = address_in(words[-1].rstrip(":")) if found and words else None
            if address is not None:
                self.chipset_acs[address] = done
                return True
        return False

    def _bus(self, line: str) -> bool:
        """``pci 0000:00:1c.0: PCI bridge to [bus 02-0a]``; ``PCI host bridge to bus 0000:16``; ``pci_bus 0000:16: root
        bus resource …``."""
        before, found, rest = line.partition(" bridge to [bus ")
        if found:
            words = before.split()
            address = next((a for word in words[-2:] if (a := address_in(word.rstrip(":"))) is not None), None)
            number = rest.partition("]")[0].partition("-")[0]
            if address is None or not 0 < len(number) < 3:
                return False
            try:
                bus = int(number, 16)
            except ValueError:
                return False
            if bus > address.bus:
                # A bridge that has no numbers yet shows 00.
                self.bridges[address.domain, bus] = address
            return True
        _, found, rest = line.partition("host bridge to bus ")
        before, again, _ = line.partition(": root bus resource")
        # Else the last word of any line would be a bus: Host address width 46.
        word = rest.split()[:1] if found else before.split()[-1:] if again else []
        address = address_in(f"{word[0]}:00.0") if word else None
        if address is not None:
            self.roots.add((address.domain, address.bus))
        return address is not None

    def _function(self, line: str) -> bool:
        """``pci 0000:00:01.0: [8086:1901] type 01 class 0x060400`` (``pci_setup_device`` in drivers/pci/probe.c)."""
        before, found, rest = line.partition("] type ")
        words, after = before.split(), rest.split()
        if not found or len(words) < 2 or len(after) < 3 or after[1] != "class":
            return False
        address = address_in(words[-2])
        vendor, colon, device = words[-1].removeprefix("[").partition(":")
        try:
            numbers = int(vendor, 16), int(device, 16), int(after[2], 16), int(after[0], 16)
        except ValueError:
            return False
        if address is None or not colon or max(numbers[:2]) > 0xFFFF or not 0 <= numbers[2] <= 0xFFFFFF:
            return False
        self.found[address] = numbers
        if (kind := _TYPES.get(" ".join(after[3:]))) is not None:
            self.types[address] = kind
        return True

    def _boot(self, line: str) -> bool:
        before, found, rest = line.partition("Linux version ")
        if found and rest.split():
            release = rest.split()[0]
            self._perhaps_again = not before.strip() and release == self.release
            if not self._perhaps_again:
                self._again()
            self.release = release
            return True
        for key in ("Kernel command line: ", "Command line: "):
            _, found, rest = line.partition(key)
            if found:
                if self._perhaps_again:
                    self._again()
                self.command_line = rest.strip()[:_LONGEST]
                self._wrapped = len(line) >= NARROW
                return True
        return False

    def _again(self) -> None:
        self._perhaps_again = False
        self.boots += 1
        if self.boots > 1:
            self.members, self.bridges, self.chipset_acs = {}, {}, {}
            self.command_line = self.overrides_acs = None
            self.iommu.again()

    def _group(self, line: str) -> bool:
        before, found, rest = line.partition(": Adding to iommu group ")
        if found:
            return self._add(before.split()[-1:], rest)
        _, found, rest = line.partition("dding device ")
        if found and " to group " in rest:
            word, _, number = rest.partition(" to group ")
            return self._add([word], number)
        before, found, _ = line.partition(": Removing from iommu group ")
        if found and before.split():
            address = address_in(before.split()[-1])
            if address is not None:
                self.members.pop(address, None)
            return True
        return False

    def _add(self, words: list[str], number: str) -> bool:
        if self._perhaps_again:
            self._again()
        address = address_in(words[0]) if words else None
        digits = (number.split() or [""])[0].strip(".,:;")
        if not (0 < len(digits) < 7 and digits.isascii() and digits.isdigit()):
            return False
        if address is None:
            if words and len(self.others) < _MOST_OTHERS:
                self.others.append(words[0])
            return bool(words)
        self.members[address] = int(digits)
        return True

    @property
    def platforms(self) -> set[Platform]:
        """The platforms that lines of the log tell of: one, of one machine."""
        return {Platform.POWERNV if self.powernv else Platform.UNKNOWN, self.iommu.platform or Platform.UNKNOWN}

    def _machine(self, line: str) -> bool:
        if _OVERRIDES in line:
            self.overrides_acs = True
            return True
        if _POWERNV.search(line):
            self.powernv = True
            return True
        return self.iommu.take(line)


def goes_on(line: str) -> bool:
    """Return whether a line can be the rest of a wrapped command line: nothing in it is of a message or a list."""
    text = line.strip()
    if not text or text.startswith(_BEGINS) or text.endswith(":") or any(word in text for word in _OTHERS):
        return False
    return all(address_in(word) is None for word in text.split())


def release_of(text: str) -> KernelRelease | None:
    """Return a kernel's release, None where the text is none."""
    major, _, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    if not (major.isascii() and major.isdigit() and 0 < digits < 9 and len(major) < 9):
        return None
    return KernelRelease(int(major), int(rest[:digits]), text[:200])
