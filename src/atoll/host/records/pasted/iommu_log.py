"""What a kernel's boot log tells of IOMMUs: which are in use, whether interrupts are remapped.

Source of the lines: ``intel_iommu_init`` and ``intel_iommu_setup`` in ``drivers/iommu/intel/iommu.c`` (the latter says
"IOMMU enabled" when it finds ``intel_iommu=on`` on the command line, be there an IOMMU or not),
``domain_prepare_identity_map`` (until v5.2: what firmware wants mapped for a device one to one),
``dev_prepare_static_identity_mapping`` and ``iommu_no_mapping`` (until v5.2: whose requests pass),
``intel_iommu_add_device`` and ``iommu_need_mapping`` (v5.2 to v5.7: who leaves the group's default domain),
``iommu_request_dm_for_dev`` in ``drivers/iommu/iommu.c`` (v4.2 to v5.7: a group's default domain), ``irq_remapping.c``
beside it ("Enabled IRQ remapping in x2apic mode", "Failed to enable irq remapping"), ``check_ioapic_information`` in
``drivers/iommu/amd/init.c`` ("Disabling interrupt remapping", where the firmware's table lacks an interrupt
controller), ``arm_smmu_device_cfg_probe`` and ``arm_smmu_device_hw_probe`` of Arm's drivers (what an SMMU can do),
``iommu_subsys_init`` ("Default domain type"), ``acpi_table_print_header`` (the firmware's tables). Before Linux 4.2
Intel's stand behind "IOMMU: ", "dmar: ", "PCI-DMA: " or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from atoll.host.model import Platform
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["IOMMU_WORDS", "IommuLog"]

IOMMU_WORDS = (
    *("iommu", "DMAR", "AMD-Vi", "arm-smmu", "AMD IOMMU", "remapping", "Intel-IOMMU", "ACPI: I"),
    *("Directed I/O", "ueued invalidation", "identity map", "private identity domain", "private dma domain"),
)
"""What lines about IOMMUs hold."""
_AT = r"\b([\da-fA-F:.]{7,16}): "
_RANGE = r" \[0x([\da-f]{1,16}) - 0x([\da-f]{1,16})\]"
_MAPPED = re.compile(rf"dentity map for (?:HW passthrough )?device (\S+){_RANGE}")
_PASSES = re.compile(
    r"(?:[Hh]ard|[Ss]oft)ware identity mapping for device (\S+)|bit (\S+) uses (non-)?identity mapping"
)
# Since v5.2 the function stands first.
_MAPPED_SINCE = re.compile(rf"{_AT}(?:DMAR: )?(?:Setting|Ignoring) identity map(?: for HW passthrough)?{_RANGE}")
_PASSES_SINCE = re.compile(
    rf"{_AT}(?:DMAR: )?(?:(?:Hard|Soft)ware identity mapping|64bit DMA uses identity mapping"
    r"|Device uses a private identity domain|(32bit DMA uses non-identity mapping|Device uses a private dma domain))"
)
_DEFAULT = re.compile(rf"sing direct mapping for device (\S+)|{_AT}Using iommu (direct|dma) mapping")
_ENABLED = re.compile(
    r"(?:^|[\]:>)](?<!DMAR-IR:)\s*)"
    r"(?:(?:DMAR-IR: )?Enabled IRQ remapping in x2?apic mode|(?:DMAR-IR|AMD-Vi): Interrupt remapping enabled)\.?\s*$",
    re.IGNORECASE,
)
"""What says that interrupts are remapped: the whole of a message, and no words of somebody's around it."""
_NOT_REMAPPED = (
    "Disabling interrupt remapping",
    "Failed to enable irq remapping",
    "No interrupt remapping support",
    "Not enabling interrupt remapping",
    "interrupt remapping is being disabled",
)
_INTEL_IN_USE = ("Intel(R) Virtualization Technology for Directed I/O", "sing Queued invalidation")
_SMMU_IN_USE = (": ias ", ": SMMUv", "probing hardware configuration")
_TABLES = {"DMAR": Platform.X86, "IVRS": Platform.X86, "IORT": Platform.ARM}
"""What firmware describes IOMMUs in; that there is one in use, it does not tell."""
_AMD_IN_USE = ("Found IOMMU", "Lazy IO/TLB", "Extended features", "Virtual APIC")


@dataclass(slots=True)
class IommuLog:
    """Takes lines one by one."""

    default_domain: str | None = None
    remapping: bool | None = None
    units: dict[str, str] = field(default_factory=dict)
    """Kind of IOMMU by what the log calls it."""
    platform: Platform | None = None
    table: str = ""
    """The firmware's table that describes IOMMUs."""
    defaults: dict[Address, str] = field(default_factory=dict)
    """The type of the default domain that a function's whole group was given apart."""
    identity: set[Address] = field(default_factory=set)
    """Functions whose requests pass untranslated in the kernel's own domain."""
    translated: set[Address] = field(default_factory=set)
    """Functions that the kernel took out of such a domain."""
    mapped: dict[Address, set[tuple[int, int]]] = field(default_factory=dict)
    """What firmware wants mapped one to one."""
    _asked: bool = False
    """Whether the command line asked for Intel's."""

    @property
    def passthrough(self) -> bool | None:
        """Whether domains are identity ones by default; None where the log does not tell."""
        return {"Passthrough": True, "Translated": False}.get(self.default_domain or "")

    @property
    def tells(self) -> bool:
        """Whether a line told of the machine's IOMMUs, and not of one event at one of them."""
        told = self.remapping is not None or self.default_domain is not None
        return told or bool(self.units or self.table or self._asked)

    @property
    def only_asked(self) -> bool:
        """Whether a line tells that the command line asked for Intel's IOMMU, and none tells of one."""
        return self._asked and not self.units and not self.table and self.remapping is None

    def in_use(self, *, grouped: bool) -> dict[str, str]:
        """Return the kind of IOMMU by name; where functions are ``grouped``, what was asked for is there."""
        return {"dmar": "intel", **self.units} if self._asked and grouped and not self.units else self.units

    def type_of(self, members: Iterable[Address]) -> str | None:
        """Return the type of the default domain of a group, None where its lines tell none, or not of all alike."""
        mine = set(members)
        told = {self.defaults[address] for address in mine if address in self.defaults}
        if told == {"DMA"} and mine.isdisjoint(self.identity):
            return "DMA"
        passes = told == {"identity"} or (bool(mine) and self.identity.issuperset(mine))
        return "identity" if passes and mine.isdisjoint(self.translated) else None

    def again(self) -> None:
        """Forget what an earlier boot told."""
        self.default_domain = self.remapping = None
        self.table = ""
        self.units, self.mapped, self.defaults = {}, {}, {}
        self.identity, self.translated = set(), set()
        self._asked = False

    def take(self, line: str) -> bool:
        """Read a line; return whether it is one about IOMMUs."""
        _, found, rest = line.partition("Default domain type: ")
        if found and rest.split():
            self.default_domain = rest.split()[0]
            return True
        if self._domain(line):
            return True
        mapped = _MAPPED.search(line) or _MAPPED_SINCE.search(line)
        if mapped and (address := address_in(mapped[1])) is not None:
            self.platform = Platform.X86
            self.mapped.setdefault(address, set()).add((int(mapped[2], 16), int(mapped[3], 16)))
            return True
        intel, amd = "DMAR" in line, "AMD-Vi: " in line
        if intel or amd:
            self.platform = Platform.X86
        return self._unit(line, amd=amd) or self._remapping(line, told="DMAR-IR: " in line or amd) or intel or amd

    def _domain(self, line: str) -> bool:
        """Take a line that tells of the domain of one function, or of its group."""
        if (given := _DEFAULT.search(line)) and (address := address_in(given[1] or given[2])) is not None:
            self.defaults[address] = "DMA" if given[3] == "dma" else "identity"
            return True
        if (passes := _PASSES.search(line)) and (address := address_in(passes[1] or passes[2])) is not None:
            self._moved(address, translated=bool(passes[3]))
            return True
        if (passes := _PASSES_SINCE.search(line)) and (address := address_in(passes[1])) is not None:
            self._moved(address, translated=bool(passes[2]))
            return True
        return False

    def _moved(self, address: Address, *, translated: bool) -> None:
        (self.translated.add if translated else self.translated.discard)(address)
        (self.identity.discard if translated else self.identity.add)(address)

    def _unit(self, line: str, *, amd: bool) -> bool:
        """Take a line of an IOMMU's driver, or of the firmware's table that describes some."""
        table = next((name for name in _TABLES if f"ACPI: {name} " in line), "DMAR" if "DRHD base" in line else None)
        if table is not None:
            self.platform, self.table = _TABLES[table], table
            return True
        if "DMAR: IOMMU enabled" in line or "Intel-IOMMU: enabled" in line:
            self._asked = True
            return True
        if any(word in line for word in _INTEL_IN_USE):
            self.platform = Platform.X86
            self.units.setdefault("dmar", "intel")
            return True
        if (amd and any(word in line for word in _AMD_IN_USE)) or "Detected AMD IOMMU #" in line:
            self.platform = Platform.X86
            self.units.setdefault("ivhd", "amd")
            return True
        if "arm-smmu" in line and any(word in line for word in _SMMU_IN_USE):
            self.platform = Platform.ARM
            self.units.setdefault("smmu3" if "arm-smmu-v3 " in line else "smmu", "smmu")
            return True
        return False

    def _remapping(self, line: str, *, told: bool) -> bool:
        """Take a line about interrupts; ``told``: the kernel's own mark stands before it."""
        if "remapping" not in line:
            return False
        if _ENABLED.search(line):
            # No boot that fails to goes on to succeed: what contradicts it is of another one.
            self.remapping = self.remapping is not False
        elif any(word in line for word in _NOT_REMAPPED) or (told and "remapping disabled" in line.lower()):
            self.remapping = False
        else:
            return told
        return True
