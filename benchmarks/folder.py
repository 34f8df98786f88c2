"""A generated machine as a folder: the files and links of sysfs and proc that atoll and its peers read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hosts import Node

__all__ = ["write_folder"]

_PROC = {
    "proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz root=/dev/nfs intel_iommu=on\n",
    "proc/version": "Linux version 6.12.0 (gcc 12.2.0) #1 SMP x86_64\n",
    "proc/sys/kernel/osrelease": "6.12.0\n",
    "proc/interrupts": "           CPU0\n 24:          0  IR-PCI-MSI-0000:00:01.0    0-edge      PCIe PME\n",
    "proc/mounts": "host:/root / nfs rw 0 0\n",
    "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n",
    "proc/net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n",
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu\n\n",
    "proc/meminfo": "MemTotal:       16384000 kB\n",
    "sys/devices/system/cpu/online": "0\n",
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
    "sys/devices/system/cpu/cpu0/topology/core_id": "0\n",
    "sys/devices/system/cpu/cpu0/topology/thread_siblings": "1\n",
    "sys/devices/system/cpu/cpu0/topology/core_siblings": "1\n",
}
_UNIT = {"address": "fed90000", "cap": "d2008c40660462", "ecap": "f050da", "version": "1:0"}
_SAME = {
    "broken_parity_status": "0",
    "consistent_dma_mask_bits": "64",
    "current_link_speed": "16.0 GT/s PCIe",
    "current_link_width": "16",
    "d3cold_allowed": "1",
    "dma_mask_bits": "64",
    "driver_override": "(null)",
    "enable": "1",
    "irq": "24",
    "local_cpulist": "0",
    "local_cpus": "1",
    "max_link_speed": "16.0 GT/s PCIe",
    "max_link_width": "16",
    "msi_bus": "1",
    "numa_node": "0",
    "power_state": "D0",
    "reset_method": "flr bus",
}


def write_folder(root: Path, nodes: Sequence[Node]) -> None:
    """Write the tree of a machine below ``root``, which is made."""
    for path, text in _PROC.items():
        _file(root / path, text)
    _unit(root)
    bus = root / "sys/bus/pci/devices"
    bus.mkdir(parents=True)
    for driver in {node.kind.driver for node in nodes if node.kind.driver}:
        (root / "sys/bus/pci/drivers" / driver).mkdir(parents=True)
    for node in nodes:
        (root / node.folder).mkdir(parents=True)
        _function(root, node)
        (bus / node.address).symlink_to(f"../../../{node.folder.removeprefix('sys/')}")
    _groups(root, nodes)


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _unit(root: Path) -> None:
    real = root / "sys/devices/virtual/iommu/dmar0"
    for name, value in _UNIT.items():
        _file(real / "intel-iommu" / name, f"{value}\n")
    units = root / "sys/class/iommu"
    units.mkdir(parents=True)
    (units / "dmar0").symlink_to("../../devices/virtual/iommu/dmar0")


def _function(root: Path, node: Node) -> None:
    vendor, device = node.kind.ids
    base = os.fspath(root / node.folder)
    files = {
        **_SAME,
        "ari_enabled": "1" if node.virtual or node.physical else "0",
        "class": f"0x{node.kind.class_code:06x}",
        "device": f"0x{device:04x}",
        "modalias": f"pci:v{vendor:08X}d{device:08X}sv{vendor:08X}sd00000001bc{node.kind.class_code >> 16:02X}",
        "resource": _resource(node),
        "revision": "0x01",
        "subsystem_device": "0x0000" if node.is_bridge else "0x0001",
        "subsystem_vendor": "0x0000" if node.is_bridge else f"0x{vendor:04x}",
        "uevent": _uevent(node),
        "vendor": f"0x{vendor:04x}",
    }
    if node.is_bridge:
        files |= {"secondary_bus_number": str(node.secondary), "subordinate_bus_number": str(node.subordinate)}
    if node.virtual:
        files |= {"sriov_totalvfs": str(len(node.virtual)), "sriov_numvfs": str(len(node.virtual))}
    for name, text in files.items():
        _write(f"{base}/{name}", f"{text}\n".encode())
    _write(f"{base}/config", node.image())
    for name, target in _links(node).items():
        os.symlink(target, f"{base}/{name}")


def _uevent(node: Node) -> str:
    """As ``pci_uevent`` and the driver core write it (Linux drivers/pci/pci-driver.c)."""
    vendor, device = node.kind.ids
    subsystem = "0000:0000" if node.is_bridge else f"{vendor:04X}:0001"
    driver = f"DRIVER={node.kind.driver}\n" if node.kind.driver else ""
    return (
        f"{driver}PCI_CLASS={node.kind.class_code:X}\nPCI_ID={vendor:04X}:{device:04X}\n"
        f"PCI_SUBSYS_ID={subsystem}\nPCI_SLOT_NAME={node.address}"
    )


def _write(path: str, data: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(data)


def _resource(node: Node) -> str:
    lines = [(0, 0, 0)] * (17 if node.is_bridge else 13)
    if node.is_bridge:
        lines[14], lines[15] = (*node.narrow, 0x200), (*node.wide, 0x102201)
    elif node.parent is not None:
        lines[0], lines[2] = (*node.wide, 0x14220C), (*node.narrow, 0x40200)
    return "\n".join(f"0x{start:016x} 0x{end:016x} 0x{flags:016x}" for start, end, flags in lines)


def _links(node: Node) -> Mapping[str, str]:
    depth = node.folder.count("/")
    up = "../" * depth
    links = {
        "subsystem": f"{up}bus/pci",
        "iommu": f"{up}devices/virtual/iommu/dmar0",
        "iommu_group": f"{up}kernel/iommu_groups/{node.group}",
    }
    if node.kind.driver:
        links["driver"] = f"{up}bus/pci/drivers/{node.kind.driver}"
    if node.physical is not None:
        links["physfn"] = f"../{node.physical.address}"
    for index, virtual in enumerate(node.virtual):
        links[f"virtfn{index}"] = f"../{virtual.address}"
    return links


def _groups(root: Path, nodes: Sequence[Node]) -> None:
    members: dict[int, list[Node]] = {}
    for node in nodes:
        members.setdefault(node.group, []).append(node)
    for number, group in members.items():
        folder = root / f"sys/kernel/iommu_groups/{number}"
        (folder / "devices").mkdir(parents=True)
        (folder / "type").write_text("DMA-FQ\n")
        (folder / "reserved_regions").write_text("0x00000000fee00000 0x00000000feefffff msi\n")
        for node in group:
            (folder / "devices" / node.address).symlink_to(f"../../../../{node.folder.removeprefix('sys/')}")
