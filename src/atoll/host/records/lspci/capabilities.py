"""What lspci prints of a function's capabilities.

Source of the forms: pciutils ``ls-caps.c`` (``cap_express``, ``cap_pm``, ``cap_af``) and ``ls-ecaps.c`` (``cap_acs``,
``cap_ats``, ``cap_sriov``), 3.1 to 3.14.
"""

from __future__ import annotations

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.records.hexadecimal import hexadecimal
from atoll.host.records.lspci.block_text import BlockText, number_in
from atoll.host.records.lspci.heading import parse_heading
from atoll.host.records.lspci.regions import regions
from atoll.host.records.virtual import VirtualFunctions
from atoll.pci.acs import Acs, AcsFlag, has_dword_registers
from atoll.pci.ats import Ats
from atoll.pci.class_code import DeviceClass
from atoll.pci.express import PcieLink
from atoll.pci.header import PortType
from atoll.pci.multicast import Multicast
from atoll.pci.sriov import Sriov
from atoll.pci.vendor import INTEL

__all__ = ["MISREAD", "CapabilityText"]

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
_DVSEC = ("Designated Vendor-Specific", "CXL Designated Vendor-Specific")
"""As versions of lspci name it."""
_FLAGS = {
    "SrcValid": AcsFlag.SV,
    "TransBlk": AcsFlag.TB,
    "ReqRedir": AcsFlag.RR,
    "CmpltRedir": AcsFlag.CR,
    "UpstreamFwd": AcsFlag.UF,
    "EgressCtrl": AcsFlag.EC,
    "DirectTrans": AcsFlag.DT,
}
MISREAD = (
    "lspci misreads the ACS control of Intel 100 and 200 series root ports, which hold it as a dword: add the dump"
    " of lspci -xxxx"
)


class CapabilityText(BlockText):
    """The capabilities, and the extended ones.

    Each method returns the fact that it is named after, read from what ``lspci -vv`` prints (``ls-caps.c`` and
    ``ls-ecaps.c`` in pciutils). ``extended`` is why extended capabilities are not told, None where they are.
    """

    def extended(self) -> Unknown | None:
        """Why the extended capabilities are not told; None where they are."""
        unread = self._no_list
        if unread is not None or self._express() is None or self._custom.extended:
            return unread
        return Unknown(f"{self._text}: no function of this text shows extended capabilities: 256-byte spaces?")

    def port_type(self) -> Fact[PortType]:
        """The words after ``Express``; no PCI Express capability: conventional."""
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

    def acs(self, extended: Unknown | None, name: str) -> Fact[Acs | None]:
        """``ACSCap:`` and ``ACSCtl:``; ``name`` is what the first line calls the function."""
        found = self._find("Access Control Services")
        if found is None:
            return Known(None, self._source) if extended is None else extended
        capability, control = _acs_flags(found.find("ACSCap:")), _acs_flags(found.find("ACSCtl:"))
        if capability is None and control is not None:
            return Unknown(f"{self._text}: the text shows its ACSCtl: without ACSCap:, what it can")
        if any(sum(d.text.startswith(key) for d in found.details) > 1 for key in ("ACSCap:", "ACSCtl:")):
            return Unknown(f"{self._text}: the ACS bits of more than one function stand below it")
        alone = found.offset is None and self._block.shortened
        if capability is not None and not self._own(capability, alone=alone):
            return Unknown(f"{self._text}: the ACS bits below it may be of a function whose first line was left out")
        if capability is None or control is None:
            return Unknown(f"{self._text}: the text names ACS without its bits: lspci -vvv shows them")
        if self._misread(control, name):
            return Unknown(f"{self._text}: {MISREAD}")
        offset = found.offset or 0
        return Known(Acs(capability, control, offset, offset + 6), self._source)

    def _own(self, capability: AcsFlag, *, alone: bool) -> bool:
        """Whether ACS bits are this function's, where a pattern picked lines and may have left out headings.

        ``alone``: without the line of their capability, which stands above them where all lines are shown.

        What shows its PCI Express type shows the next function's before that one's ACS. Without: a downstream or root
        port has Source Validation, and nothing else has (PCI Express Base Specification 7.7.11.2).
        """
        if self._block.asked:
            return True
        if not self._picked:
            return not alone
        if self._express() is not None:
            return True
        code = parse_heading(self._block.heading).class_code
        return code is not None and code >> 8 == DeviceClass.PCI_BRIDGE and AcsFlag.SV in capability

    def _misread(self, control: AcsFlag, name: str) -> bool:
        """Whether this is one of the root ports that hold ACS control two bytes further on, or may be one.

        What lspci prints for their control are the upper 16 bits of their capability dword: all off.
        """
        port_type = self.port_type()
        if control or (isinstance(port_type, Known) and port_type.value is not PortType.ROOT_PORT):
            return False
        vendor, device = self._ids
        if vendor is not None and device is not None:
            return has_dword_registers(vendor, device)
        if name.strip() and "intel" not in name.lower():
            return False
        pairs = parse_heading(self._block.heading).possible_ids
        return any(
            vendor in (None, INTEL) and (device is None or has_dword_registers(INTEL, device))
            for vendor, device in pairs
        )

    def ats(self, extended: Unknown | None) -> Fact[Ats | None]:
        """``ATSCtl:``."""
        found = self._find("Address Translation Service")
        if found is None:
            return Known(None, self._source) if extended is None else extended
        words = (found.find("ATSCtl:") or "").replace(",", " ").split()
        if not {"Enable+", "Enable-"}.intersection(words):
            return Unknown(f"{self._text}: the text names ATS without its state: lspci -vvv shows it")
        return Known(Ats(enabled="Enable+" in words, offset=found.offset or 0), self._source)

    def pasid(self, extended: Unknown | None) -> Fact[bool]:
        """Whether the text names the capability."""
        if self._find("Process Address Space ID") is not None:
            return Known(True, self._source)
        return Known(False, self._source) if extended is None else extended

    def cxl_cache(self, extended: Unknown | None) -> Fact[bool]:
        """As pciutils prints it from 3.8 on (``dvsec_cxl_device`` in ls-ecaps.c); not of the first revision."""
        for found in self._block.capabilities:
            if not found.name.startswith(_DVSEC):
                continue
            able, words = ((found.find(name) or "").split() for name in ("CXLCap:", "CXLCtl:"))
            if "Cache+" in words or "Cache-" in able:
                return Known("Cache+" in words, self._source)
            if "Cache-" in words:
                return Unknown(f"{self._text}: the text does not tell whether CXL.cache is locked: lspci -xxxx does")
            if "Vendor=" not in found.name or found.name.partition("Vendor=")[2].startswith("1e98 ID=0000"):
                return Unknown(f"{self._text}: the text does not tell whether CXL.cache is enabled: lspci -xxxx does")
        return Known(False, self._source) if extended is None else extended

    def multicast(self, extended: Unknown | None) -> Fact[Multicast | None]:
        """As pciutils prints it from 3.1.8 on (``cap_multicast`` in ls-ecaps.c)."""
        found = self._find("Multicast")
        if found is None:
            return Known(None, self._source) if extended is None else extended
        control, window = found.find("McastCtl:") or "", found.find("McastBAR:") or ""
        groups, position = _after(control, "NumGroups"), _after(window, "IndexPos")
        base = hexadecimal(window.rpartition("BaseAddr ")[2], most=16)
        enabled = {"Enable+", "Enable-"}.intersection(control.split())
        if groups is None or position is None or base is None or not enabled or groups > 64 or position > 63:
            return Unknown(f"{self._text}: the text names Multicast without its state: lspci -vvv shows it")
        return Known(Multicast("Enable+" in enabled, base, groups << position), self._source)

    def sriov(self, extended: Unknown | None) -> Fact[Sriov | None]:
        """``IOVCtl:``, the numbers below it, and the places of virtual functions' BARs."""
        found = self._find("Single Root I/O Virtualization")
        if found is None:
            return Known(None, self._source) if extended is None else extended
        words = (found.find("IOVCtl:") or "").split()
        numbers = found.find("Initial VFs:") or ""
        total, count = _after(numbers, "Total VFs:"), _after(numbers, "Number of VFs:")
        if total is None or count is None or not {"Enable+", "Enable-"}.intersection(words):
            return Unknown(f"{self._text}: the text names SR-IOV without its numbers: lspci -vvv shows them")
        memory = True if "MSE+" in words else False if "MSE-" in words else None
        bars = regions(found.details)
        told = Sriov(total, count if "Enable+" in words else 0, found.offset or 0, memory, bars)
        return Known(told, self._source)

    def virtual(self) -> VirtualFunctions | None:
        """Where its virtual functions are; None where none is enabled or the text does not tell."""
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

    def next_function(self) -> int:
        """The next of the device's functions that ``ARICap:`` names, by ARI's numbers; 0: none, or not told."""
        found = self._find("Alternative Routing-ID Interpretation")
        told = None if found is None else found.find("ARICap:")
        return _after(told or "", "Next Function:") or 0

    def flr(self) -> Fact[bool]:
        """``FLReset`` of ``DevCap:``, or ``FLR`` of ``AFCap:``."""
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
        """``TransPend`` of ``DevSta:``, or ``TP`` of ``AFStatus:``."""
        for name, key, word in (("Express ", "DevSta:", "TransPend"), ("PCI Advanced Features", "AFStatus:", "TP")):
            capability = self._find(name)
            words = () if capability is None else (capability.find(key) or "").split()
            for sign, value in (("+", True), ("-", False)):
                if word + sign in words:
                    return Known(value, self._source)
        return Unknown(f"{self._text}: the text does not show whether transactions are pending")

    def port_number(self) -> Fact[int]:
        """``Port #`` of ``LnkCap:``."""
        express = self._express()
        text = "" if express is None else express.find("LnkCap:") or ""
        word = text.partition("Port #")[2].partition(",")[0].strip()
        if word.isascii() and word.isdigit() and len(word) < 4:
            return Known(int(word), self._source)
        return Unknown(f"{self._text}: the text shows no link capabilities of it")

    def link(self) -> Fact[PcieLink]:
        """Speed (GT/s) and width (lanes) of ``LnkCap:``."""
        express = self._express()
        text = "" if express is None else express.find("LnkCap:") or ""
        speed = text.partition("Speed ")[2].partition("GT/s")[0].strip()
        width = text.partition("Width x")[2].partition(",")[0].strip()
        if speed.replace(".", "", 1).isdecimal() and len(speed) < 5 and width.isdecimal() and len(width) < 3:
            return Known(PcieLink(float(speed), int(width)), self._source)
        return Unknown(f"{self._text}: the text shows no link capabilities of it")

    def slot(self) -> Fact[bool]:
        """``(Slot+)`` after the type."""
        express = self._express()
        if express is not None and ("(Slot+)" in express.name or "(Slot-)" in express.name):
            return Known("(Slot+)" in express.name, self._source)
        return Unknown(f"{self._text}: the text does not show whether it leads to a slot")

    def ari_forwarding(self) -> Fact[bool]:
        """``ARIFwd`` of ``DevCtl2:``."""
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
        """The state in ``Status:`` of the power management capability; without one it is in D0."""
        found = self._find("Power Management")
        if found is None:
            unread = self._no_list
            return Known("D0", self._source) if unread is None else unread
        words = (found.find("Status:") or "").split()
        if words[:1] and words[0] in ("D0", "D1", "D2", "D3"):
            return Known("D3hot" if words[0] == "D3" else words[0], self._source)
        return Unknown(f"{self._text}: the text does not show its power state")

    def serial(self, extended: Unknown | None) -> Fact[str | None]:
        """The number as lspci writes it, in pairs of digits."""
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
    return number_in(rest) if found else None
