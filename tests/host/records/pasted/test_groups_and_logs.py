"""Lists of groups and boot logs, in every form that people paste."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.gap import GapKind
from atoll.host.groups import BEHIND_XEN
from atoll.host.model import Platform
from atoll.host.records.merge.hosts import merge
from atoll.pci.header import PortType
from host.records.paste import PORT, at, groups_of, host_of


@pytest.mark.parametrize(
    "text",
    [
        "IOMMU Group 1:\n\t00:01.0 PCI bridge [0604]: X [8086:1901] (rev 05)\n\t01:00.0 VGA [0300]: X [10de:1b80]\n"
        "IOMMU Group 2:\n\t00:02.0 Display controller [0380]: Y [8086:5912]\n",
        "IOMMU Group 1:\n00:01.0 PCI bridge [0604]: X [8086:1901]\n01:00.0 VGA [0300]: X\n\n"
        "IOMMU Group 2:\n00:02.0 Z [0380]: Y\n",
        "IOMMU Group 1 00:01.0 PCI bridge [0604]: X [8086:1901]\nIOMMU Group 1 01:00.0 VGA [0300]: X\n"
        "IOMMU Group 2 00:02.0 Display controller [0380]: Y\n",
        "IOMMU Group 1: 00:01.0 PCI bridge: X\nIOMMU Group 1: 01:00.0 VGA: X\nIOMMU Group 2: 00:02.0 Display: Y\n",
        "Group 1:\t[8086:1901] [R] 00:01.0  PCI bridge   X\n\t\t[10de:1b80] [R] 01:00.0  VGA\n"
        "Group 1: [10de:1b80]     01:00.0  VGA\nGroup 2:\t[8086:5912]     00:02.0  Display\n",
        "/sys/kernel/iommu_groups/1/devices/0000:00:01.0\n/sys/kernel/iommu_groups/1/devices/0000:01:00.0\n"
        "/sys/kernel/iommu_groups/2/devices/0000:00:02.0\n",
        "lrwxrwxrwx 1 root root 0 /sys/kernel/iommu_groups/1/devices/0000:00:01.0 -> ../../devices/x\n"
        "lrwxrwxrwx 1 root root 0 /sys/kernel/iommu_groups/1/devices/0000:01:00.0 -> ../../devices/x\n"
        "lrwxrwxrwx 1 root root 0 /sys/kernel/iommu_groups/2/devices/0000:00:02.0 -> ../../devices/x\n",
        "/sys/kernel/iommu_groups/1/devices:\n0000:00:01.0\n0000:01:00.0\n\n"
        "/sys/kernel/iommu_groups/2/devices:\n0000:00:02.0\n",
        "/sys/bus/pci/devices/0000:00:01.0/iommu_group -> ../../../kernel/iommu_groups/1\n"
        "/sys/bus/pci/devices/0000:01:00.0/iommu_group -> ../../../kernel/iommu_groups/1\n"
        "/sys/bus/pci/devices/0000:00:02.0/iommu_group -> ../../../kernel/iommu_groups/2\n",
        "1 0000:00:01.0\n1 0000:01:00.0\n2 0000:00:02.0\n",
        "> 1 0000:00:01.0\n> 1 0000:01:00.0\n> 2 0000:00:02.0\n",
        "[    0.5] pci 0000:00:01.0: Adding to iommu group 1\n[    0.5] pci 0000:01:00.0: Adding to iommu group 1\n"
        "[    0.5] pci 0000:00:02.0: Adding to iommu group 2\n",
        "Jun 1 x kernel: [ 0.369431] pci 0000:00:01.0: Adding to iommu group 1 [ 0.369488] pci 0000:01:00.0: Adding to "
        "iommu group 1 [ 0.369500] pci 0000:00:02.0: Adding to iommu group 2\n",
        "pci 0000:00:01.0: Adding to iommu group 1 pci 0000:01:00.0: Adding to iommu group 1 pci 0000:00:02.0: "
        "Adding to iommu group 2\n",
        "[ 0.5] iommu: Adding device 0000:00:01.0 to group 1 [ 0.5] iommu: Adding device 0000:01:00.0 to group 1 "
        "[    0.5] iommu: Adding device 0000:00:02.0 to group 2\n",
        "[    0.5] iommu: Adding device 0000:00:01.0 to group 1\n"
        "[    0.5] iommu: Adding device 0000:01:00.0 to group 1\n"
        "[    0.5] iommu: Adding device 0000:00:02.0 to group 2\n",
    ],
)
def test_every_form_tells_the_same(text: str) -> None:
    assert groups_of(host_of(text)) == {1: ["00:01.0", "01:00.0"], 2: ["00:02.0"]}


def test_a_loop_also_tells_ids() -> None:
    host = host_of("IOMMU Group 1:\n\t00:01.0 PCI bridge [0604]: Intel Corporation X [8086:1901] (rev 05)\n")
    function = host.functions[at("00:01.0")]
    assert (function.vendor, function.device, function.class_code) == (0x8086, 0x1901, 0x060400)
    assert isinstance(function.acs, Unknown)


def test_lspci_after_an_indented_list_is_no_part_of_it() -> None:
    host = host_of(
        "IOMMU Group 7:\n\t00:01.0 PCI bridge [0604]: X [8086:1901]\n00:05.0 Host bridge [0600]: X [8086:1]\n"
    )
    assert groups_of(host) == {7: ["00:01.0"]}


def test_a_function_in_two_groups_is_in_none() -> None:
    host = host_of("1 0000:00:01.0\n2 0000:00:01.0\n3 0000:00:02.0\n")
    assert groups_of(host) == {3: ["00:02.0"]}
    assert any("group 1 and in group 2" in gap.why for gap in host.gaps)


@pytest.mark.parametrize("line", ["DMAR: Host address width 46", "iommu group 46", "AMD-Vi: ivhd 46"])
def test_a_number_at_a_lines_end_is_no_root_bus(line: str) -> None:
    """Where it was, what stands above a function was taken for known: nothing."""
    gpu = "46:00.0 3D controller [0302]: NVIDIA Corporation GV100GL [10de:1db6] (rev a1)\n"
    host = host_of(f"[    0.012345] {line}\n[    0.012399] DMAR: IOMMU enabled\n{gpu}")
    assert not host.functions[at("46:00.0")].parent_told
    assert host.platform is Platform.X86
    host = host_of(f"[    0.4] pci_bus 0000:46: root bus resource [bus 46-63]\n{gpu}")
    assert host.functions[at("46:00.0")].parent_told


def test_a_boot_log() -> None:
    host = host_of(
        "[    0.000000] Linux version 6.1.0-20-amd64 (debian-kernel@lists.debian.org) #1 SMP\n"
        "[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on pcie_acs_override=downstream\n"
        "[    0.100000] DMAR: IOMMU enabled\n"
        "[    0.200000] DMAR-IR: Enabled IRQ remapping in x2apic mode\n"
        "[    0.300000] pci 0000:00:01.0: [8086:1901] type 01 class 0x060400\n"
        "[    0.400000] iommu: Default domain type: Translated\n"
        "[    0.500000] pci 0000:00:01.0: Adding to iommu group 1\n"
    )
    assert isinstance(host.kernel, Known)
    assert (host.kernel.value.major, host.kernel.value.minor, host.kernel.value.text) == (6, 1, "6.1.0-20-amd64")
    assert isinstance(host.command_line, Known)
    assert "pcie_acs_override=downstream" in host.command_line.value
    assert host.interrupt_remapping == Known(True, "paste: boot log")
    assert host.platform is Platform.X86
    assert host.functions[at("00:01.0")].device == 0x1901
    assert isinstance(host.groups, Known)
    assert "Translated" in getattr(host.groups.value[1].type, "reason", "")


def test_lspci_lists_and_logs_in_one_text() -> None:
    host = host_of(PORT + "\nIOMMU Group 1:\n\t00:01.0 PCI bridge [0604]: X [8086:1901]\n\n"
                   "[ 0.1] pci 0000:01:00.0: Adding to iommu group 2\n"
                   "[ 0.1] AMD-Vi: Interrupt remapping enabled\n")  # fmt: skip
    assert groups_of(host) == {1: ["00:01.0"], 2: ["01:00.0"]}
    assert isinstance(host.interrupt_remapping, Known)


_FOUND = """\
[    0.1] pci_bus 0000:16: root bus resource [bus 16-63]
[    0.2] pci 0000:00:14.0: [8086:51ed] type 00 class 0x0c0330 conventional PCI endpoint
[    0.2] pci 0000:00:1c.0: [8086:51bd] type 01 class 0x060400 PCIe Root Port
[    0.2] pci 0000:00:1c.0: PCI bridge to [bus 01-02]
[    0.2] pci 0000:01:00.0: [10b5:8112] type 01 class 0x060400 PCIe to PCI/PCI-X bridge
[    0.2] pci 0000:01:00.0: PCI bridge to [bus 00]
[    0.3] pci 0000:01:00.0: PCI bridge to [bus 02]
[    0.3] pci 0000:02:04.0: [1102:0004] type 00 class 0x040100
[    0.3] pci 0000:16:00.0: [8086:09a2] type 00 class 0x088000
[    0.3] pci 0000:17:00.0: [8086:1563] type 00 class 0x020000 PCIe unknown
"""


def test_a_boot_log_tells_types_and_what_stands_above() -> None:
    found = host_of(_FOUND).functions
    told = {str(a)[5:]: f.port_type.value for a, f in found.items() if isinstance(f.port_type, Known)}
    assert told == {
        "00:14.0": PortType.CONVENTIONAL,
        "00:1c.0": PortType.ROOT_PORT,
        "01:00.0": PortType.PCIE_TO_PCI,
    }
    above = {str(a)[5:]: str(f.parent)[5:] for a, f in found.items() if f.parent is not None}
    assert above == {"01:00.0": "00:1c.0", "02:04.0": "01:00.0"}
    assert not found[at("17:00.0")].parent_told
    assert found[at("16:00.0")].parent_told, "its bus hangs below no bridge"


def test_what_lspci_shows_counts_more_than_the_boot_log() -> None:
    found = host_of(PORT + _FOUND.replace("00:1c.0", "00:01.0").replace("PCIe Root Port", "PCIe Endpoint")).functions
    kind = found[at("00:01.0")].port_type
    assert isinstance(kind, Known)
    assert kind.value is PortType.ROOT_PORT


def test_what_an_earlier_boot_told_is_not_so_now() -> None:
    boot = "[    0.0] Linux version 6.1.0-20-amd64 (debian) #1 SMP\n"
    text = (
        "00:1c.0 PCI bridge [0604]: Intel Corporation Root Port 1 [8086:1d10]\n"
        "02:00.0 VGA compatible controller [0300]: NVIDIA Corporation X [10de:1b06]\n"
        f"{boot}[    0.2] pci 0000:00:1c.0: PCI bridge to [bus 02]\n"
        "[    0.3] pci 0000:00:1c.0: Intel PCH root port ACS workaround enabled\n"
    )
    before = host_of(text).functions
    assert isinstance(before[at("00:1c.0")].chipset_acs, Known)
    assert before[at("02:00.0")].parent == at("00:1c.0")
    again = host_of(text + boot).functions
    assert isinstance(again[at("00:1c.0")].chipset_acs, Unknown)
    assert again[at("02:00.0")].parent is None


def test_a_boot_log_tells_what_became_of_the_chipsets_root_ports() -> None:
    text = (
        "00:1c.0 PCI bridge [0604]: Intel Corporation Root Port 1 [8086:1d10]\n"
        "00:1c.7 PCI bridge [0604]: Intel Corporation Root Port 8 [8086:1d1e]\n"
        "[    0.3] pci 0000:00:1c.0: Intel PCH root port ACS workaround enabled\n"
        "[    0.3] pci 0000:00:1c.7: Failed to enable Intel PCH ACS quirk\n"
    )
    told = {str(a)[5:]: f.chipset_acs for a, f in host_of(text).functions.items()}
    assert {place: fact.value for place, fact in told.items() if isinstance(fact, Known)} == {
        "00:1c.0": True,
        "00:1c.7": False,
    }


def test_a_boot_log_tells_of_acs_that_lspci_misreads() -> None:
    heading = "00:1c.{} PCI bridge [0604]: Intel Corporation Root Port [8086:a29{}]\n"
    ports = "".join(heading.format(n, n) for n in range(4))
    said = "".join(f"pci 0000:00:1c.{n}: Intel SPT PCH root port ACS workaround enabled\n" for n in range(4))
    taken = "pci 0000:00:1c.1: disabled ACS redirect\npci 0000:00:1c.2: Configured ACS to 0x001d\n"
    taken += "[ 0.61] pci 0000:00:1c.3: Intel SPT PCH root port workaround: disabled ACS redirect\n"
    told = {str(a)[5:]: value_of(f.chipset_acs, None) for a, f in host_of(ports + said + taken).functions.items()}
    assert told == {"00:1c.0": True, "00:1c.1": None, "00:1c.2": None, "00:1c.3": None}


def test_a_kernel_with_the_patch_says_that_it_overrides_acs() -> None:
    told = "[ 0.000000] Warning: PCIe ACS overrides enabled; This may allow non-IOMMU protected peer-to-peer DMA\n"
    group = "[ 0.5] pci 0000:01:00.0: Adding to iommu group 1\n"
    assert host_of(told + group).overrides_acs == Known(True, "paste: boot log")
    assert isinstance(host_of(group).overrides_acs, Unknown)
    assert isinstance(host_of(f"Linux version 6.1 x\n{told}Linux version 6.1 x\n{group}").overrides_acs, Unknown)
    assert merge([host_of(group), host_of(told + group)]).overrides_acs == Known(True, "paste: boot log")


@pytest.mark.parametrize(
    "said",
    [
        "vfio-pci 0000:04:00.1: DMAR: Device is ineligible for IOMMU domain attach due to platform RMRR requirement.",
        "[ 9.1] vfio-pci 0000:04:00.1: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting "
        "configuring the device without a 1:1 mapping. Contact your platform vendor.",
    ],
)
def test_what_the_kernel_would_not_give_away(said: str) -> None:
    group = "[ 0.5] pci 0000:04:00.0: Adding to iommu group 1\n[ 0.5] pci 0000:04:00.1: Adding to iommu group 1\n"
    assert host_of(f"{group}Jan 09 10:03:12 x kernel: {said}\n").refused == {at("04:00.1")}
    assert merge([host_of(group), host_of(f"{group}{said}\n")]).refused == {at("04:00.1")}
    assert not host_of(group).refused
    assert host_of(said).refused == {at("04:00.1")}


def test_a_boot_log_on_xen_tells_nothing_of_groups() -> None:
    device = "01:00.0 VGA compatible controller [0300]: X [10de:1b80]\n\tControl: I/O+ Mem+ BusMaster+\n"
    text = "[ 0.0] Linux version 6.1.0\n[ 0.0] Hypervisor detected: Xen PV\n" + device
    assert host_of(text).groups == Unknown(BEHIND_XEN)
    assert host_of(text.replace("Xen PV", "KVM")).groups != Unknown(BEHIND_XEN)


def test_functions_that_a_log_only_places_are_not_of_an_lspci_without_numbers() -> None:
    host = host_of(
        "[ 1.1] pci 0005:01:00.0: PCI bridge to [bus 02]\n[ 1.2] pci 0005:02:00.0: Adding to iommu group 3\n"
        "[ 1.3] pci 0005:02     : [PE# fc] Enabling 64-bit DMA bypass\n"
    )
    (gap,) = (gap for gap in host.gaps if gap.kind is GapKind.IDS)
    assert "neither ids nor names" in gap.why
    assert value_of(host.interrupt_remapping, None) is True
