"""What the devices and ports of a host do for isolation: one check a question."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from atoll.fabric.families import possible_kinds
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host
from atoll.isolation.groups import predict
from atoll.isolation.groups.comparison import compare
from atoll.pci.acs import REDIRECTING
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass
from atoll.pci.header import PortType
from atoll.report.check import Check, Status, Subject, shortened
from atoll.report.functions import isolating_root
from atoll.report.layout import plural

__all__ = ["DEVICE_CHECKS", "STATE_CHECKS"]


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
            "groups are fixed at discovery: since then something (ACS, a driver, a parameter) has changed",
            "compare: atoll groups",
        )
    elif missing:
        what = f"{plural(len(missing), 'function')} could not be checked against the kernel's rules"
        yield Check("groups", Status.UNKNOWN, what, "", "see: atoll groups")
    else:
        yield Check("groups", Status.OK, "as the kernel's rules form them")


def _hidden(host: Host) -> list[Address]:
    """Functions that groups name and of which nothing else was read."""
    grouped = {address for group in value_of(host.groups, {}).values() for address in group.members}
    return sorted(grouped - host.functions.keys())


def _unseen(host: Host) -> str:
    """Why there may be devices or ports of which the record shows nothing; empty where it does not say so."""
    hidden = _hidden(host)
    loose = [f.address for f in host.functions.values() if host.is_loose(f)]
    if hidden:
        return f"of {plural(len(hidden), 'function')} that groups name nothing else was read: {shortened(hidden)}"
    if loose:
        return f"what stands above {plural(len(loose), 'function')} was not read: {shortened(loose)}"
    return "" if host.functions else "the record shows no function"


def _acs(s: Subject) -> Iterator[Check]:
    ports = [
        f
        for f in s.host.functions.values()
        if (kind := value_of(f.port_type, None)) is PortType.DOWNSTREAM
        or (kind is PortType.ROOT_PORT and not isolating_root(s.host, f))
    ]
    unread = [f.address for f in ports if isinstance(f.acs, Unknown)]
    reasons = list(dict.fromkeys(f.acs.reason for f in ports if isinstance(f.acs, Unknown)))
    without = [f.address for f in ports if isinstance(f.acs, Known) and f.acs.value is None]
    unset = [
        f.address
        for f in ports
        if isinstance(f.acs, Known)
        and f.acs.value is not None
        and REDIRECTING & f.acs.value.capability & ~f.acs.value.control
    ]
    untyped = [f.address for f in s.host.functions.values() if f.is_port and isinstance(f.port_type, Unknown)]
    why = "peers below such ports may reach one another without the IOMMU seeing it"
    if without:
        yield Check(
            "acs-missing",
            Status.WARN,
            f"{plural(len(without), 'port')} without ACS: {shortened(without)}",
            why,
            "give what is below them to one tenant; see: atoll atoms",
        )
    if unset:
        yield Check(
            "acs-off",
            Status.WARN,
            f"{plural(len(unset), 'port')} with ACS that is not switched on: {shortened(unset)}",
            why,
            "atoll plan switches on what isolation needs",
        )
    if untyped:
        yield Check(
            "acs",
            Status.UNKNOWN,
            f"of {plural(len(untyped), 'bridge')} neither kind nor ACS was read: {shortened(untyped)}",
            why,
            "read the host as root, and record whole config files; of a paste: lspci -vvv, run as root",
        )
    if unread:
        yield Check(
            "acs",
            Status.UNKNOWN,
            f"ACS of {plural(len(unread), 'port')} was not read: {shortened(unread)}",
            reasons[0] + (f" (and {len(reasons) - 1} more reasons: atoll show -v)" if len(reasons) > 1 else ""),
            "read the host as root, and record whole config files; of a paste: lspci -nnvvvxxxx, run as root",
        )
    if unseen := _unseen(s.host):
        yield Check("acs", Status.UNKNOWN, unseen, why, "give the whole of lspci -nnvvv, run as root")
    elif not (without or unset or untyped or unread):
        yield Check("acs", Status.OK, f"all {plural(len(ports), 'port')} redirect" if ports else "no PCIe ports here")


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
    if silent:
        yield Check(
            "links",
            Status.UNKNOWN,
            f"links of {plural(len(silent), 'device')} of a family that has them are not known: {shortened(silent)}",
            "links bypass PCIe and its IOMMU; until a source tells, every such pair counts as linked",
            "record nvidia-smi nvlink -R (or the device tree on POWER) beside sys/",
        )
    elif linked:
        yield Check("links", Status.OK, f"known for all {plural(len(linked), 'device')} that may have them")
    elif not s.host.functions or _hidden(s.host):
        what = "the record does not show all devices, and those it does not show may have links"
        yield Check("links", Status.UNKNOWN, what, "", "give the whole of lspci -nnvvv, run as root")
    else:
        yield Check("links", Status.OK, "no device of a family with links outside PCIe")


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
    _acs,
    _ats,
    _links,
    _resets,
)

STATE_CHECKS: tuple[Callable[[Subject], Iterator[Check]], ...] = (
    _essential,
    _holders,
    _gaps,
)
