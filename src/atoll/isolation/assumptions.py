"""The assumptions that a proof rests on, by id, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from atoll.controls.registry import link_control
from atoll.controls.waking import is_kept_awake, may_sleep, opens_asleep
from atoll.fabric.answer import Question
from atoll.fabric.default_domain import DEFAULT, shows_amd_iommu
from atoll.fabric.domains import PROCESS, may_be_vfio
from atoll.fabric.families import possible_kinds
from atoll.fabric.links import NPU_UNCONFIGURED, far_end, is_open, leads_on
from atoll.fabric.passage import translation_blocked
from atoll.fabric.pcie import TRANSLATED_WITHOUT_ATS
from atoll.fabric.settings import DomainKind
from atoll.fabric.statement import VENDOR_STATEMENT
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, LinkKind
from atoll.isolation.clusters import HOST, Clusters
from atoll.isolation.firmware import excluded_for, mapped_for_firmware
from atoll.isolation.handover import without_ats
from atoll.isolation.identity import INTEGRATED_IDENTITY, SIBLING_IDENTITY
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.pci.vendor import MELLANOX, RED_HAT, VMWARE

__all__ = ["Assumption", "standing"]


@dataclass(frozen=True, slots=True)
class Assumption:
    """Something that is taken as true and was not read."""

    id: str
    text: str


_TEXTS = {
    Question.ROOT_COMPLEX.value: "root complexes do not route between their ports without translation (policy trusted)",
    Question.MULTIFUNCTION.value: "functions of a device without ACS do not reach one another inside it (policy)",
    Question.PORT_BAR.value: "a port that redirects requests also redirects those to its own BARs (policy)",
    Question.VIRTUAL_FUNCTION.value: "virtual functions of one device do not reach one another inside it (policy)",
    Question.HONEST_ATS.value: "devices with ATS send as translated only what the IOMMU told them (policy trusted)",
    VENDOR_STATEMENT: "functions without ACS isolate as their vendors told Linux (drivers/pci/quirks.c)",
    NPU_UNCONFIGURED: "an NPU that this kernel does not configure lets no request of its GPUs through",
    SIBLING_IDENTITY: "functions of one device send requests under their own ids only (SrcValid compares bus numbers)",
    TRANSLATED_WITHOUT_ATS: "functions whose ATS is off mark no request as translated (DirectTrans would let it pass)",
    INTEGRATED_IDENTITY: "root complex integrated endpoints send requests under their own requester id only",
}


_FIRST_OF_BLACKWELL = 0x2900
"""NVIDIA's device ids from here on are those of Blackwell's dies and of later ones (``fabric.families``)."""
_CONNECTX_7 = (MELLANOX, 0x1021)
"""MT2910 (pci.ids)."""
_MAPPINGS = (
    "drivers of the host map for a cluster's devices what these may see: mappings are of whole pages, so what shares a"
    " page with a buffer is seen too; whom else they let use a part of a device (a mediated device, a sub-function, a"
    " queue, a process by its PASID), nothing here shows"
)
_LAZILY = "; with deferred flushing (DMA-FQ) a page stays within reach for some 10 ms after it was unmapped"
"""``IOVA_DEFAULT_FQ_TIMEOUT`` in drivers/iommu/dma-iommu.c."""


def standing(reach: Reach, clusters: Clusters, used: Iterable[str]) -> tuple[Assumption, ...]:
    """Return the assumptions used, and those that every proof of this host rests on, in a fixed order."""
    found = {name: Assumption(name, _TEXTS[name]) for name in sorted(used)}
    for of in _STANDING:
        found |= {name: Assumption(name, text) for name, text in of(reach, clusters)}
    return tuple(found.values())


def _trusted_host(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    owner = clusters.tenant()
    identity = [a for a in reach.topology.endpoints if a not in owner and _identity(reach, a)]
    if identity:
        text = f"{len(identity)} host device(s) have untranslated access to all memory: the host is trusted"
        yield "identity-host-devices", text
    functions = reach.topology.functions
    unread = [a for a in reach.topology.endpoints if a not in owner and isinstance(functions[a].driver, Unknown)]
    if unread:
        text = (
            f"{len(unread)} function(s) that no cluster names are the host's: which driver they have was not read, so "
            "that one of VFIO's may have given them to somebody else"
        )
        yield "unread-drivers", text


def _others(_reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    if clusters.unshown:
        yield "journal-of-host", clusters.unshown


def _controls(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    for address in sorted(clusters.tenant()):
        control = link_control(reach.topology.functions[address])
        if control is not None and reach.settings.cut.get(address):
            yield f"control:{control.name}", f"{control.name} cuts links as written; level: {control.level}"


def _awake(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    topology, settings = reach.topology, reach.settings
    losing = set()
    for port in _may_be_asleep(topology, clusters):
        control, function = settings.acs.get(port), topology.functions[port]
        if control is not None and opens_asleep(topology.host, function, control):
            losing.add(port)
        if settings.enhanced.get(port) and may_sleep(topology.host, function):
            losing.add(port)
    if losing:
        yield (
            "ports-awake",
            f"{len(losing)} port(s) above functions of clusters do not sleep while the host runs (runtime power"
            " management, D3): they would wake up with the kernel's ACS policy, which closes less than what is set;"
            " power/control `on`, which apply sets where it sets ACS, keeps a port awake",
        )


def _may_be_asleep(topology: Topology, clusters: Clusters) -> set[Address]:
    """Return the ports above functions of clusters that nothing is seen to keep awake.

    What is awake keeps all above it awake (Documentation/power/runtime_pm.rst: a device with active children is not
    suspended).
    """
    ports: set[Address] = set()
    awake: set[Address] = set()
    for address in clusters.tenant():
        path = topology.up(address)
        ports.update(path)
        kept = next((place for place, port in enumerate(path) if is_kept_awake(topology.functions[port])), len(path))
        awake.update(path[kept:])
    return ports - awake


def _completions(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    topology = reach.topology
    above = (port for address in clusters.tenant() for port in topology.up(address))
    below_switch = any(topology.port_type(port) is PortType.DOWNSTREAM for port in above)
    if below_switch or _devices_of_several(topology, clusters):
        what = "switch" if below_switch else "device of several functions"
        yield (
            "unsolicited-completions",
            "a device takes no completion that it did not ask for: completions with relaxed ordering pass a "
            f"{what} whatever CmpltRedir says",
        )


def _processes(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    if len({_process(reach, address) for address in clusters.tenant()} - {None}) > 1:
        yield (
            "separate-containers",
            "processes that hold devices share no I/O address space by passing descriptors (nothing shows it)",
        )


def _host_drivers(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    driven = [address for address in clusters.tenant() if _by_host_driver(reach, address)]
    if driven:
        lazily = any("DMA-FQ" in reach.settings.domain[address].because for address in driven)
        yield "kernel-mappings", _MAPPINGS + (_LAZILY if lazily else "")


def _quiet(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    quiet = [address for address in sorted(clusters.tenant()) if _may_have_ats_again(reach, address)]
    if quiet:
        yield (
            "ats-off",
            f"ATS of {len(quiet)} function(s) is off because the kernel left it off: where somebody switched it off by "
            "hand, a reset switches it on again, and the IOMMU takes requests that are marked as translated meanwhile",
        )


def _firmware(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    topology = reach.topology
    of = {address: mapped_for_firmware(topology, reach.settings, address) for address in clusters.tenant()}
    mapped = [a for a, regions in of.items() if value_of(regions, ()) or excluded_for(topology, a)]
    unread = [address for address, regions in of.items() if isinstance(regions, Unknown)]
    text = (
        f"firmware has memory mapped for {len(mapped)} function(s) of clusters at its own addresses "
        "(reserved_regions): they may see it, and so may those of the host for which it has the same mapped"
    )
    untold = f"firmware has no memory mapped for {len(unread)} function(s) of clusters: reserved_regions were not read"
    if mapped or unread:
        yield "firmware-mappings", "; ".join([*([text] if mapped else []), *([untold] if unread else [])])


def _firmware_aliases(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    host = reach.topology.host
    if isinstance(host.firmware_aliases, Unknown) and clusters.tenant() and shows_amd_iommu(host):
        yield (
            "firmware-aliases",
            "the firmware's table for AMD's IOMMU (IVRS) gives no function an id that others use too: it was not read"
            f" ({host.firmware_aliases.reason})",
        )


def _silent(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    silent = [address for address in clusters.tenant() if reach.settings.can_master(address) is False]
    if silent:
        yield "bus-mastering", f"{len(silent)} function(s) whose bus mastering is off send no request"


def _off_host(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    leading = [address for address in clusters.tenant() if _leads_off_host(reach, address)]
    if leading:
        yield (
            "off-host-links",
            f"links of {len(leading)} function(s) of clusters lead, or may lead, to what is no function of this host:"
            " what else hangs there, of other hosts say, is kept apart there",
        )


def _two_ends(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    topology = reach.topology
    owner = clusters.cluster_of(topology.functions)
    alike: dict[tuple[int, str], list[Address]] = {}
    for address in topology.endpoints:
        function = topology.functions[address]
        serial = value_of(function.serial, None)
        if serial is not None:
            alike.setdefault((function.vendor, serial), []).append(address)
    split = [
        one
        for members in alike.values()
        for one in members
        if owner[one] != HOST
        and any(owner[one] != owner[other] and not topology.same_device(one, other) for other in members)
    ]
    if split:
        yield (
            "ends-of-devices",
            f"{len(split)} function(s) of clusters bear the serial number of others' functions elsewhere: where they "
            "are ends of one device (a network card for two sockets, a drive with two ports), it keeps them apart",
        )


def _managers_of_switches(reach: Reach, clusters: Clusters) -> Iterator[tuple[str, str]]:
    """Of boards with Blackwell's GPUs: the driver of such a function sets up who reaches whom over NVLink.

    Source: NVIDIA Fabric Manager user guide, "NVLink Subnet Manager": on HGX B200 and B300 it has the NVSwitches by
    functions of ConnectX-7 whose vital product data have SW_MNG in the field SMDL.
    """
    functions = reach.topology.functions
    on_board = any(
        LinkKind.NVLINK in possible_kinds(one) and (not one.ids_told or one.device >= _FIRST_OF_BLACKWELL)
        for one in functions.values()
    )
    named = [functions[address] for address in clusters.tenant() if on_board]
    able = [one for one in named if (one.vendor, one.device) == _CONNECTX_7 and one.physical_function is None]
    if able:
        yield (
            "nvswitch-management",
            f"none of {len(able)} ConnectX-7 function(s) of clusters manages the board's NVSwitches (HGX B200, B300): "
            "vital product data (SMDL=SW_MNG), which tell, are not read",
        )


def _virtual(reach: Reach, _clusters: Clusters) -> Iterator[tuple[str, str]]:
    if reach.topology.host.virtual or any(map(_emulated, reach.topology.functions.values())):
        yield (
            "virtual-machine",
            "this is a virtual machine: what it shows is taken for what carries the traffic, which is not so of devices"
            " that its hypervisor passes through",
        )


def _emulated(function: Function) -> bool:
    """Whether it is a port or a host bridge that QEMU or VMware shows to guests, on any platform and in any record."""
    return function.made_by(RED_HAT, VMWARE) and (function.is_port or function.device_class == DeviceClass.HOST_BRIDGE)


def _ports(_reach: Reach, _clusters: Clusters) -> Iterator[tuple[str, str]]:
    what = "ports do what their configuration space says, devices answer where it says, and only the host can write it:"
    what += " messages that devices send one another (MCTP) set nothing up"
    yield "configuration-space", what


def _root_complexes(reach: Reach, _clusters: Clusters) -> Iterator[tuple[str, str]]:
    routing = reach.topology.host.root_routing.values()
    sources = sorted({fact.source for fact in routing if isinstance(fact, Known)})
    if sources:
        yield "root-complex-routing", "what root complexes do between their ports is as stated: " + "; ".join(sources)


_STANDING = (
    *(_trusted_host, _others, _controls, _completions, _processes, _host_drivers, _firmware, _quiet, _silent, _awake),
    *(_firmware_aliases, _ports, _root_complexes, _off_host, _two_ends, _managers_of_switches, _virtual),
)


def _devices_of_several(topology: Topology, clusters: Clusters) -> bool:
    """Whether functions of one device, one of them named, belong to different owners."""
    owner = {**clusters.cluster_of(topology.functions), **clusters.tenant()}
    seen: dict[object, str] = {}
    for address, function in topology.functions.items():
        if not function.is_port:
            above = function.parent
            alone = above is not None and topology.port_type(above) in DOWNSTREAM_PORTS
            # Below such a port stands one device, whatever device numbers ARI makes of its functions.
            device = above if alone else (function.host_bridge, (function.physical_function or address).slot)
            if seen.setdefault(device, owner[address]) != owner[address]:
                return True
    return False


def _process(reach: Reach, address: Address) -> str | None:
    """Return the process whose I/O address space a function is in, None for a function that no process holds."""
    domain = reach.settings.domain.get(address)
    return domain.space if domain is not None and domain.space.startswith(PROCESS) else None


def _identity(reach: Reach, address: Address) -> bool:
    domain = reach.settings.domain.get(address)
    return domain is not None and domain.kind in (DomainKind.IDENTITY, DomainKind.NONE)


def _leads_off_host(reach: Reach, address: Address) -> bool:
    """Whether a link that is not cut leads to a chip that the host does not show, to another host, or nobody knows.

    A virtual function's links are those of its physical one. Links that no source told may lead anywhere.
    """
    topology = reach.topology
    if address not in topology.host.links_told and possible_kinds(topology.functions[address]):
        return True
    physical = topology.functions[address].physical_function
    return any(
        leads_on(link, end) and far_end(link, end).function is None and is_open(reach.settings, link) is not False
        for end in (address, *((physical,) if physical is not None else ()))
        for link in topology.links.get(end, ())
    )


def _may_have_ats_again(reach: Reach, address: Address) -> bool:
    """Whether a function's ATS is off, and would be on again after a reset (``pci_restore_ats_state``)."""
    topology, settings = reach.topology, reach.settings
    if settings.ats.get(address) is not False or without_ats(topology.host):
        return False
    return translation_blocked(topology, settings, topology.up(address)) is not True


def _by_host_driver(reach: Reach, address: Address) -> bool:
    """Whether a driver of the host, not one that gives the device to user space, maps memory for a function."""
    domain = reach.settings.domain.get(address)
    if domain is None or domain.kind is not DomainKind.TRANSLATED or not domain.space.startswith(DEFAULT):
        return False
    function = reach.topology.functions[address]
    if isinstance(function.driver, Unknown):
        return True
    return function.driver.value is not None and not may_be_vfio(reach.topology.host, function)
