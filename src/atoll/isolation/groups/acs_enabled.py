"""Whether Linux takes a function as isolating: ``pci_acs_enabled()`` with its quirks, for the flags groups need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from atoll.fabric.default_domain import is_amd_iommu
from atoll.host.fact import Known, value_of
from atoll.host.model import Function, Host
from atoll.isolation.groups.acs_handler import ASKING_FOR_TYPE, isolates
from atoll.isolation.groups.judgement import Judgement
from atoll.isolation.groups.override import AcsOverride
from atoll.isolation.groups.own_acs import OwnAcs
from atoll.isolation.groups.shown_rows import ShownRows
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import PortType
from atoll.pci.quirks.acs import (
    CLAIMED,
    AcsHandler,
    acs_handlers,
    is_intel_pch_root_port,
    is_intel_spt_root_port,
    one_of_each,
)
from atoll.pci.quirks.acs_releases import kernel_decides_alike
from atoll.pci.vendor import INTEL

__all__ = ["Judge", "unseen_above"]

_MF_CONTROLS = AcsFlag.RR | AcsFlag.CR | AcsFlag.EC | AcsFlag.DT
_BY_IDS_OF_ANY_TYPE = (AcsHandler.AMD_SB, AcsHandler.MF_ENDPOINT, AcsHandler.WANGXUN_NIC)
"""Handlers that go by ids alone, which are not those of root ports."""
_OWN_LISTS_GROWN = (AcsHandler.ZHAOXIN_PORTS, AcsHandler.WANGXUN_NIC)
"""Handlers that say no to what they do not list, and whose lists grew: older ones say no to what newer ones take."""


class Judge:
    """Judges the functions of one host, each once."""

    def __init__(self, host: Host, *, acs_control: Mapping[Address, AcsFlag], override: AcsOverride) -> None:
        self._host = host
        self.own = OwnAcs(host, acs_control)
        """What the functions say themselves."""
        self._override = override
        self._amd = _amd_iommu(host)
        self._functions: dict[Address, Judgement] = {}
        self._paths: dict[Address, Judgement] = {}
        claimed = bool(override) or value_of(host.overrides_acs, False)
        self._shown = None if claimed else ShownRows(host, self.own.judge, self._ask)

    def function(self, function: Function) -> Judgement:
        """``pci_acs_enabled(pdev, SV | RR | CR | UF)`` (drivers/pci/pci.c)."""
        judgement = self._functions.get(function.address)
        if judgement is None:
            judgement = self._whatever_it_is(function) if function.possible_ids else self._told(function)
            self._functions[function.address] = judgement
        return judgement

    def _told(self, function: Function) -> Judgement:
        quirk = self._quirk(function)
        if quirk is not None and not quirk.enabled and function.vendor == INTEL:
            # The row that the patch adds to the table stands behind Intel's, and the first that decides counts.
            return quirk
        return self._overridden(function, quirk or self.own.judge(function))

    def _whatever_it_is(self, function: Function) -> Judgement:
        """What holds for every device that a function without told ids can be."""
        pairs: dict[tuple[int, int], None] = {}
        for vendor, device in function.possible_ids:
            if vendor is not None and device is not None:
                pairs[vendor, device] = None
            else:
                pairs |= dict.fromkeys(
                    pair for pair in one_of_each(vendor, function.class_code) if not _ruled_out(function, *pair)
                )
        judgements = [
            self._told(replace(function, vendor=vendor, device=device, possible_ids=())) for vendor, device in pairs
        ]
        first = judgements[0]
        if all(judgement.certain and judgement.enabled == first.enabled for judgement in judgements):
            return first
        missing = f"{function.address}: its ids, which the record does not show, and whether a quirk applies"
        return Judgement(first.enabled, first.why, (missing, *first.missing))

    def path(self, port: Function) -> Judgement:
        """``pci_acs_path_enabled(port, NULL, …)``: the port and every one above it up to the root bus."""
        chain: list[Function] = []
        above: Judgement | None = None
        at: Function | None = port
        while at is not None:
            above = self._paths.get(at.address)
            if above is not None:
                break
            chain.append(at)
            at = self._host.functions.get(at.parent) if at.parent is not None else None
        judgement = above or Judgement(True)
        if above is None and chain and self._host.is_loose(chain[-1]):
            judgement = Judgement(True, missing=(unseen_above(chain[-1]),))
        for member in reversed(chain):
            judgement = _both(self.function(member), judgement)
            self._paths[member.address] = judgement
        return judgement

    def _quirk(self, function: Function) -> Judgement | None:
        """``pci_dev_specific_acs_enabled``: the table in order; None where every handler declines."""
        for handler in acs_handlers(function.vendor, function.device):
            judgement = self._ask(handler, function)
            if judgement is not None:
                if judgement.enabled and handler in _BY_IDS_OF_ANY_TYPE:
                    judgement = self._unless_it_aliases(function, judgement)
                if judgement.missing and handler is AcsHandler.INTEL_PCH and self._is_chipset_shown(function):
                    judgement = judgement._replace(missing=())
                return self._if_known_to_kernel(handler, function, judgement)
        return None

    def _is_chipset_shown(self, port: Function) -> bool:
        """Whether groups show of an Intel chipset what no register does: that its ports pass nothing to peers."""
        if self._shown is None or self.own.port_type(port) is not PortType.ROOT_PORT:
            return False
        return self._shown.set_up_chipset(port)

    def _unless_it_aliases(self, function: Function, quirk: Judgement) -> Judgement:
        """A bridge that isolates lets what is below have groups of their own, unless its type makes it lend them its id
        (``pci_for_each_dma_alias``): so the AMD southbridges' PCI bridge, which the table names.
        """
        if not function.is_port or self.own.port_type(function) is not None:
            return quirk
        missing = f"{function.address}: the PCI Express type was not read, and whether its id stands for those below"
        return quirk._replace(missing=(*quirk.missing, missing))

    def _if_known_to_kernel(self, handler: AcsHandler, function: Function, quirk: Judgement) -> Judgement:
        """A kernel may be too old for the row that decided."""
        kernel = value_of(self._host.kernel, None)
        if kernel is not None and kernel_decides_alike(kernel.text, handler, function.vendor, function.device):
            return quirk
        plain = self.own.judge(function)
        refused = handler in _OWN_LISTS_GROWN and quirk.enabled
        if plain.certain and plain.enabled == quirk.enabled and not refused:
            return quirk
        if quirk.enabled and self._shown is not None and self._shown.has(handler, function):
            return quirk
        text = kernel.text if kernel is not None else "an unknown release: add what uname -a prints"
        missing = f"{function.address}: whether this kernel ({text}) has the quirk that decides"
        return Judgement(quirk.enabled, quirk.why, (*quirk.missing, missing))

    def _overridden(self, function: Function, judgement: Judgement) -> Judgement:
        """What ``pcie_acs_override=`` makes of a judgement: nothing but a kernel with the patch obeys it."""
        if not self._override or (judgement.enabled and judgement.certain):
            return judgement
        port_type = self.own.port_type(function)
        if port_type is None or not isinstance(function.acs, Known) or function.acs.value is not None:
            return judgement
        if not self._override.covers(function, port_type, self.own.multifunction(function) is not False):
            return judgement
        missing = f"{function.address}: whether this kernel has the patch that obeys pcie_acs_override="
        why = (f"{function.address}: taken as isolating (pcie_acs_override=)",)
        return Judgement(True, why, judgement.missing if self._override.obeyed else (*judgement.missing, missing))

    def _ask(self, handler: AcsHandler, function: Function) -> Judgement | None:
        if handler is AcsHandler.AMD_SB:
            return self._amd_southbridge(function)
        port_type = self.own.port_type(function)
        isolating = isolates(handler, function, port_type)
        if isolating is None:
            return None
        unread = ""
        if handler is AcsHandler.INTEL_PCH and not isinstance(function.chipset_acs, Known):
            told = "dmesg from the boot on tells"
            unread = f"whether the kernel could set up the chipset's peer decoding (RCBA, {handler}): {told}"
        elif port_type is None and handler in ASKING_FOR_TYPE:
            unread = "the PCI Express type was not read"
        missing = (f"{function.address}: {unread}",) if unread else ()
        word = "isolating" if isolating else "not isolating"
        return Judgement(isolating, (f"{function.address}: taken as {word} ({handler})",), missing)

    def _amd_southbridge(self, function: Function) -> Judgement | None:
        """``pci_quirk_amd_sb_acs``: multifunction, on the root bus, and the firmware has an IVRS table.

        Of the four flags only RR and CR count for functions of one device, and both are claimed.
        """
        multifunction = self.own.multifunction(function)
        if multifunction is False or function.parent is not None or self._amd is False:
            return None
        if REDIRECTING & _MF_CONTROLS & ~CLAIMED[AcsHandler.AMD_SB]:
            return None
        missing = []
        if multifunction is None:
            missing.append(f"{function.address}: whether it is multifunction")
        if self._amd is None:
            missing.append(f"{function.address}: whether there is an AMD IOMMU (IVRS)")
        return Judgement(True, (f"{function.address}: taken as isolating ({AcsHandler.AMD_SB})",), tuple(missing))


def _ruled_out(function: Function, vendor: int, device: int) -> bool:
    """Whether what was read of a function without told ids says that it is not this Intel root port.

    The ports of ``pci_quirk_intel_pch_acs`` have no ACS capability; those with dword registers have control bits of
    zero where the word is read, and a reader that does not know the ids leaves such a reading unknown.
    """
    acs = value_of(function.acs, None)
    if vendor != INTEL or acs is None:
        return False
    return is_intel_pch_root_port(device) or (is_intel_spt_root_port(device) and bool(acs.control))


def unseen_above(function: Function) -> str:
    """Return what is missing where a record does not show the bridge above a function's bus."""
    return f"what stands above bus {function.address.domain:04x}:{function.address.bus:02x}"


def _both(one: Judgement, rest: Judgement) -> Judgement:
    """Combine two judgements that must both be positive; a certain no needs nothing else."""
    why = tuple(reason for judgement in (one, rest) if not judgement.enabled for reason in judgement.why)
    if any(not judgement.enabled and judgement.certain for judgement in (one, rest)):
        return Judgement(False, why)
    return Judgement(one.enabled and rest.enabled, why, one.missing + rest.missing)


def _amd_iommu(host: Host) -> bool | None:
    """Whether the firmware describes an AMD IOMMU (IVRS); None where no IOMMU shows."""
    if host.iommu_units:
        return any(unit.kind == "amd" or unit.name.startswith("ivhd") for unit in host.iommu_units)
    names = {name for f in host.functions.values() if (name := value_of(f.iommu, None)) is not None}
    if names:
        return any(name.startswith("ivhd") for name in names)
    if isinstance(host.groups, Known) and host.groups.value:
        # Groups need an IOMMU. AMD's is a PCI function of its own; Intel's is none.
        if any(map(is_amd_iommu, host.functions.values())):
            return True
        if any(f.device_class == DeviceClass.HOST_BRIDGE and f.made_by(INTEL) for f in host.functions.values()):
            return False
    return None
