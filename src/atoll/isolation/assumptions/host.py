"""The host: what is taken of its kernel and drivers, its firmware, and who else holds devices."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.fabric.default_domain import DEFAULT, shows_amd_iommu
from atoll.fabric.domains import PROCESS, may_be_vfio
from atoll.fabric.settings import DomainKind
from atoll.host.fact import Unknown, value_of
from atoll.host.model import Function
from atoll.isolation.assumptions.assumption import Assumption
from atoll.isolation.clusters import Clusters
from atoll.isolation.firmware import excluded_for, mapped_for_firmware
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import RED_HAT, VMWARE

__all__ = [
    "firmware_aliases",
    "firmware_mappings",
    "journal_of_host",
    "kernel_mappings",
    "separate_containers",
    "trusted_host",
    "virtual_machine",
]

_MAPPINGS = (
    "drivers of the host map for a cluster's devices what these may see: mappings are of whole pages, so what shares a"
    " page with a buffer is seen too; whom else they let use a part of a device (a mediated device, a sub-function, a"
    " queue, a process by its PASID), nothing here shows"
)
_LAZILY = "; with deferred flushing (DMA-FQ) a page stays within reach for some 10 ms after it was unmapped"
"""``IOVA_DEFAULT_FQ_TIMEOUT`` in drivers/iommu/dma-iommu.c."""


def trusted_host(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """The host is trusted, with what of it no cluster names."""
    owner = clusters.tenant()
    identity = [a for a in reach.topology.endpoints if a not in owner and _identity(reach, a)]
    if identity:
        text = f"{len(identity)} host device(s) have untranslated access to all memory: the host is trusted"
        yield Assumption("identity-host-devices", text)
    functions = reach.topology.functions
    unread = [a for a in reach.topology.endpoints if a not in owner and isinstance(functions[a].driver, Unknown)]
    if unread:
        text = (
            f"{len(unread)} function(s) that no cluster names are the host's: which driver they have was not read, so "
            "that one of VFIO's may have given them to somebody else"
        )
        yield Assumption("unread-drivers", text)


def _identity(reach: Reach, address: Address) -> bool:
    domain = reach.settings.domain.get(address)
    return domain is not None and domain.kind in (DomainKind.IDENTITY, DomainKind.NONE)


def journal_of_host(_reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """What the journal of the host would tell, where a record does not show it."""
    if clusters.unshown:
        yield Assumption("journal-of-host", clusters.unshown)


def separate_containers(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where several processes hold devices of clusters."""
    if len({_process(reach, address) for address in clusters.tenant()} - {None}) > 1:
        yield Assumption(
            "separate-containers",
            "processes that hold devices share no I/O address space by passing descriptors (nothing shows it)",
        )


def _process(reach: Reach, address: Address) -> str | None:
    """Return the process whose I/O address space a function is in, None for a function that no process holds."""
    domain = reach.settings.domain.get(address)
    return domain.space if domain is not None and domain.space.startswith(PROCESS) else None


def kernel_mappings(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where drivers of the host have clusters' devices."""
    driven = [address for address in clusters.tenant() if _by_host_driver(reach, address)]
    if driven:
        lazily = any("DMA-FQ" in reach.settings.domain[address].because for address in driven)
        yield Assumption("kernel-mappings", _MAPPINGS + (_LAZILY if lazily else ""))


def _by_host_driver(reach: Reach, address: Address) -> bool:
    """Whether a driver of the host, not one that gives the device to user space, maps memory for a function."""
    domain = reach.settings.domain.get(address)
    if domain is None or domain.kind is not DomainKind.TRANSLATED or not domain.space.startswith(DEFAULT):
        return False
    function = reach.topology.functions[address]
    if isinstance(function.driver, Unknown):
        return True
    return function.driver.value is not None and not may_be_vfio(reach.topology.host, function)


def firmware_mappings(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where firmware has memory mapped for functions of clusters, or that was not read."""
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
        yield Assumption("firmware-mappings", "; ".join([*([text] if mapped else []), *([untold] if unread else [])]))


def firmware_aliases(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where AMD's IOMMU has a table that was not read."""
    host = reach.topology.host
    if isinstance(host.firmware_aliases, Unknown) and clusters.tenant() and shows_amd_iommu(host):
        yield Assumption(
            "firmware-aliases",
            "the firmware's table for AMD's IOMMU (IVRS) gives no function an id that others use too: it was not read"
            f" ({host.firmware_aliases.reason})",
        )


def virtual_machine(reach: Reach, _clusters: Clusters) -> Iterator[Assumption]:
    """Where the host is a virtual machine, or looks like one."""
    if reach.topology.host.virtual or any(map(_emulated, reach.topology.functions.values())):
        yield Assumption(
            "virtual-machine",
            "this is a virtual machine: what it shows is taken for what carries the traffic, which is not so of devices"
            " that its hypervisor passes through",
        )


def _emulated(function: Function) -> bool:
    """Whether it is a port or a host bridge that QEMU or VMware shows to guests, on any platform and in any record."""
    return function.made_by(RED_HAT, VMWARE) and (function.is_port or function.device_class == DeviceClass.HOST_BRIDGE)
