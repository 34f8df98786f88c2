"""Names of vendors, devices and classes, from pci.ids where this machine has one; never required.

The file's format: https://pci-ids.ucw.cz/ (``vendor  name``, tab ``device  name``, ``C class  name``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from atoll.host.fact import Known
from atoll.host.model import UNTOLD_CLASS, Function
from atoll.report.layout import cut

__all__ = ["PLACES", "Names"]

PLACES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids", "/usr/share/pci.ids")

# PCI Code and ID Assignment Specification 1.11, section 1: what is met most. pci.ids has the rest.
_CLASSES = {
    0x0000: "Non-VGA unclassified device",
    0x00FF: "Unclassified device",
    0x0100: "SCSI storage controller",
    0x0101: "IDE interface",
    0x0104: "RAID bus controller",
    0x0106: "SATA controller",
    0x0107: "Serial Attached SCSI controller",
    0x0108: "Non-Volatile memory controller",
    0x0180: "Mass storage controller",
    0x0200: "Ethernet controller",
    0x0207: "Infiniband controller",
    0x0280: "Network controller",
    0x0300: "VGA compatible controller",
    0x0302: "3D controller",
    0x0380: "Display controller",
    0x0400: "Multimedia video controller",
    0x0401: "Multimedia audio controller",
    0x0403: "Audio device",
    0x0500: "RAM memory",
    0x0580: "Memory controller",
    0x0600: "Host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0680: "Bridge",
    0x0700: "Serial controller",
    0x0780: "Communication controller",
    0x0800: "PIC",
    0x0806: "IOMMU",
    0x0880: "System peripheral",
    0x0C03: "USB controller",
    0x0C05: "SMBus",
    0x1080: "Signal processing controller",
    0x1200: "Processing accelerators",
    0x1300: "Non-Essential Instrumentation",
    0xFF00: "Unassigned class",
}
_LEAST = 8


@dataclass(frozen=True, slots=True)
class Names:
    """What ids are called. Empty: only the commonest classes have names."""

    vendors: dict[int, str] = field(default_factory=dict)
    devices: dict[tuple[int, int], str] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    """By class and subclass."""
    kinds: dict[int, str] = field(default_factory=dict)
    """By class alone, for subclasses without a name."""

    @classmethod
    def load(cls, places: Iterable[str | os.PathLike[str]] = PLACES) -> Names:
        """Read the first file there is; no names where there is none or it can't be read."""
        for place in places:
            try:
                with open(place, encoding="utf-8", errors="replace") as lines:
                    return cls.parse(lines)
            except OSError:
                continue
        return cls()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Names:
        """Read the text of pci.ids. Lines that are none of its forms are passed over."""
        names = cls()
        above, in_classes = -1, False
        for line in lines:
            if line.startswith(("#", "\t\t")) or not line.strip():
                continue
            id_text, _, name = line.strip().removeprefix("C ").partition("  ")
            try:
                number = int(id_text, 16)
            except ValueError:
                above = -1
                continue
            if not line.startswith("\t"):
                above, in_classes = number, line.startswith("C ")
                (names.kinds if in_classes else names.vendors)[number] = name
            elif above >= 0 and in_classes:
                names.classes[above << 8 | number] = name
            elif above >= 0:
                names.devices[above, number] = name
        return names

    def class_name(self, class_code: int) -> str:
        """Return what lspci calls a class (24-bit code): ``3D controller``, or ``Class 1180``."""
        code = class_code >> 8
        if class_code == UNTOLD_CLASS:
            return "class unknown"
        return self.classes.get(code) or _CLASSES.get(code) or self.kinds.get(code >> 8) or f"Class {code:04x}"

    def device_name(self, vendor: int, device: int) -> str:
        """Return ``NVIDIA Corporation GV100GL [Tesla V100 SXM2]``; empty where neither id has a name."""
        maker = self.vendors.get(vendor, "")
        return f"{maker} {self.devices.get((vendor, device), 'Device' if maker else '')}".strip()

    def line(self, function: Function) -> str:
        """Return a function as ``lspci -Dnns`` prints it."""
        revision = function.revision.value if isinstance(function.revision, Known) else 0
        nameless = "Device" if function.ids_told else "ids unknown"
        called = f"{self.function_name(function) or nameless} {self.ids(function)}".rstrip()
        code = f" [{function.class_code >> 8:04x}]" if function.class_told else ""
        return f"{function.address} {self.class_name(function.class_code)}{code}: {called}" + (
            f" (rev {revision:02x})" if revision else ""
        )

    def short_line(self, function: Function, width: int) -> str:
        """Return the same in at most ``width`` columns: names are cut before class and ids are."""
        whole = self.line(function)
        called = self.function_name(function)
        before, found, after = whole.partition(f": {called}") if called else (whole, "", "")
        if not found or len(whole) <= width:
            return cut(whole, width)
        return f"{before}: {cut(called, max(width - len(before) - len(after) - 2, _LEAST))}{after}"

    def function_name(self, function: Function) -> str:
        """Return what a function is called, by its ids or, where these have no name or are not shown, as the record
        has it."""
        if function.label and (not function.ids_told or (function.vendor, function.device) not in self.devices):
            return function.label
        return self.device_name(function.vendor, function.device) if function.ids_told else ""

    def ids(self, function: Function) -> str:
        """Return ``[10de:1db1]``; empty where the record does not show the ids."""
        return f"[{function.vendor:04x}:{function.device:04x}]" if function.ids_told else ""
