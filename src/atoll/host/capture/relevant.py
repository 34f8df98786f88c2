"""What of a host's files a capture holds: all that atoll's readers read, and what lspci and hwloc want beside it.

Everything is named here, in ``device_tree`` and in ``essential``; what is not named is not taken. Sources of the
names: Linux ``Documentation/ABI/testing/sysfs-bus-pci`` and ``sysfs-kernel-iommu_groups``; pciutils ``lib/sysfs.c``;
hwloc ``hwloc/topology-linux.c``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atoll.host.attribute import target
from atoll.host.capture.collector import Collector, Missing, Progress
from atoll.host.capture.device_tree import take_device_tree
from atoll.host.capture.essential import take_essential
from atoll.host.holders import open_files
from atoll.host.ivrs import IVRS
from atoll.host.place import address_of, find_places

__all__ = ["SECTIONS", "Section"]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of what is taken."""

    name: str
    take: Callable[[Collector, Progress], None]


_FUNCTION_FILES_NAMES = """
    acpi_index ari_enabled boot_vga broken_parity_status class config consistent_dma_mask_bits
    current_link_speed current_link_width d3cold_allowed device dma_mask_bits driver_override enable irq label
    local_cpulist local_cpus max_link_speed max_link_width modalias msi_bus numa_node power_state reset_method
    resource revision secondary_bus_number subordinate_bus_number subsystem_device subsystem_vendor uevent
    vendor sriov_drivers_autoprobe sriov_numvfs sriov_offset sriov_stride sriov_totalvfs sriov_vf_device
    sriov_vf_total_msix xgmi_device_id xgmi_num_hops xgmi_num_links xgmi_physical_id xgmi_port_num
"""
_FUNCTION_FILES = frozenset(_FUNCTION_FILES_NAMES.split())
_FUNCTION_LINKS = frozenset({"driver", "iommu", "iommu_group", "of_node", "physfn", "subsystem"})
_WHOLE = 256
"""Bytes of configuration space below which capabilities are hidden (``pci_read_config``)."""


def _functions(take: Collector, progress: Progress) -> None:
    take.folder("sys/bus/pci/devices")
    places = find_places(take.tree)
    for name in take.names("sys/bus/pci/devices"):
        address = address_of(name)
        path = f"sys/bus/pci/devices/{name}"
        if address is not None and address in places and places[address].folder != path:
            take.member(path)
    for count, (address, place) in enumerate(places.items()):
        progress(str(address), count, len(places))
        _function(take, place.folder)


def _function(take: Collector, folder: str) -> None:
    if take.folder(folder) is None and take.folder(folder, listed=False) is None:
        return
    # The files of a folder that cannot be listed may still be read by their names.
    for name in take.names(folder) or sorted(_FUNCTION_FILES | _FUNCTION_LINKS):
        path = f"{folder}/{name}"
        if name in _FUNCTION_FILES:
            data = take.file(path)
            if name == "config" and data is not None and len(data) < _WHOLE:
                take.missing.append(Missing(path, f"cut to {len(data)} bytes: capabilities are shown to root only"))
        elif name in _FUNCTION_LINKS or (name.startswith("virtfn") and name[6:].isdigit()):
            if take.link(path) is None:
                # AMD's IOMMU functions have a folder called iommu.
                take.folder(path)
        elif name in _FUNCTION_FOLDERS:
            _FUNCTION_FOLDERS[name](take, path)


def _power(take: Collector, path: str) -> None:
    take.file(f"{path}/control")


def _vfio_devices(take: Collector, path: str) -> None:
    for device in take.names(path):
        take.file(f"{path}/{device}/dev")


def _p2pmem(take: Collector, path: str) -> None:
    for attribute in ("available", "published", "size"):
        take.file(f"{path}/{attribute}")


def _hive(take: Collector, path: str) -> None:
    take.file(f"{path}/xgmi_hive_id")
    for node in take.names(path):
        if node.startswith("node"):
            take.link(f"{path}/{node}")


_FUNCTION_FOLDERS = {"power": _power, "vfio-dev": _vfio_devices, "p2pmem": _p2pmem, "xgmi_hive_info": _hive}


def _drivers(take: Collector, progress: Progress) -> None:
    for driver in take.names("sys/bus/pci/drivers"):
        here = f"sys/bus/pci/drivers/{driver}"
        take.folder(here)
        take.link(f"{here}/module")
        for name in take.names(here):
            if address_of(name) is not None:
                take.link(f"{here}/{name}")
    take.folder("sys/bus/pci/drivers")
    for slot in take.names("sys/bus/pci/slots"):
        take.file(f"sys/bus/pci/slots/{slot}/address")
    take.folder("sys/module")
    for module in take.names("sys/module"):
        if module.startswith("vfio") or module in ("iommufd", "arm_smmu", "arm_smmu_v3"):
            take.folder(f"sys/module/{module}")
            for name in take.names(f"sys/module/{module}/parameters"):
                take.file(f"sys/module/{module}/parameters/{name}")
        elif module in ("nvidia", "amdgpu", "nouveau"):
            take.file(f"sys/module/{module}/version")


def _groups(take: Collector, progress: Progress) -> None:
    take.file("sys/kernel/uevent_seqnum")
    take.folder("sys/kernel/iommu_groups")
    for number in take.names("sys/kernel/iommu_groups"):
        here = f"sys/kernel/iommu_groups/{number}"
        take.folder(f"{here}/devices")
        for name in ("name", "reserved_regions", "type"):
            take.file(f"{here}/{name}")
        for name in take.names(f"{here}/devices"):
            take.member(f"{here}/devices/{name}")
    take.file(IVRS)
    take.folder("sys/class/iommu")
    for unit in take.names("sys/class/iommu"):
        here = f"sys/class/iommu/{unit}"
        for name in take.names(here):
            if name.endswith("-iommu"):
                for attribute in take.names(f"{here}/{name}"):
                    take.file(f"{here}/{name}/{attribute}")
        take.folder(f"{here}/devices")
        for name in take.names(f"{here}/devices"):
            take.member(f"{here}/devices/{name}")


_KERNEL_FILES = (
    "proc/cmdline",
    "proc/cpuinfo",
    "proc/version",
    "proc/sys/kernel/osrelease",
    "proc/xen/capabilities",
    "sys/hypervisor/type",
    "sys/kernel/security/lockdown",
)


def _kernel(take: Collector, progress: Progress) -> None:
    for path in _KERNEL_FILES:
        take.file(path)
    if take.file("proc/interrupts") is None:
        for number in take.names("sys/kernel/irq"):
            take.file(f"sys/kernel/irq/{number}/chip_name")
    for folder in ("cpu", "node"):
        here = f"sys/devices/system/{folder}"
        for name in ("online", "possible", "present", "has_cpu", "has_memory"):
            take.file(f"{here}/{name}")
        for name in take.names(here):
            if name.startswith(folder) and name[len(folder) :].isdigit():
                for attribute in _LOCALITY:
                    take.file(f"{here}/{name}/{attribute}")


_LOCALITY = (
    *("cpumap", "distance", "meminfo", "online"),
    *(f"topology/{name}" for name in ("core_id", "die_id", "cluster_id", "physical_package_id")),
    *(f"topology/{name}" for name in ("core_cpus", "core_siblings", "die_cpus", "package_cpus", "thread_siblings")),
)
"""Of NUMA nodes and of processors: what hwloc wants to know to place functions beside them."""


def _holders(take: Collector, progress: Progress) -> None:
    """Processes that have VFIO devices open, process 1, and those whose open files are hidden."""
    for device in take.names("sys/class/vfio-dev"):
        take.link(f"sys/class/vfio-dev/{device}")
    if target(take.tree, "proc/1/ns/pid") is not None:
        take.link("proc/1/ns/pid")
    listed = [name for name in take.names("proc") if name.isascii() and name.isdigit()]
    for count, pid in enumerate(listed):
        progress("processes", count, len(listed))
        here = f"proc/{pid}"
        links = open_files(take.tree, int(pid))
        if links is None:
            # An empty folder says that its open files could not be seen.
            take.folder(here)
            take.missing.append(Missing(f"{here}/fd", "no permission to see its open files: run as root"))
            continue
        held = [name for name, link in links.items() if link.startswith(_VFIO)]
        if held or pid == "1":
            take.folder(f"{here}/fd")
            take.file(f"{here}/comm")
            for name in held:
                take.link(f"{here}/fd/{name}")


_VFIO = ("/dev/vfio/", "/dev/iommu", "anon_inode:[vfio-device]")


def _links(take: Collector, progress: Progress) -> None:
    """What drivers and their programs tell of links: it is gone once the driver is unbound."""
    for gpu in take.names("proc/driver/nvidia/gpus"):
        take.file(f"proc/driver/nvidia/gpus/{gpu}/information")
    take.file("proc/driver/nvidia/version")
    for folder in ("sys/class/kfd/kfd/topology/nodes", "sys/devices/virtual/kfd/kfd/topology/nodes"):
        for node in take.names(folder):
            for name in ("gpu_id", "name", "properties"):
                take.file(f"{folder}/{node}/{name}")
            for kind in ("io_links", "p2p_links"):
                for number in take.names(f"{folder}/{node}/{kind}"):
                    take.file(f"{folder}/{node}/{kind}/{number}/properties")
    records = take.names("records")
    for count, name in enumerate(records):
        progress(f"records/{name}", count, len(records))
        take.copy(f"records/{name}", size_at_most=_RECORD)


_RECORD = 16 << 20

SECTIONS = (
    Section("links", _links),
    Section("PCI functions", _functions),
    Section("drivers", _drivers),
    Section("IOMMU groups", _groups),
    Section("kernel", _kernel),
    Section("device tree", take_device_tree),
    Section("what the host needs", take_essential),
    Section("VFIO holders", _holders),
)
"""In the order in which they are taken: what can vanish first."""
