"""The folder of a function's group, listed from the function as the kernel's documentation of VFIO does."""

from __future__ import annotations

import pytest

from atoll.host.fact import Unknown, value_of
from host.records.paste import at, groups_of, host_of

_FOLDER = "/sys/bus/pci/devices/0000:06:0d.0/iommu_group"
_LINKS = """\
total 0
lrwxrwxrwx. 1 root root 0 Apr 3 16:13 0000:00:1e.0 -> ../../../../devices/pci0000:00/0000:00:1e.0
lrwxrwxrwx. 1 root root 0 Apr 3 16:13 0000:06:0d.0 -> ../../../../devices/pci0000:00/0000:00:1e.0/0000:06:0d.0
lrwxrwxrwx. 1 root root 0 Apr 3 16:13 0000:06:0d.1 -> ../../../../devices/pci0000:00/0000:00:1e.0/0000:06:0d.1
"""
_LISTS = [
    f"$ ls -l {_FOLDER}/devices\n{_LINKS}",
    f"# ls {_FOLDER}/devices/\n0000:00:1e.0  0000:06:0d.0  0000:06:0d.1\n",
    f"{_FOLDER}/devices:\n0000:00:1e.0\n0000:06:0d.0@\n0000:06:0d.1@\n",
    f"ls -d {_FOLDER}/devices/*\n"
    + "".join(f"{_FOLDER}/devices/0000:{a}\n" for a in ("00:1e.0", "06:0d.0", "06:0d.1")),
]
_ALL = {26: ["00:1e.0", "06:0d.0", "06:0d.1"]}


@pytest.mark.parametrize("listed", _LISTS, ids=("ls -l", "ls", "ls -R", "ls -d"))
@pytest.mark.parametrize(
    "number",
    [
        f"$ readlink {_FOLDER}\n../../../../kernel/iommu_groups/26\n",
        f"$ readlink -f {_FOLDER}\n/sys/kernel/iommu_groups/26\n",
        f"$ ls -l {_FOLDER}\nlrwxrwxrwx 1 root root 0 Apr 3 16:13 {_FOLDER} -> ../../../../kernel/iommu_groups/26\n",
        "[    1.2] pci 0000:06:0d.1: Adding to iommu group 26\n",
        "06:0d.0 SCSI storage controller [0100]: X [1000:0030]\n\tFlags: fast devsel, IRQ 9, IOMMU group 26\n",
    ],
    ids=("readlink", "readlink -f", "ls -l", "log", "lspci"),
)
def test_folder_tells_who_is_in_the_group(listed: str, number: str) -> None:
    for text in (
        number + listed,
        listed + number,
        f"{number}\n{listed}Others:\n0000:07:00.0\n",
        f"{number}{listed}\n0000:07:00.0",
    ):
        assert groups_of(host_of(text)) == _ALL


def test_folder_without_number_is_told_and_no_group_is_made_up() -> None:
    heading = "06:0d.0 SCSI storage controller [0100]: X [1000:0030]\n\tFlags: fast devsel, IRQ 9\n\n"
    host = host_of(heading + _LISTS[1])
    assert isinstance(host.groups, Unknown)
    assert "lists who shares a group" in host.groups.reason
    assert value_of(host.functions[at("06:0d.0")].group, None) is None
    assert any("does not tell the group's number" in gap.why for gap in host.gaps)


@pytest.mark.parametrize("ran", ["", f"$ ls {_FOLDER}/devices\n"])
def test_folder_of_which_nothing_is_printed_tells_nothing(ran: str) -> None:
    heading = "06:0d.0 SCSI storage controller [0100]: X [1000:0030]\n\n"
    host = host_of(f"{heading}{ran}ls: cannot access '{_FOLDER}/devices': No such file or directory\n")
    assert isinstance(host.groups, Unknown)
    assert "who shares" not in host.groups.reason
    assert not any("does not tell the group's number" in gap.why for gap in host.gaps)


def test_folders_of_a_large_machine_stay_apart() -> None:
    places = [f"0000:{bus:02x}:{device:02x}.0" for bus in range(130) for device in range(32)]
    shown = "".join(f"$ ls /sys/bus/pci/devices/{place}/iommu_group/devices\n{place}\n" for place in places)
    numbers = (
        f"[    1.2] pci {places[-2]}: Adding to iommu group 7\n[    1.2] pci {places[-1]}: Adding to iommu group 8\n"
    )
    assert groups_of(host_of(numbers + shown)) == {7: ["81:1e.0"], 8: ["81:1f.0"]}


def test_number_of_one_is_no_number_of_another() -> None:
    other = _FOLDER.replace("06:0d.0", "07:00.0")
    text = f"$ readlink {other}\n../../../../kernel/iommu_groups/9\n{_LISTS[1]}$ ls {other}/devices\n0000:07:00.0\n"
    assert groups_of(host_of(text)) == {9: ["07:00.0"]}
