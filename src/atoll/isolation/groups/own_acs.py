"""Whether a function isolates by what it says itself: ``pci_acs_enabled()`` without the quirks."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.controls.acs_options import acs_options, option_on
from atoll.host.command_line import options
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Host
from atoll.isolation.groups.judgement import Judgement
from atoll.pci.acs import REDIRECTING, Acs, AcsFlag
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass
from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.pci.quirks.acs import BROKEN_SOURCE_VALIDATION, is_intel_spt_root_port
from atoll.pci.vendor import INTEL

__all__ = ["OwnAcs"]

_NEVER = (PortType.PCI_TO_PCIE, PortType.PCIE_TO_PCI, PortType.EVENT_COLLECTOR)
_BY_MULTIFUNCTION = (PortType.ENDPOINT, PortType.LEGACY_ENDPOINT, PortType.UPSTREAM, PortType.ROOT_INTEGRATED)


class OwnAcs:
    """The functions of one host as the kernel has them: multifunction or not, their types, their ACS."""

    def __init__(self, host: Host, acs_control: Mapping[Address, AcsFlag]) -> None:
        self._host = host
        self._control = acs_control
        self._short = "nommconf" in options(value_of(host.command_line, ""), "pci")
        self._options = acs_options(value_of(host.command_line, ""))
        self._shared = _shared_slots(host)

    def multifunction(self, function: Function) -> bool | None:
        """``pdev->multifunction``: None where the record does not tell.

        The header says so; any function but 0 found by a scan has it (``pci_scan_slot``, which below a PCIe port
        takes all functions reached by ARI as one slot's); virtual functions never have it
        (``pci_iov_add_virtfn``).
        """
        address = function.address
        if function.physical_function is not None:
            return False
        if function.perhaps_virtual:
            return None
        if address.function:
            return True
        if address.device and value_of(function.ari, False) and function.parent is not None:
            return True
        if isinstance(function.multifunction, Known):
            return function.multifunction.value
        # A scan goes beyond function 0 only if its header says multifunction.
        return True if address.slot in self._shared else None

    def multifunction_when_found(self, function: Function) -> bool | None:
        """``pdev->multifunction`` as it stands while the kernel adds the function: what the header says.

        Of functions but 0 a scan says so only once it has added them (``pci_scan_slot``), which is when an IOMMU that
        is there already groups them. Emulators leave the header's bit to function 0. Where the header was not read it
        is taken to agree.
        """
        if function.physical_function is None and isinstance(function.says_multifunction, Known):
            return function.says_multifunction.value
        return self.multifunction(function)

    def port_type(self, function: Function) -> PortType | None:
        """The type as ``set_pcie_port_type`` corrects it: None where it was not read.

        A downstream port right below one is taken as an upstream port. The kernel (6.1 to 7.3) forgets to shift the
        new type into place, so that it reads as an endpoint's, for which the same rules hold here; so they do for an
        upstream port right below one, which it takes for a downstream port and which reads as an endpoint too.
        """
        found = value_of(function.port_type, None)
        if found is PortType.DOWNSTREAM and function.parent is not None:
            above = self._host.functions.get(function.parent)
            if above is not None and self.port_type(above) in (*DOWNSTREAM_PORTS, PortType.PCI_TO_PCIE):
                return PortType.UPSTREAM
        return found

    def judge(self, function: Function) -> Judgement:
        """Return what the kernel takes it for: by its type, and by its capability where the type leaves it to that."""
        address = function.address
        multifunction = self.multifunction(function)
        port_type = self.port_type(function)
        if port_type is None and function.physical_function is not None:
            # A virtual function has the PCI Express type of its physical one (Base Specification 9.3.5), an endpoint's.
            return Judgement(True, (f"{address}: a virtual function needs no ACS (pci_iov_add_virtfn)",))
        if port_type is None:
            guess = not function.is_port and multifunction is False and function.base_class != BaseClass.BRIDGE
            reason = function.port_type.reason if isinstance(function.port_type, Unknown) else ""
            missing = f"{address}: the PCI Express type was not read ({reason})"
            return Judgement(guess, (f"{address}: type not known",), (missing,))
        if port_type is PortType.CONVENTIONAL:
            return Judgement(False, (f"{address}: conventional PCI has no ACS (pci_acs_enabled)",))
        if port_type in _NEVER:
            return Judgement(False, (f"{address}: a {port_type.label} never counts as isolating (pci_acs_enabled)",))
        if port_type in _BY_MULTIFUNCTION:
            if multifunction is False:
                return Judgement(True, (f"{address}: a single function needs no ACS (pci_acs_enabled)",))
            judgement = self._by_capability(function, port_type)
            if multifunction is None and not (judgement.enabled and judgement.certain):
                unknown = (f"{address}: whether it is multifunction", *judgement.missing)
                return Judgement(True, judgement.why, unknown)
            return judgement
        if port_type in DOWNSTREAM_PORTS:
            return self._by_capability(function, port_type)
        return Judgement(True, (f"{address}: {port_type.label} (pci_acs_enabled)",))

    def _by_capability(self, function: Function, port_type: PortType) -> Judgement:
        """``pci_acs_flags_enabled``: bits that the capability does not have count as hard-wired on."""
        address = function.address
        control = self._control.get(address)
        if control is None and self._set_up(function, port_type):
            return Judgement(True, (f"{address}: the kernel switched its ACS on (pci_quirk_enable_intel_spt_pch_acs)",))
        if not isinstance(function.acs, Known):
            if control is not None and control & REDIRECTING == REDIRECTING:
                return Judgement(True, (f"{address}: ACS is on",))
            # The guess: Linux turns ACS on wherever there is some (pci_enable_acs) once it has an IOMMU, unless it was
            # told to leave memory-mapped configuration space alone: then it mostly finds none.
            missing = f"{address}: the ACS capability was not read ({function.acs.reason})"
            return Judgement(
                control is None and not self._short, (f"{address} ({port_type.label}): ACS not known",), (missing,)
            )
        acs = function.acs.value
        if acs is None:
            return Judgement(False, (f"{address} ({port_type.label}): no ACS capability (pci_acs_flags_enabled)",))
        if control is None and _misread(function, port_type, acs):
            missing = f"{address}: its ACS control register, one dword on this chip, was read as a word"
            return Judgement(True, (f"{address} ({port_type.label}): ACS not known",), (missing,))
        return self._by_control(function, port_type, acs, acs.control if control is None else control)

    def _set_up(self, function: Function, port_type: PortType) -> bool:
        """Whether the boot log says what lspci does not show of one of Intel's ports with dword registers: that the
        kernel switched its ACS on. What takes redirection off again, it does after that.
        """
        if not _holds_dwords(function, port_type) or not value_of(function.chipset_acs, False):
            return False
        acs = value_of(function.acs, None)
        if acs is not None and not _misread(function, port_type, acs):
            return False
        return option_on(function, self._host.functions, self._options) is None

    def _by_control(self, function: Function, port_type: PortType, acs: Acs, control: AcsFlag) -> Judgement:
        address = function.address
        off = REDIRECTING & acs.capability & ~control
        missing: tuple[str, ...] = ()
        if (function.vendor, function.device) in BROKEN_SOURCE_VALIDATION and off & AcsFlag.SV:
            kernel = value_of(self._host.kernel, None)
            if kernel is None or (kernel.major, kernel.minor) >= (7, 0):
                off &= ~AcsFlag.SV
                if kernel is None and not off:
                    missing = (f"{address}: whether the kernel drops this switch's broken SV (since 7.0)",)
        if not off:
            return Judgement(True, (f"{address}: ACS is on",), missing)
        return Judgement(False, (f"{address} ({port_type.label}): ACS {_words(off)} (pci_acs_flags_enabled)",))


def _words(flags: AcsFlag) -> str:
    return " ".join(f"{word[:-1]}-" for word in flags.lspci.split() if word.endswith("+"))


def _misread(function: Function, port_type: PortType, acs: Acs) -> bool:
    """Whether a control word was taken from where these Intel ports have none, as lspci does."""
    return _holds_dwords(function, port_type) and acs.control_offset != acs.offset + 8


def _holds_dwords(function: Function, port_type: PortType) -> bool:
    """``pci_quirk_intel_spt_pch_acs_match`` (drivers/pci/quirks.c)."""
    return function.vendor == INTEL and port_type is PortType.ROOT_PORT and is_intel_spt_root_port(function.device)


def _shared_slots(host: Host) -> frozenset[tuple[int, int, int]]:
    return frozenset(
        address.slot
        for address, function in host.functions.items()
        if address.function and function.physical_function is None and not function.perhaps_virtual
    )
