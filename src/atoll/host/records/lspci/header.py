"""What lspci prints of a function's header, and of what the kernel keeps beside it: group, driver, node.

Source of the forms: pciutils ``lspci.c`` (``show_verbose``, ``show_bases``, ``show_range``,
``show_htype1``), 3.1 to 3.14.
"""

from __future__ import annotations

from dataclasses import replace

from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.records.hexadecimal import hexadecimal
from atoll.host.records.lspci.block_text import SHALLOW, BlockText, group_of, numa_of
from atoll.host.records.lspci.heading import ids_in_brackets
from atoll.host.records.lspci.regions import DAMAGED, address_range, regions, size_of
from atoll.pci.bar import Bar, Rom
from atoll.pci.bridge import Bridge, Window
from atoll.pci.class_code import BUS_BRIDGES, BaseClass, DeviceClass
from atoll.pci.header import Command, HeaderType

__all__ = ["HeaderText"]

_SHADOW = 0xC_0000
"""Where the kernel's copy of a primary VGA's ROM is (IORESOURCE_ROM_SHADOW): nothing that a device answers to."""
_PORTALS = ("Capability ID 0x15", "#15", "Flattening Portal Bridge")
"""How releases of lspci name the capability of Flattening Portal Bridges (15h), which most do not know."""
_UNNUMBERED = ("Memory at", "I/O ports at")
_ROM_DIGITS, _BUS_DIGITS = 8, 2
"""How lspci prints an address of memory, at least, and the number of a bus: with fewer, the line is cut."""
_IGNORED = "lspci does not show an address that the kernel ignores: lspci -xxx does"
_WITH_REGIONS = (BaseClass.STORAGE, BaseClass.NETWORK, BaseClass.DISPLAY, BaseClass.MULTIMEDIA, BaseClass.ACCELERATOR)
"""What decodes memory only to be reached there; parts of chipsets have the bit set and nothing behind it."""
_BEHIND = "resource behind function"
_OF_NO_BAR = ("not indicated", "reserved")
"""What lspci says that an entry of Enhanced Allocation stands for (``cap_ea`` in ls-caps.c)."""
_WINDOWS = ("I/O behind bridge:", "Memory behind bridge:", "Prefetchable memory behind bridge:")
_NO_WINDOW = (["[disabled]"], ["None"])
_BESIDE_DRIVERS = ("Subsystem:", "DeviceName:", "Physical Slot:", "NUMA node:", "IOMMU group:", "Device tree node:")
"""What ``lspci -k`` shows of a function beside its driver, alone or with ``-vmm``: what shows more was picked."""
_NO_DRIVER = frozenset({"none", "n/a", "unbound", "null", "-", ""})
"""What scripts print in place of a driver's name, in brackets or not; lspci leaves out the line."""


class HeaderText(BlockText):
    """What stands before the capabilities and after them.

    Each method returns the fact that it is named after; its docstring names the lines of lspci that tell it.
    """

    def header(self, class_code: int | None) -> Fact[HeaderType]:
        """The layout: a bridge has a ``Bus:`` line."""
        if self._unread and self._block.find("Bus:") is None:
            return Unknown(f"{self._text}: {self._unread}")
        if any(d.text.startswith(("!!! Unknown header", "!!! Invalid class")) for d in self._block.details):
            return Unknown(f"{self._text}: lspci says that its header is of an unknown type")
        if self._block.find("Bus:") is None:
            if class_code is not None and class_code >> 8 in BUS_BRIDGES:
                return Unknown(f"{self._text}: a bridge without its Bus: line")
            if class_code is None and self._early:
                # Lines picked of a function that nothing names: it may be a bridge whose Bus: line was left out.
                return Unknown(f"{self._text}: {self._early}")
            return Known(HeaderType.NORMAL, self._source)
        if class_code is not None and class_code >> 16 != BaseClass.BRIDGE:
            # lspci would say "!!! Invalid class": it was picked out of the lines of others.
            return Unknown(f"{self._text}: a Bus: line below what is no bridge")
        cardbus = class_code is not None and class_code >> 8 == DeviceClass.CARDBUS_BRIDGE
        return Known(HeaderType.CARDBUS if cardbus else HeaderType.BRIDGE, self._source)

    def command(self) -> Fact[Command]:
        """``Control:``."""
        text = self._block.find("Control:")
        if text is None:
            return Unknown(f"{self._text}: {self._unread or 'lspci -v prints no Control: line'}")
        words = text.split()
        flags = Command(0)
        for word, flag in (
            ("I/O", Command.IO),
            ("Mem", Command.MEMORY),
            ("BusMaster", Command.MASTER),
            ("DisINTx", Command.INTX_DISABLE),
        ):
            if f"{word}+" in words:
                flags |= flag
            elif f"{word}-" not in words and word != "DisINTx":
                return Unknown(f"{self._text}: its Control: line is cut")
        return Known(flags, self._source)

    def bridge(self, header: Fact[HeaderType]) -> Fact[Bridge | None]:
        """``Bus:``, the windows behind the bridge, and ``BridgeCtl:``."""
        if isinstance(header, Unknown):
            return header
        if header.value is HeaderType.NORMAL:
            return Known(None, self._source)
        numbers = {}
        for part in (self._block.find("Bus:") or "").split(","):
            key, _, value = part.strip().partition("=")
            if len(value.strip()) == _BUS_DIGITS:
                numbers[key] = value.strip()
        try:
            secondary, subordinate = int(numbers["secondary"], 16), int(numbers["subordinate"], 16)
        except (KeyError, ValueError):
            return Unknown(f"{self._text}: its Bus: line is cut")
        if secondary > 0xFF or subordinate > 0xFF:
            return Unknown(f"{self._text}: its Bus: line has no bus numbers")
        windows = map(self._window, _WINDOWS)
        kept = tuple(window for window in windows if window is not None and window.start <= window.end)
        control = (self._block.find("BridgeCtl:") or "").split()
        vga = True if "VGA+" in control else False if "VGA-" in control else None
        hidden = self._unread or self._early
        if not hidden and any(map(self._is_unclear, _WINDOWS)):
            hidden = "what it shows of the windows behind the bridge cannot be read: give the output of lspci -vvv"
        if not hidden and any(c.name.startswith(_PORTALS) for c in self._block.capabilities):
            hidden = "lspci does not show whether vectors of its Flattening Portal Bridge are on: lspci -xxx does"
        if not hidden and self._fixes(_BEHIND):
            hidden = "its Enhanced Allocation tells of addresses behind it that its windows do not have"
        unread = f"{self._text}: {hidden}" if hidden else ""
        return Known(Bridge(secondary, subordinate, kept, vga, unread), self._source)

    def _fixes(self, *words: str) -> bool:
        """Whether Enhanced Allocation has an entry for what these words say."""
        found = (c for c in self._block.capabilities if "Enhanced Allocation" in c.name)
        texts = [text for c in found for text in (c.name, *(detail.text for detail in c.details))]
        return any(f"BAR Equivalent Indicator: {word}" in text for text in texts for word in words)

    def _is_unclear(self, key: str) -> bool:
        """Whether it shows something in a window's place that is neither a range nor that there is none."""
        text = self._block.find(key)
        return text is not None and address_range(text) is None and text.split()[:1] not in _NO_WINDOW

    def _window(self, key: str) -> Window | None:
        text = self._block.find(key) or ""
        bounds = address_range(text)
        if bounds is None or "[disabled]" in text:
            return None
        first, last = bounds
        start = text.partition("-")[0]
        memory, prefetch = key != "I/O behind bridge:", key.startswith("Prefetchable")
        # Registers of all zeros: not implemented (pci.bridge), though lspci prints the range that they would be.
        least, wide = (0xFFFFF, "[64-bit]") if memory else (0xFFF, "[32-bit]")
        if first == 0 and last == least and (prefetch or not memory) and wide not in text and len(start) <= 8:
            return None
        return Window(first, last, memory=memory, prefetchable=prefetch)

    def bars(self, class_code: int | None) -> Fact[tuple[Bar, ...]]:
        """The lines of memory and I/O ports."""
        if self._unread or self._early:
            return Unknown(f"{self._text}: {self._unread or self._early}")
        enhanced = any("Enhanced Allocation" in capability.name for capability in self._block.capabilities)
        if enhanced and self._fixes(*_OF_NO_BAR):
            return Unknown(f"{self._text}: no region stands for some addresses of its Enhanced Allocation")
        for detail in self._block.details:
            if detail.text.removeprefix("[virtual] ").removeprefix("[enhanced] ").startswith(_UNNUMBERED):
                return Unknown(f"{self._text}: lspci -v does not number the regions: use -vv")
            if "Memory at <ignored>" in detail.text:
                return Unknown(f"{self._text}: {_IGNORED}")
        bars = regions(self._block.details)
        if bars is None:
            return Unknown(f"{self._text}: {DAMAGED}")
        if not enhanced and self._has_lost_regions(class_code):
            return Unknown(f"{self._text}: it decodes memory (Mem+), and no line tells where: use lspci -vvv")
        return Known(tuple(replace(bar, register=None) for bar in bars) if enhanced else bars, self._source)

    def _has_lost_regions(self, class_code: int | None) -> bool:
        """Whether a device shows no region and decodes memory.

        A function without memory has no bit to switch it on (PCI Local Bus Specification 3.0, 6.2.2).
        """
        if class_code is None or class_code >> 16 not in _WITH_REGIONS:
            return False
        decodes = Command.MEMORY in value_of(self.command(), Command(0))
        return decodes and not any("Region " in detail.text for detail in self._block.details)

    def rom(self) -> Fact[Rom | None]:
        """``Expansion ROM at``."""
        if self._unread or self._early:
            return Unknown(f"{self._text}: {self._unread or self._early}")
        for detail in self._block.details:
            text = detail.text.removeprefix("[virtual] ").removeprefix("[enhanced] ")
            if not text.startswith("Expansion ROM"):
                continue
            place, _, rest = text.removeprefix("Expansion ROM at").strip().partition(" ")
            start, size = hexadecimal(place, most=16), size_of(rest)
            if place == "<unassigned>" or (place == "<ignored>" and "[disabled]" in rest):
                continue
            if start is None or size is None or len(place) < _ROM_DIGITS:
                return Unknown(f"{self._text}: {_IGNORED if place == '<ignored>' else DAMAGED}")
            if start == _SHADOW:
                continue
            return Known(Rom(start, size, "[disabled]" not in rest), self._source)
        return Known(None, self._source)

    def subsystem(self) -> Fact[tuple[int, int]]:
        """Vendor and device of ``Subsystem:``."""
        text = self._block.find("Subsystem:")
        found = None if text is None else ids_in_brackets(f"{text} [{text.split()[-1] if text.split() else ''}]")
        if found is None:
            return Unknown(f"{self._text}: the text does not show the subsystem's ids: lspci -nn does")
        return Known(found, self._source)

    def group(self) -> Fact[int | None]:
        """``IOMMU group:``."""
        number = group_of(self._block)
        if number is not None:
            return Known(number, self._source)
        if (self._block.find("Flags:") or "").endswith((",", "IOMMU", "IOMMU group")):
            return Unknown("the end of its line of flags is lost, where lspci -v shows the group")
        if self._custom.group and not (self._unread or self._early):
            return Known(None, self._source)
        return Unknown("the text shows no IOMMU groups: add a list of them")

    def driver(self) -> Fact[str | None]:
        """``Kernel driver in use:``."""
        found = self._block.find("Kernel driver in use:")
        if found:
            driver = found.split()[0]
            return Known(None if driver.strip("<([])>").lower() in _NO_DRIVER else driver, self._source)
        alone = all(detail.text.startswith(_BESIDE_DRIVERS) for detail in self._block.details)
        whole = not self._unread or (self._unread == SHALLOW and alone)
        if self._custom.driver and whole and not self._partial:
            return Known(None, self._source)
        return Unknown(f"{self._text}: the text shows no drivers")

    def numa(self) -> Fact[int | None]:
        """``NUMA node:``."""
        number = numa_of(self._block)
        if number is None and not (self._custom.numa and not self._unread and not self._partial):
            return Unknown(f"{self._text}: the text shows no NUMA nodes")
        return Known(number, self._source)
