"""Whether interrupts are remapped, as files tell it."""

from __future__ import annotations

import pytest

from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.host.trees.memory import FolderEntry
from host.handmade import GPU, Files, function_files, host_with, tree_of

X86: Files = {"proc/cpuinfo": "vendor_id : x\nflags : y\n", "sys/class/iommu/dmar0/intel-iommu/cap": "1"}


@pytest.mark.parametrize(
    ("files", "remapped"),
    [
        ({"proc/interrupts": " 24: 0 IR-PCI-MSI-0000:00:1f.2 0-edge ahci\n"}, True),
        ({"sys/kernel/irq/24/chip_name": "IR-IO-APIC\n"}, True),
        ({"proc/interrupts": "0: 1 IR-IO-APIC 2-edge timer\n24: 0 PCI-MSI-0000:01:00.0 0-edge x\n"}, None),
        ({"proc/interrupts": "0: 1 IR-PCI-MSI 2-edge x\n25: 0 PCI-MSI 4096-edge AMD-Vi\n"}, True),
        ({"proc/interrupts": " 1: 9 IO-APIC 1-edge i8042\n"}, False),
        ({"proc/cmdline": "quiet intremap=off"}, False),
        ({"proc/cmdline": "nointremap"}, False),
        ({"proc/cmdline": "intremap=off", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, None),
        ({"proc/cmdline": "intremap=no_x2apic_optout,off"}, False),
        ({"proc/cmdline": "intremap=nosid", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, False),
        ({"proc/cmdline": '"intremap=nosid"', "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, False),
        ({"proc/cmdline": 'intremap="nosid,on"', "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, False),
        ({"proc/cmdline": "intremap=off intremap=on", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, True),
        ({"proc/cmdline": "intremap=on,off", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, None),
        ({"proc/cmdline": "intremap=on", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, True),
        ({"proc/interrupts": "NMI: 0 Non-maskable\n"}, None),
        ({}, None),
    ],
)
def test_interrupt_remapping(files: Files, remapped: bool | None) -> None:
    assert value_of(host_with({**X86, **files}).interrupt_remapping, None) is remapped


@pytest.mark.parametrize(
    ("chips", "compatible", "remapped"),
    [
        ("ITS-PCI-MSI-0000:01:00.0 ITS-pMSI GICv3", "", True),
        ("ITS-PCI-MSIX-0000:01:00.0", "nvidia,thing", True),
        ("ITS-MSI GICv3", "", True),
        ("ITS-MSI GICv3", "socionext,developer-box", None),
        ("ITS-pMSI GICv3", "", None),
        ("ITS-MSI GICv2m-PCI-MSI-0001:01:00.0", "", None),
        ("ITS-MSI MSI", "", None),
        ("GICv2m-PCI-MSIX-0000:00:01.0 GIC-0", "", False),
        ("MSI GIC-0", "", None),
        ("MBI-PCI-MSI-0000:01:00.0", "", None),
        ("GICv3", "", None),
    ],
)
def test_interrupts_on_arm(chips: str, compatible: str, remapped: bool | None) -> None:
    lines = "".join(f" {n}: 0 0 {chip} {n} Edge x\n" for n, chip in enumerate(chips.split(), 24))
    files: Files = {"sys/class/iommu/smmu3.0x9050000/x": "", "proc/device-tree/compatible": f"{compatible}\0"}
    assert value_of(host_with({**files, "proc/interrupts": lines}).interrupt_remapping, None) is remapped
    assert value_of(host_with(files).interrupt_remapping, None) is None


def test_without_iommu_in_use_interrupts_may_be_remapped() -> None:
    tree = tree_of({**function_files(GPU), "proc/cpuinfo": X86["proc/cpuinfo"], "sys/kernel/uevent_seqnum": "1"})
    tree.add("sys/class/iommu", FolderEntry())
    assert value_of(read_host(tree).interrupt_remapping, None) is None, "which interrupt chips are in use tells"
