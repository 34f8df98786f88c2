"""Texts that name no group, or groups in which nothing of a function was understood."""

from __future__ import annotations

import pytest

from atoll.errors import InputError
from atoll.host.fact import Known, Unknown
from atoll.host.groups import LISTED_NONE
from host.records.paste import BRIDGE, GPU, NIC, PORT, SOUND, at, groups_of, host_of


def test_a_group_of_which_nothing_was_understood_is_told() -> None:
    host = host_of("IOMMU Group 4:\n\tslot seven, VGA\nIOMMU Group 5:\n\t00:01.0 PCI bridge: X\n")
    assert groups_of(host) == {5: [BRIDGE]}
    assert [gap.what for gap in host.gaps if gap.what.startswith("members")] == ["members of IOMMU group 4"]


def test_gpus_numbered_in_a_fabric_are_in_no_group() -> None:
    host = host_of(f"{PORT}\n# partitions: GPU physicalId to PCI address\n1 0000:01:00.0\n2 0000:02:00.0\n")
    assert groups_of(host) == {1: [BRIDGE], 2: [GPU]}


@pytest.mark.parametrize("colon", ["", ":"])
def test_numbers_that_may_be_of_lines_are_no_groups(colon: str) -> None:
    """``cat -n lspci.txt | grep NVIDIA``: taken for groups, each function would look alone in one."""
    host = host_of(
        f"{PORT}\n    14{colon}  01:00.0 VGA [0300]: Y [10de:1b80]\n    15{colon}  01:00.1 Audio: Y [10de:10f0]\n"
        f"    31{colon}  02:00.0 Ethernet [0200]: Z [8086:1533]\n"
    )
    assert groups_of(host) == {1: [BRIDGE], 2: [GPU]}
    assert {at(GPU), at(SOUND), at(NIC)} <= host.functions.keys()
    assert [gap.what for gap in host.gaps if "may be of groups" in gap.why] == ["groups of 0000:01:00.1, 0000:02:00.0"]


@pytest.mark.parametrize(
    "text",
    [
        "$ find /sys/kernel/iommu_groups/ -type l\n/sys/kernel/iommu_groups/1/devices/axi:gpu\n"
        "/sys/kernel/iommu_groups/0/devices/1000800000.codec\n",
        "[    0.66] platform axi:gpu: Adding to iommu group 1\n"
        "[    0.67] platform 1000800000.codec: Adding to iommu group 0\n",
        "[ 0.7] iommu: Adding device axi:gpu to group 1\n[ 0.7] iommu: Adding device 1000800000.codec to group 2\n",
    ],
)
def test_groups_of_platform_devices_only(text: str) -> None:
    host = host_of(text)
    assert not host.functions
    assert isinstance(host.groups, Unknown)
    assert "platform devices (axi:gpu, 1000800000.codec)" in host.groups.reason
    beside = host_of(f"0001:01:00.0 Ethernet controller [0200]: X [8086:1521]\n\n{text}")
    assert isinstance(beside.functions[at("0001:01:00.0")].group, Unknown)
    some = host_of(f"{text}pci 0000:00:01.0: Adding to iommu group 7\n")
    assert groups_of(some) == {7: ["00:01.0"]}


def test_a_command_that_printed_no_group() -> None:
    host = host_of("$ find /sys/kernel/iommu_groups/ -type l\n$ lspci -nn\n01:00.0 VGA [0300]: X [10de:1b80]\n")
    assert isinstance(host.groups, Unknown)
    assert "if that is all of it, no IOMMU is in use" in host.groups.reason
    assert host_of("# ls /sys/kernel/iommu_groups/\n#\n").groups == Unknown(LISTED_NONE)
    for text in ("# ls /sys/kernel/iommu_groups/\nIOMMU group 7: the card\n", "What is an iommu group?\n"):
        with pytest.raises(InputError, match="names IOMMU groups"):
            host_of(text)


@pytest.mark.parametrize("mark", ["IOMMU Group * ", "`IOMMU Group * ", "IOMMU Group *:\n\t", "IOMMU group \\*\n"])
def test_a_loop_that_found_no_group_tells_that_there_is_none(mark: str) -> None:
    rest = "00:01.0 PCI bridge [0604]: X [8086:1901]\n01:00.0 VGA compatible controller [0300]: Y [10de:1b80]\n"
    host = host_of(f"{mark}00:00.0 Host bridge [0600]: X [8086:191f]\n{rest}")
    assert [str(a)[5:] for a in host.functions] == ["00:00.0", BRIDGE, GPU]
    assert isinstance(host.groups, Known)
    assert not host.groups.value
    assert all(isinstance(f.group, Known) and f.group.value is None for f in host.functions.values())
    some = host_of(
        f"{mark}00:00.0 Host bridge [0600]: X [8086:191f]\npci 0000:00:01.0: Adding to iommu group 3\n{rest}"
    )
    assert groups_of(some) == {3: [BRIDGE]}, "of another boot, then: what is listed counts"
    for listed in ("IOMMU Group 5:\n\tthe card\n", "/sys/kernel/iommu_groups/5/devices/axi:gpu\n"):
        unread = host_of(f"{mark}00:00.0 Host bridge [0600]: X [8086:191f]\n{rest}\n{listed}")
        assert isinstance(unread.groups, Unknown), "there is one, whoever is in it"
        assert all(isinstance(f.group, Unknown) for f in unread.functions.values())


def test_a_function_shown_twice_in_two_groups_is_in_neither() -> None:
    twice = PORT + "\n" + PORT.replace("IOMMU group: 1", "IOMMU group: 2")
    for text in (twice, PORT.replace("IOMMU group: 1", "IOMMU group: 1\n\tIOMMU group: 2")):
        function = host_of(text).functions[at(BRIDGE)]
        assert isinstance(function.group, Unknown)
        assert "in group 1 and in group 2" in function.group.reason


def test_the_piece_of_an_address_is_no_platform_device() -> None:
    path = "/sys/kernel/iommu_groups/{}/devices/0000:0{}\n:00.0 -> ../../../../devices/pci0000:00\n"
    host = host_of("".join(path.format(n, n) for n in (1, 2)) + "0000:02:00.0/iommu_group -> ../iommu_groups/2\n")
    assert groups_of(host) == {2: [NIC]}
    assert any("1" in gap.what for gap in host.gaps), "of group 1 nothing was understood"
    assert not any("platform" in gap.why for gap in host.gaps)


@pytest.mark.parametrize(
    "shown",
    [
        "$ ls /sys/kernel/iommu_groups\n0  1  10  2\n",
        "$ ls /sys/kernel/iommu_groups\n0\n",
        "$ ls -l /sys/kernel/iommu_groups/\ntotal 0\ndrwxr-xr-x 3 root root 0  6. Mai 08:41 0\n",
        "$ find /sys/kernel/iommu_groups/ -type l | wc -l\n28\n",
        "$ ls -F /sys/kernel/iommu_groups\n0/  1/  10/\n",
        "$ ls -m /sys/kernel/iommu_groups\n0, 1, 10\n",
        "$ ls -d /sys/kernel/iommu_groups/*\n/sys/kernel/iommu_groups/0  /sys/kernel/iommu_groups/1\n",
        "$ find /sys/kernel/iommu_groups -maxdepth 1\n/sys/kernel/iommu_groups\n/sys/kernel/iommu_groups/0\n",
        "$ tree -L 1 /sys/kernel/iommu_groups\n/sys/kernel/iommu_groups\n├── 0\n└── 1\n",
    ],
)
def test_a_list_of_groups_numbers_alone_is_not_taken_for_none(shown: str) -> None:
    with pytest.raises(InputError, match="names IOMMU groups"):
        host_of(shown)
    groups = host_of(f"{shown}$ lspci -n\n00:01.0 0604: 8086:1901\n").groups
    assert isinstance(groups, Unknown)
    assert LISTED_NONE not in groups.reason


@pytest.mark.parametrize("shown", ["ls /sys/kernel/iommu_groups/", "find /sys/kernel/iommu_groups | wc -l\n0"])
def test_a_list_of_no_group_is_told(shown: str) -> None:
    groups = host_of(f"$ {shown}\n$ lspci -n\n00:01.0 0604: 8086:1901\n").groups
    assert isinstance(groups, Unknown)
    assert LISTED_NONE in groups.reason


def test_items_after_a_list_are_none_of_its_group() -> None:
    host = host_of(f"### IOMMU Group 1\n{BRIDGE} PCI bridge: X\n\n- {GPU} VGA: Y\n- {NIC} Ethernet: Z\n")
    assert groups_of(host) == {1: [BRIDGE]}


def test_numbers_of_inodes_are_no_groups() -> None:
    """What ``ls -i`` prints; taken for groups, each function would look alone in one."""
    listed = "/sys/kernel/iommu_groups/1/devices:\n12001 0000:00:01.0\n12002 0000:01:00.0\n"
    with pytest.raises(InputError, match="names IOMMU groups"):
        host_of(listed)


def test_a_block_of_code_after_a_list_is_none_of_its_group() -> None:
    host = host_of(f"IOMMU Group 1:\n{BRIDGE} PCI bridge: X\n\n```\n{GPU} VGA: Y\n{NIC} Ethernet: Z\n```\n")
    assert groups_of(host) == {1: [BRIDGE]}
