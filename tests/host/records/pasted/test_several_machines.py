"""Texts of two machines: refused where it is sure, for what is read of them is true of neither."""

from __future__ import annotations

import pytest

from atoll.errors import SeveralMachines
from atoll.host.model import Host
from atoll.host.records.content import read_record
from atoll.pci.address import Address

INTEL_HOST = "00:00.0 Host bridge [0600]: Intel Corporation Host Bridge/DRAM Registers [8086:3ec2] (rev 07)\n"
AMD_HOST = "00:00.0 Host bridge [0600]: Advanced Micro Devices, Inc. [AMD] Root Complex [1022:14d8]\n"
INTEL_PORT = "00:01.0 PCI bridge [0604]: Intel Corporation PCIe Controller (x16) [8086:1901] (rev 05)\n"
AMD_PORT = "00:02.1 PCI bridge [0604]: Advanced Micro Devices, Inc. [AMD] GPP Bridge [1022:14db]\n"
INTEL_LPC = "00:1f.0 ISA bridge [0601]: Intel Corporation LPC Controller [8086:a305] (rev 10)\n"
GPU = "01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GP104 [10de:1b81] (rev a1)\n"
OTHER = "03:00.0 VGA compatible controller [0300]: NVIDIA Corporation GP104 [10de:1b81] (rev a1)\n"
NAMED = GPU.replace(" [0300]", "").replace(" [10de:1b81]", "").replace(" (rev a1)", "")
LOGGED = "[ 0.4] pci 0000:01:00.0: Adding to iommu group 1\n"


def read(text: str) -> Host:
    host = read_record(text.encode(), name="post.txt").host
    assert host is not None
    return host


def uname(name: str, release: str = "6.8.4-2-pve") -> str:
    return f"Linux {name} {release} #1 SMP PREEMPT_DYNAMIC x86_64 GNU/Linux\n"


@pytest.mark.parametrize(
    "text",
    [
        "old board:\n" + INTEL_HOST + INTEL_PORT + GPU + "\nnew board:\n" + AMD_HOST + AMD_PORT + OTHER,
        INTEL_HOST + "\n" + INTEL_HOST.replace("3ec2", "4c43"),
        "00:00.0 Host bridge: Intel Corporation Host Bridge\n\n00:00.0 Host bridge: VIA Technologies, Inc. VT8237\n",
        INTEL_HOST + "\n" + AMD_HOST + "\tFlags: fast devsel\n\tCapabilities: [40] Express Root Port, MSI 00\n",
        "IOMMU Group 0:\n\t" + INTEL_HOST + "\nthe new one:\n\nIOMMU Group 0:\n\t" + AMD_PORT,
        AMD_PORT + GPU + "\n" + INTEL_LPC + OTHER,
        uname("pve1") + GPU + uname("pve2", "6.8.12") + OTHER,
        "ana@old:~$ lspci -nn\n" + GPU + "ana@new:~$ lspci -nn\n" + OTHER,
        GPU + uname("old") + "\n" + OTHER + uname("new"),
        "ana@old:~$ ./groups\nIOMMU Group 1 " + GPU + "ana@new:~$ ./groups\nIOMMU Group 2 " + OTHER,
        "[ 0.0] DMI: ASUS X370-PRO, BIOS 3402 12/11/2017\n"
        + LOGGED
        + "[ 0.0] DMI: ASUS X570-PRO, BIOS 3402 12/11/2019\n"
        + LOGGED.replace("01:00", "03:00"),
    ],
)
def test_what_is_surely_of_two_machines_is_refused(text: str) -> None:
    with pytest.raises(SeveralMachines, match="it is of two machines: it") as refused:
        read(text)
    assert "a file of its own" in refused.value.hint


@pytest.mark.parametrize(
    "around", ["GPU0 GPU1\nGPU0  X  NV4\nGPU1  NV4  X\n", "<topology version='2.0'>\n</topology>\n"]
)
def test_what_stands_beside_does_not_hide_it(around: str) -> None:
    with pytest.raises(SeveralMachines):
        read(around + "\n" + INTEL_HOST + "\n" + AMD_HOST)


@pytest.mark.parametrize(
    "text",
    [
        INTEL_HOST + INTEL_PORT + GPU + "\nagain:\n" + INTEL_HOST,
        uname("pve", "6.5.0") + GPU + uname("pve", "6.8.0") + OTHER,
        uname("pve") + GPU + OTHER + "in the guest:\n" + uname("vm"),
        uname("pve.example.org") + GPU + uname("PVE") + OTHER,
        "root@pve:~# lspci -nn\n" + GPU + "root@3f0c9a1b2d4e:/# lspci -nn\n" + OTHER,
        "ubuntu@ubuntu:~$ lspci -nn\n" + GPU + "ana@desk:~$ lspci -nn\n" + GPU + OTHER,
        "root@pve:~# lspci\n" + NAMED + OTHER + "root@trainer:/# lspci -nn\n" + GPU,
        "root@iso ~ # dmesg\n" + LOGGED + "ana@desk:~$ dmesg\n" + LOGGED.replace("0.4", "0.5"),
        OTHER + uname("pve") + NAMED + "IOMMU Group 3 " + OTHER + "in the guest:\n" + uname("vm"),
        OTHER + "root@pve:~# lspci -nn\n" + GPU + "root@vm:~# dmesg\n",
        OTHER + "[ 0.0] DMI: ASUS X370-PRO, BIOS 5 1/1/2018\n" + LOGGED + "[ 0.0] DMI: QEMU Standard PC, BIOS 0\n",
        "john@example.org wrote:\n" + GPU + "ana@example.com wrote:\n" + OTHER,
        "[ 0.0] DMI: ASUS X370-PRO, BIOS 3402 12/11/2017\n"
        + LOGGED
        + "[ 0.0] DMI: ASUS X370-PRO, BIOS 5 1/1/2018\n"
        + LOGGED,
        AMD_HOST + AMD_PORT + "00:04.0 PCI bridge [0604]: Intel Corporation 21152 PCI-to-PCI Bridge [8086:b152]\n",
        AMD_HOST.replace("14d8", "7432") + INTEL_LPC.replace("a305", "7000"),
        AMD_HOST + "04:00.0 PCI bridge [0604]: Intel Corporation Device [8086:4fa1]\n",
    ],
)
def test_what_may_be_of_one_machine_is_read(text: str) -> None:
    host = read(text)
    assert host.functions or host.groups


def test_another_device_at_one_address_is_no_other_machine_and_is_not_known() -> None:
    """A card may have been exchanged: a short listing and a long one disagree as two short ones do."""
    long = GPU.replace("1b81", "1b80") + "\tFlags: bus master\n\tCapabilities: [78] Express Legacy Endpoint, MSI 00\n"
    for text in (GPU + "\n" + long, long + "\n" + GPU):
        host = read(INTEL_HOST + INTEL_PORT + text)
        gpu = host.functions[Address.parse("01:00.0")]
        assert not gpu.ids_told
