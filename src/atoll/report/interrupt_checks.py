"""Whether interrupts are remapped, and what keeps them from it."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.host.complaint import ComplaintKind
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.groups import on_xen
from atoll.host.model import Host
from atoll.pci.vendor import INTEL
from atoll.report.check import Check, Status, Subject

__all__ = ["WITHOUT_REMAPPING", "interrupts"]

WITHOUT_REMAPPING = (
    "nothing switches it on; VFIO gives devices away with vfio_iommu_type1.allow_unsafe_interrupts=1, and each guest "
    "with one can then raise any interrupt of the host: only for guests that are trusted"
)
_WHY = "without interrupt remapping a device can forge any interrupt, and VFIO refuses it by default"
_FLAWED = {0x3403, 0x3405, 0x3406}
"""Intel's 5500, 5520 and X58 (``intel_remapping_check`` in Linux ``arch/x86/kernel/early-quirks.c``, since 3.10)."""
_LAST_FLAWED = 0x13
_FLAWED_TOO = (0x3405, 0x22)
"""A device and a revision."""
_SINCE = (3, 10)
_CAUSES = {ComplaintKind.NO_IOAPIC: "see log-no-ioapic", ComplaintKind.ERRATUM: "see log-remapping-erratum"}


def interrupts(s: Subject) -> Iterator[Check]:
    """Yield whether a device can only raise the interrupts that it was given."""
    fact = s.host.interrupt_remapping
    flawed = _flawed(s.host)
    if isinstance(fact, Known) and fact.value:
        yield Check("interrupt-remapping", Status.OK, f"on ({fact.source})" if fact.source else "on")
    elif isinstance(fact, Known):
        do = WITHOUT_REMAPPING if flawed else _how_to_remap(s)
        yield Check("interrupt-remapping", Status.FAIL, f"off ({fact.source})" if fact.source else "off", _WHY, do)
    elif on_xen(s.host):
        do = "ask Xen: xl dmesg tells of interrupt remapping"
        yield Check("interrupt-remapping", Status.UNKNOWN, fact.reason, _WHY, do)
    elif flawed:
        yield _most_likely_off(s.host, flawed)
    else:
        do = "capture /proc/interrupts too, or give dmesg from the boot on"
        yield Check("interrupt-remapping", Status.UNKNOWN, fact.reason, _WHY, do)


def _most_likely_off(host: Host, flawed: str) -> Check:
    """Tell of a host whose chipset lets the kernel remap nothing, where no record shows what came of it."""
    release = value_of(host.kernel, None)
    since = "" if release is not None and (release.major, release.minor) >= _SINCE else "since 3.10 "
    found = f"most likely off: {since}the kernel leaves it off for an erratum of this chipset ({flawed})"
    return Check("interrupt-remapping", Status.UNKNOWN, found, _WHY, WITHOUT_REMAPPING)


def _flawed(host: Host) -> str:
    """Return the function by which the kernel knows a chipset whose remapping it leaves off, "" for others."""
    for address, function in sorted(host.functions.items()):
        revision = value_of(function.revision, None)
        if function.vendor != INTEL or function.device not in _FLAWED or revision is None:
            continue
        if revision <= _LAST_FLAWED or (function.device, revision) == _FLAWED_TOO:
            return f"{address}, {INTEL:04x}:{function.device:04x} rev {revision:02x}"
    return ""


def _how_to_remap(s: Subject) -> str:
    """Return what lets a kernel remap interrupts that does not."""
    told = [_CAUSES[one.kind] for one in s.host.complaints if one.kind in _CAUSES]
    if told:
        return told[0]
    off = next((word for word in s.words if word.partition("=")[0] in ("intremap", "nointremap")), None)
    if off is not None:
        return f"take {off} off the command line"
    groups = s.host.groups
    formed = any(not one.made_up for one in groups.value.values()) if isinstance(groups, Known) else False
    if formed or (isinstance(groups, Unknown) and s.host.iommu_units):
        return (
            "the IOMMU is on, so it is intremap=off or nointremap on the command line, or firmware that leaves it off "
            "or tells wrongly of interrupt controllers: update it; the boot log says which (dmesg | grep -i remap)"
        )
    return "it comes with the IOMMU: switch that on, and take intremap=off and nointremap off the command line"
