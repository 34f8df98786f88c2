"""What the devices and ports of a host do for isolation: one check a question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from atoll.fabric.families import possible_kinds
from atoll.host.fact import Unknown, value_of
from atoll.host.groups import listed_only
from atoll.host.model import LinkKind
from atoll.isolation.groups import predict
from atoll.isolation.groups.comparison import compare
from atoll.isolation.groups.late_acs import formed_before_acs
from atoll.isolation.iova.reserved import REFUSED, reserved
from atoll.pci.class_code import BaseClass
from atoll.report.acs_checks import acs
from atoll.report.check import Check, Status, Subject, shortened
from atoll.report.group_comparison import BEFORE_ACS
from atoll.report.layout import plural
from atoll.report.vfio_checks import viable

__all__ = ["DEVICE_CHECKS", "STATE_CHECKS"]

_RECORDS = {
    LinkKind.NVLINK: "nvidia-smi nvlink -R (or the device tree on POWER)",
    LinkKind.XGMI: "the KFD topology (grep -r . /sys/class/kfd/kfd/topology/nodes, with all GPUs bound to amdgpu)",
}
"""What tells where links lead, by their kind."""
_BESIDE, _ON_THE_HOST = "beside sys/", "in /etc/atoll/records"
"""Where records go: beside a recorded host, and on the machine that this is (``atoll.host.trees.live``)."""
_RELAXED = "relax_rmrr"
"""Of a patch that is not merged (kiler129/relax-intel-rmrr); Proxmox' kernels carry it since 6.2.16-13."""


def _groups(s: Subject) -> Iterator[Check]:
    prediction = predict(s.host)
    comparison = compare(s.host, prediction)
    if comparison is None or not comparison.recorded:
        return
    missing = dict(prediction.undetermined)
    found = [difference.function for difference in comparison.certain]
    if found:
        yield Check(
            "groups",
            Status.WARN,
            f"{plural(len(found), 'function')} grouped otherwise than the kernel's rules would: {shortened(found)}",
            BEFORE_ACS
            if formed_before_acs(s.host, found)
            else "groups are fixed at discovery: since then something (ACS, a driver, a parameter) has changed",
            "compare: atoll groups",
        )
    elif missing:
        what = f"{plural(len(missing), 'function')} could not be checked against the kernel's rules"
        yield Check("groups", Status.UNKNOWN, what, "", "see: atoll groups")
    else:
        yield Check("groups", Status.OK, "as the kernel's rules form them")


def _ats(s: Subject) -> Iterator[Check]:
    on = [f.address for f in s.host.functions.values() if (ats := value_of(f.ats, None)) is not None and ats.enabled]
    if on:
        yield Check(
            "ats",
            Status.WARN,
            f"{plural(len(on), 'function')} with ATS on: {shortened(on)}",
            "they may send requests as translated, which the IOMMU lets pass unchecked",
            "trust them, or boot with pci=noats; see: atoll prove",
        )
    unread = [f.address for f in s.host.functions.values() if not f.is_port and isinstance(f.ats, Unknown)]
    if unread:
        yield Check(
            "ats",
            Status.UNKNOWN,
            f"ATS of {plural(len(unread), 'function')} was not read: {shortened(unread)}",
            "a device with ATS on may send requests that the IOMMU lets pass unchecked",
            "read the host as root, and record whole config files",
        )


def _links(s: Subject) -> Iterator[Check]:
    linked = [f.address for f in s.host.functions.values() if possible_kinds(f)]
    silent = [address for address in linked if address not in s.host.links_told]
    silent_kinds = frozenset[LinkKind]().union(*(possible_kinds(s.host.functions[address]) for address in silent))
    records = " and ".join(record for kind, record in _RECORDS.items() if kind in silent_kinds)
    if silent:
        named = all(s.host.functions[address].ids_told for address in silent)
        whose = "of a family that has them" if named else "that may have them"
        yield Check(
            "links",
            Status.UNKNOWN,
            f"links of {plural(len(silent), 'device')} {whose} are not known: {shortened(silent)}",
            "links bypass PCIe and its IOMMU; until a source tells, every such pair counts as linked",
            f"record {records} {_BESIDE if s.privileged is None else _ON_THE_HOST}"
            if records
            else "no record is read that tells where these lead: leave both ends with one owner",
        )
    elif linked:
        yield Check("links", Status.OK, f"known for all {plural(len(linked), 'device')} that may have them")
    elif not s.host.functions or listed_only(s.host):
        what = "the record does not show all devices, and those it does not show may have links"
        yield Check("links", Status.UNKNOWN, what, "", "give the whole of lspci -nnvvv, run as root")
    else:
        yield Check("links", Status.OK, "no device of a family with links outside PCIe")


def _kept_by_firmware(s: Subject) -> Iterator[Check]:
    where = "look in the firmware's setup for what asks for it: management by shared memory, DMA protection before boot"
    word = next((w for w in s.words if w.startswith("intel_iommu=") and _RELAXED in w.partition("=")[2].split(",")), "")
    if word:
        yield Check(
            "firmware-memory",
            Status.WARN,
            f"{word} lets VFIO have devices whose memory the firmware wants mapped one to one (RMRR)",
            "the firmware goes on using such a device, and what it writes lands in its guest's memory",
            f"give no such device away; {where}",
        )
    functions = [f for f in s.host.functions.values() if not f.is_port]
    for because, kept in groupby(reserved(s.host, functions).direct, key=lambda one: one.because):
        found = [one.device for one in kept]
        yield Check("firmware-memory", Status.WARN, f"not for VFIO: {shortened(found)}", because, where)
    alone = sorted(s.host.refused - s.host.functions.keys())
    if alone:
        yield Check("firmware-memory", Status.WARN, f"not for VFIO: {shortened(alone)}", REFUSED, where)


def _resets(s: Subject) -> Iterator[Check]:
    without = [
        f.address
        for f in s.host.functions.values()
        if not f.is_port and f.base_class != BaseClass.BRIDGE and value_of(f.reset_methods, ("?",)) == ()
    ]
    if without:
        yield Check(
            "resets",
            Status.WARN,
            f"no way to reset {plural(len(without), 'function')}: {shortened(without)}",
            "what one tenant left in it, the next one finds",
            "hand them on only after a power cycle",
        )


def _essential(s: Subject) -> Iterator[Check]:
    for address, reason in s.host.essential.items():
        yield Check("essential", Status.OK, f"{address} stays with the host: {reason}")


def _holders(s: Subject) -> Iterator[Check]:
    for holder in value_of(s.host.holders, ()):
        devices = " ".join(map(str, holder.devices)) or "no device"
        yield Check("holder", Status.OK, f"{holder.name} (pid {holder.pid}) has open: {devices}")


def _gaps(s: Subject) -> Iterator[Check]:
    for gap in s.host.gaps:
        yield Check("gap", Status.UNKNOWN, f"{gap.what}: {gap.why}", "", gap.hint)


DEVICE_CHECKS: tuple[Callable[[Subject], Iterator[Check]], ...] = (
    _groups,
    acs,
    _ats,
    _links,
    _kept_by_firmware,
    viable,
    _resets,
)

STATE_CHECKS: tuple[Callable[[Subject], Iterator[Check]], ...] = (
    _essential,
    _holders,
    _gaps,
)
