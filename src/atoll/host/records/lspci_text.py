"""One function's details as ``lspci -v``, ``-vv`` or ``-vvv`` prints them.

Source of the forms: pciutils ``lspci.c`` (``show_verbose``, ``show_range``, ``show_htype1``), ``ls-caps.c``
(``cap_express``, ``cap_pm``, ``cap_af``) and ``ls-ecaps.c`` (``cap_acs``, ``cap_ats``, ``cap_sriov``), 3.1 to 3.14.
What a text does not print is unknown, with the reason; what its release prints whenever it is there, and did not
print, is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Ats, Bar, Bridge, Function, Sriov, Window
from atoll.host.records.heading import UNKNOWN_CLASS, ids_in_brackets, parse_heading
from atoll.host.records.lspci_blocks import Block, Capability
from atoll.host.records.virtual import VirtualFunctions
from atoll.pci.acs import Acs, AcsFlag, has_dword_registers
from atoll.pci.address import Address
from atoll.pci.express import PcieLink
from atoll.pci.header import Command, HeaderType, PortType

__all__ = ["Habits", "Told", "habits", "read_block"]

_TYPES = (
    ("Root Port", PortType.ROOT_PORT),
    ("Upstream Port", PortType.UPSTREAM),
    ("Downstream Port", PortType.DOWNSTREAM),
    ("PCI-Express to PCI/PCI-X Bridge", PortType.PCIE_TO_PCI),
    ("PCI/PCI-X to PCI-Express Bridge", PortType.PCI_TO_PCIE),
    ("PCI/PCI-X Bridge", PortType.PCIE_TO_PCI),
    ("PCIE-to-PCI/PCI-X Bridge", PortType.PCIE_TO_PCI),
    ("PCI/PCI-X-to-PCIE Bridge", PortType.PCI_TO_PCIE),
    ("Root Complex Integrated Endpoint", PortType.ROOT_INTEGRATED),
    ("Root Complex Event Collector", PortType.EVENT_COLLECTOR),
    ("Legacy Endpoint", PortType.LEGACY_ENDPOINT),
    ("Endpoint", PortType.ENDPOINT),
)
_FLAGS = {
    "SrcValid": AcsFlag.SV,
    "TransBlk": AcsFlag.TB,
    "ReqRedir": AcsFlag.RR,
    "CmpltRedir": AcsFlag.CR,
    "UpstreamFwd": AcsFlag.UF,
    "EgressCtrl": AcsFlag.EC,
    "DirectTrans": AcsFlag.DT,
}
_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MISREAD = (
    "lspci misreads the ACS control of Intel 100 and 200 series root ports, which hold it as a dword: add the dump"
    " of lspci -xxxx"
)
_CUT = "the text ends in the middle of the function: give the whole output of lspci -vvv"
_SHALLOW = "the text shows neither Control: nor Flags: of it: add the output of lspci -vvv, run as root"
_SPARSE = "the text shows the function's first line only: add the output of lspci -vvv, run as root"


@dataclass(frozen=True, slots=True)
class Habits:
    """What this text prints somewhere, so that a function without it has none."""

    driver: bool = False
    numa: bool = False
    group: bool = False
    extended: bool = False
    """Whether any function shows an extended capability: without, the text may be of 256-byte spaces."""


@dataclass(frozen=True, slots=True)
class Told:
    """A function as its text shows it. Its place (parent, root bus) is found from all of them."""

    function: Function
    group: int | None
    ari_forwarding: Fact[bool]
    virtual: VirtualFunctions | None = None
    virtual_unread: bool = False
    """Whether it may have virtual functions and the text does not tell where."""


def habits(blocks: list[Block]) -> Habits:
    """Return what these functions' texts print."""
    return Habits(
        driver=any(block.find("Kernel driver in use:") is not None for block in blocks),
        numa=any(_numa(block) is not None for block in blocks),
        group=any(_group(block) is not None for block in blocks),
        extended=any((c.offset or 0) >= 0x100 for block in blocks for c in block.capabilities),
    )


def read_block(block: Block, address: Address, *, name: str, custom: Habits) -> Told:
    """Return what a block tells of the function at an address; ``name`` is the text's."""
    source = f"{name} line {block.line}"
    heading = parse_heading(block.heading)
    pair = heading.possible_ids[0]
    told = len(heading.possible_ids) == 1 and None not in pair
    vendor, device = pair if told else (None, None)
    unread = _unread(block)
    text = _Reader(block, source, unread, vendor=vendor, device=device, custom=custom)
    header = text.header(heading.class_code)
    extended = text.extended()
    bridge = text.bridge(header)
    function = Function(
        address=address,
        vendor=0xFFFF if vendor is None else vendor,
        device=0xFFFF if device is None else device,
        class_code=UNKNOWN_CLASS << 16 if heading.class_code is None else heading.class_code,
        parent=None,
        host_bridge="",
        possible_ids=() if told else heading.possible_ids,
        label="" if told else heading.name,
        header=header,
        multifunction=Unknown("lspci prints no multifunction bit"),
        port_type=text.port_type(),
        command=text.command(),
        acs=text.acs(extended, _name(block)),
        ats=text.ats(extended),
        pasid=text.pasid(extended),
        sriov=text.sriov(extended),
        flr=text.flr(),
        pending=text.pending(),
        port_number=text.port_number(),
        link=text.link(),
        slot=text.slot(),
        power_state=text.power_state(),
        bridge=bridge,
        bars=text.bars(),
        revision=Known(heading.revision, source),
        subsystem=text.subsystem(),
        group=text.group(),
        driver=text.driver(),
        numa_node=text.numa(),
        serial=text.serial(extended),
    )
    virtual = text.virtual()
    unread_place = virtual is None and text.may_have_virtual()
    return Told(function, _group(block), text.ari_forwarding(), virtual, unread_place)


def _name(block: Block) -> str:
    return block.heading.partition(":")[2]


def _unread(block: Block) -> str:
    """Why the details tell nothing; empty where they do."""
    if not block.details and not block.capabilities:
        return _SPARSE
    if any(d.text.startswith("!!! Unknown header type 7f") for d in block.details):
        return "the function did not answer: its configuration space read as all ones"
    status = block.find("Status:")
    if status is not None and "PERR" not in status and "INTx" not in status:
        # Mailers take a wrapped line that begins with >SERR- for a quotation and drop it with what follows.
        return "what the text says of the function is cut off"
    if not block.capabilities and block.find("Flags:") is None and block.find("Control:") is None:
        # lspci -k alone prints the subsystem and the driver.
        return _SHALLOW
    return ""


def _group(block: Block) -> int | None:
    found = block.find("IOMMU group:")
    if found is None:
        # lspci -v puts it among the flags.
        flags = block.find("Flags:") or ""
        found = flags.rpartition("IOMMU group ")[2] if "IOMMU group " in flags else ""
    return _number(found)


def _numa(block: Block) -> int | None:
    found = block.find("NUMA node:")
    if found is None:
        flags = block.find("Flags:") or ""
        found = flags.rpartition("NUMA node ")[2] if "NUMA node " in flags else ""
    return _number(found.partition(",")[0])


def _number(text: str) -> int | None:
    word = (text.split() or [""])[0].rstrip(",")
    return int(word) if word.isascii() and word.isdigit() and len(word) < 9 else None


class _Reader:
    """Answers one question about a block at a time."""

    def __init__(
        self, block: Block, source: str, unread: str, *, vendor: int | None, device: int | None, custom: Habits
    ) -> None:
        self._block = block
        self._source = source
        self._text = source.rpartition(" line ")[0]
        self._unread = unread
        self._ids = vendor, device
        self._custom = custom
        self._denied = any("access denied" in c.name for c in block.capabilities)
        self._broken = any(
            word in c.name for c in block.capabilities for word in ("<chain", "<unreadable", "looped", "broken>")
        )

    @cached_property
    def _no_list(self) -> Unknown | None:
        """Why the list of capabilities is not told; None where it is."""
        if self._unread:
            return Unknown(f"{self._text}: {self._unread}")
        if self._denied:
            return Unknown(f"{self._text}: capabilities shown as <access denied>: run lspci as root")
        if self._block.cut:
            return Unknown(f"{self._text}: {_CUT}")
        if self._broken:
            return Unknown(f"{self._text}: lspci could not follow the list of capabilities")
        status = self._block.find("Status:") or ""
        if not self._block.capabilities and "Cap+" in status.split():
            return Unknown(f"{self._text}: it has capabilities (Cap+), but the text shows none")
        return None

    def _find(self, *names: str) -> Capability | None:
        return next((c for c in self._block.capabilities if c.name.startswith(names)), None)

    def _express(self) -> Capability | None:
        return self._find("Express ")

    def header(self, class_code: int | None) -> Fact[HeaderType]:
        if self._unread:
            return Unknown(f"{self._text}: {self._unread}")
        if any(d.text.startswith(("!!! Unknown header", "!!! Invalid class")) for d in self._block.details):
            return Unknown(f"{self._text}: lspci says that its header is of an unknown type")
        if self._block.find("Bus:") is None:
            if class_code is not None and class_code >> 8 in (0x0604, 0x0607, 0x0609):
                return Unknown(f"{self._text}: a bridge without its Bus: line")
            return Known(HeaderType.NORMAL, self._source)
        cardbus = class_code is not None and class_code >> 8 == 0x0607
        return Known(HeaderType.CARDBUS if cardbus else HeaderType.BRIDGE, self._source)

    def extended(self) -> Unknown | None:
        """Why the extended capabilities are not told; None where they are."""
        unread = self._no_list
        if unread is not None or self._express() is None or self._custom.extended:
            return unread
        return Unknown(f"{self._text}: no function of this text shows extended capabilities: 256-byte spaces?")

    def port_type(self) -> Fact[PortType]:
        express = self._express()
        if express is None:
            unread = self._no_list
            return Known(PortType.CONVENTIONAL, self._source) if unread is None else unread
        words = express.name.removeprefix("Express ").strip()
        if words.startswith("(v"):
            words = words.partition(")")[2].strip()
        for name, port_type in _TYPES:
            if words.startswith(name):
                return Known(port_type, self._source)
        return Unknown(f"{self._text}: not a PCI Express type: {words[:40]!r}")

    def command(self) -> Fact[Command]:
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

    def acs(self, extended: Unknown | None, name: str) -> Fact[Acs | None]:
        found = self._find("Access Control Services")
        if found is None:
            return Known(None, self._source) if extended is None else extended
        capability, control = _acs_flags(found.find("ACSCap:")), _acs_flags(found.find("ACSCtl:"))
        if capability is None or control is None:
            return Unknown(f"{self._text}: the text names ACS without its bits: lspci -vvv shows them")
        if self._misread(control, name):
            return Unknown(f"{self._text}: {_MISREAD}")
        offset = found.offset or 0
        return Known(Acs(capability, control, offset, offset + 6), self._source)

    def _misread(self, control: AcsFlag, name: str) -> bool:
        """Whether this is one of the root ports that hold ACS control two bytes further on, or may be one.

        What lspci prints for their control are the upper 16 bits of their capability dword: all off.
        """
        port_type = self.port_type()
        if control or not isinstance(port_type, Known) or port_type.value is not PortType.ROOT_PORT:
            return False
        vendor, device = self._ids
        if vendor is not None and device is not None:
            return has_dword_registers(vendor, device)
        if name.strip() and "intel" not in name.lower():
            return False
        pairs = parse_heading(self._block.heading).possible_ids
        return any(
            vendor in (None, 0x8086) and (device is None or has_dword_registers(0x8086, device))
            for vendor, device in pairs
        )

    def ats(self, extended: Unknown | None) -> Fact[Ats | None]:
        found = self._find("Address Translation Service")
        if found is None:
            return Known(None, self._source) if extended is None else extended
        words = (found.find("ATSCtl:") or "").replace(",", " ").split()
        if not {"Enable+", "Enable-"}.intersection(words):
            return Unknown(f"{self._text}: the text names ATS without its state: lspci -vvv shows it")
        return Known(Ats(enabled="Enable+" in words, offset=found.offset or 0), self._source)

    def pasid(self, extended: Unknown | None) -> Fact[bool]:
        if self._find("Process Address Space ID") is not None:
            return Known(True, self._source)
        return Known(False, self._source) if extended is None else extended

    def sriov(self, extended: Unknown | None) -> Fact[Sriov | None]:
        found = self._find("Single Root I/O Virtualization")
        if found is None:
            return Known(None, self._source) if extended is None else extended
        words = (found.find("IOVCtl:") or "").split()
        numbers = found.find("Initial VFs:") or ""
        total, count = _after(numbers, "Total VFs:"), _after(numbers, "Number of VFs:")
        if total is None or count is None or not {"Enable+", "Enable-"}.intersection(words):
            return Unknown(f"{self._text}: the text names SR-IOV without its numbers: lspci -vvv shows them")
        return Known(Sriov(total, count if "Enable+" in words else 0, found.offset or 0), self._source)

    def virtual(self) -> VirtualFunctions | None:
        found = self._find("Single Root I/O Virtualization")
        if found is None or "Enable+" not in (found.find("IOVCtl:") or "").split():
            return None
        count = _after(found.find("Initial VFs:") or "", "Number of VFs:")
        place = f"VF offset: {found.find('VF offset:') or ''}"
        offset, stride = _after(place, "VF offset:"), _after(place, "stride:")
        if count is None or offset is None or stride is None:
            return None
        return VirtualFunctions(count, offset, stride)

    def may_have_virtual(self) -> bool:
        """Whether it names SR-IOV and does not say that it is off."""
        found = self._find("Single Root I/O Virtualization")
        return found is not None and "Enable-" not in (found.find("IOVCtl:") or "").split()

    def flr(self) -> Fact[bool]:
        unread = self._no_list
        if unread is not None:
            return unread
        express, features = self._express(), self._find("PCI Advanced Features")
        if express is not None and "Endpoint" not in express.name:
            return Unknown(f"{self._text}: lspci prints FLReset of endpoints only")
        for capability, key, word in ((express, "DevCap:", "FLReset"), (features, "AFCap:", "FLR")):
            words = () if capability is None else (capability.find(key) or "").split()
            if f"{word}+" in words:
                return Known(True, self._source)
            if capability is not None and f"{word}-" not in words:
                return Unknown(f"{self._text}: the text shows no {word} in its {key} line: lspci -vvv does")
        return Known(False, self._source)

    def pending(self) -> Fact[bool]:
        for name, key, word in (("Express ", "DevSta:", "TransPend"), ("PCI Advanced Features", "AFStatus:", "TP")):
            capability = self._find(name)
            words = () if capability is None else (capability.find(key) or "").split()
            for sign, value in (("+", True), ("-", False)):
                if word + sign in words:
                    return Known(value, self._source)
        return Unknown(f"{self._text}: the text does not show whether transactions are pending")

    def port_number(self) -> Fact[int]:
        express = self._express()
        text = "" if express is None else express.find("LnkCap:") or ""
        word = text.partition("Port #")[2].partition(",")[0].strip()
        if word.isascii() and word.isdigit() and len(word) < 4:
            return Known(int(word), self._source)
        return Unknown(f"{self._text}: the text shows no link capabilities of it")

    def link(self) -> Fact[PcieLink]:
        express = self._express()
        text = "" if express is None else express.find("LnkCap:") or ""
        speed = text.partition("Speed ")[2].partition("GT/s")[0].strip()
        width = text.partition("Width x")[2].partition(",")[0].strip()
        if speed.replace(".", "", 1).isdecimal() and len(speed) < 5 and width.isdecimal() and len(width) < 3:
            return Known(PcieLink(float(speed), int(width)), self._source)
        return Unknown(f"{self._text}: the text shows no link capabilities of it")

    def slot(self) -> Fact[bool]:
        express = self._express()
        if express is not None and ("(Slot+)" in express.name or "(Slot-)" in express.name):
            return Known("(Slot+)" in express.name, self._source)
        return Unknown(f"{self._text}: the text does not show whether it leads to a slot")

    def ari_forwarding(self) -> Fact[bool]:
        express = self._express()
        if express is None:
            unread = self._no_list
            return Known(False, self._source) if unread is None else unread
        if not any(port in express.name for port in ("Root Port", "Downstream Port")):
            # PCI Express Base Specification 7.5.3.16: root and downstream ports only.
            return Known(False, self._source)
        words = (express.find("DevCtl2:") or "").replace(",", " ").split()
        if "ARIFwd+" in words:
            return Known(True, self._source)
        if "ARIFwd-" in words or (express.find("DevCap:") is not None and "(v1)" in express.name):
            return Known(False, self._source)
        return Unknown(f"{self._text}: the text does not show whether ARI forwarding is on")

    def power_state(self) -> Fact[str]:
        found = self._find("Power Management")
        if found is None:
            unread = self._no_list
            return Known("D0", self._source) if unread is None else unread
        words = (found.find("Status:") or "").split()
        if words[:1] and words[0] in ("D0", "D1", "D2", "D3"):
            return Known("D3hot" if words[0] == "D3" else words[0], self._source)
        return Unknown(f"{self._text}: the text does not show its power state")

    def bridge(self, header: Fact[HeaderType]) -> Fact[Bridge | None]:
        if isinstance(header, Unknown):
            return header
        if header.value is HeaderType.NORMAL:
            return Known(None, self._source)
        numbers = {}
        for part in (self._block.find("Bus:") or "").split(","):
            key, _, value = part.strip().partition("=")
            numbers[key] = value.strip()
        try:
            secondary, subordinate = int(numbers["secondary"], 16), int(numbers["subordinate"], 16)
        except (KeyError, ValueError):
            return Unknown(f"{self._text}: its Bus: line is cut")
        if secondary > 0xFF or subordinate > 0xFF:
            return Unknown(f"{self._text}: its Bus: line has no bus numbers")
        windows = [self._window("I/O behind bridge:"), self._window("Memory behind bridge:")]
        windows.append(self._window("Prefetchable memory behind bridge:"))
        kept = tuple(window for window in windows if window is not None and window.start <= window.end)
        return Known(Bridge(secondary, subordinate, kept), self._source)

    def _window(self, key: str) -> Window | None:
        text = self._block.find(key) or ""
        start, dash, end = text.partition(" ")[0].partition("-")
        try:
            first, last = int(start, 16), int(end, 16)
        except ValueError:
            return None
        if not dash or "[disabled]" in text:
            return None
        memory, prefetch = key != "I/O behind bridge:", key.startswith("Prefetchable")
        # Registers of all zeros: not implemented (pci.bridge), though lspci prints the range that they would be.
        least, wide = (0xFFFFF, "[64-bit]") if memory else (0xFFF, "[32-bit]")
        if first == 0 and last == least and (prefetch or not memory) and wide not in text and len(start) <= 8:
            return None
        return Window(first, last, memory=memory, prefetchable=prefetch)

    def bars(self) -> Fact[tuple[Bar, ...]]:
        if self._unread or (self._block.cut and not self._block.capabilities):
            return Unknown(f"{self._text}: {self._unread or _CUT}")
        bars = []
        for detail in self._block.details:
            words = detail.text.removeprefix("[virtual] ").split()
            if len(words) >= 4 and words[:3] in (["Memory", "at", words[2]], ["I/O", "ports", "at"]):
                return Unknown(f"{self._text}: lspci -v does not number the regions: use -vv")
            if words[:1] != ["Region"] or len(words) < 4:
                continue
            index = _number(words[1].rstrip(":"))
            rest = " ".join(words[2:])
            memory = rest.removeprefix("[virtual] ").startswith("Memory at ")
            place = rest.partition(" at ")[2].partition(" ")[0]
            if index is None or index > 5 or place.startswith("<"):
                continue
            try:
                start = int(place, 16)
            except ValueError:
                continue
            prefetch = "prefetchable)" in rest and "non-prefetchable" not in rest
            bars.append(Bar(index, start, _size(rest), memory=memory, prefetchable=prefetch))
        return Known(tuple(sorted(bars, key=lambda bar: bar.index)), self._source)

    def subsystem(self) -> Fact[tuple[int, int]]:
        text = self._block.find("Subsystem:")
        found = None if text is None else ids_in_brackets(f"{text} [{text.split()[-1] if text.split() else ''}]")
        if found is None:
            return Unknown(f"{self._text}: the text does not show the subsystem's ids: lspci -nn does")
        return Known(found, self._source)

    def group(self) -> Fact[int | None]:
        number = _group(self._block)
        if number is not None:
            return Known(number, self._source)
        if self._custom.group and not self._unread and not (self._block.cut and not self._block.capabilities):
            return Known(None, self._source)
        return Unknown("the text shows no IOMMU groups: add a list of them")

    def driver(self) -> Fact[str | None]:
        found = self._block.find("Kernel driver in use:")
        if found:
            return Known(found.split()[0], self._source)
        if self._custom.driver and self._unread in ("", _SHALLOW) and not self._block.cut:
            return Known(None, self._source)
        return Unknown(f"{self._text}: the text shows no drivers")

    def numa(self) -> Fact[int | None]:
        number = _numa(self._block)
        if number is None and not (self._custom.numa and not self._unread and not self._block.cut):
            return Unknown(f"{self._text}: the text shows no NUMA nodes")
        return Known(number, self._source)

    def serial(self, extended: Unknown | None) -> Fact[str | None]:
        found = self._find("Device Serial Number")
        if found is not None:
            words = found.name.split()
            return Known(words[3], self._source) if len(words) == 4 else Unknown(f"{self._text}: serial number cut")
        return Known(None, self._source) if extended is None else extended


def _acs_flags(text: str | None) -> AcsFlag | None:
    """Return the flags of ``SrcValid+ TransBlk- …``; None where any of the seven is missing."""
    words = (text or "").split()
    flags = AcsFlag(0)
    for word, flag in _FLAGS.items():
        if f"{word}+" in words:
            flags |= flag
        elif f"{word}-" not in words:
            return None
    return flags


def _after(text: str, key: str) -> int | None:
    _, found, rest = text.partition(key)
    return _number(rest) if found else None


def _size(text: str) -> int:
    word = text.partition("[size=")[2].partition("]")[0]
    unit = _SIZES.get(word[-1:], 1)
    number = word.removesuffix(word[-1:]) if unit > 1 else word
    return int(number) * unit if number.isascii() and number.isdigit() and len(number) < 9 else 0
