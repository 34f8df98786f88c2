"""Paths and links of lists of groups that were wrapped, colours that are spelled out, numbers in a column."""

from __future__ import annotations

import pytest

from host.records.paste import groups_of, host_of

_PATHS = "/sys/kernel/iommu_groups/7/devices/0000:00:1c.0\n/sys/kernel/iommu_groups/17/devices/0000:03:00.0\n"


@pytest.mark.parametrize("cut", [18, 25, 26, 27, 35, 36, 41, 44, 46])
def test_a_path_that_was_wrapped_is_whole(cut: int) -> None:
    first, second = _PATHS.splitlines()
    for text in (
        f"{first}\n{second[:cut]}\n{second[cut:]}\n",
        f"{second[:cut]}\n{second[cut:]}\n{first}\n",
    ):
        assert groups_of(host_of(text)) == {7: ["00:1c.0"], 17: ["03:00.0"]}, text


@pytest.mark.parametrize("command", ["$ ls ", "root@pve:~# ls -1 ", ""])
def test_functions_below_their_folder_are_all_of_its_group(command: str) -> None:
    """The first was put behind the folder's path, and those that follow it were lost."""
    folder = "/sys/kernel/iommu_groups/{}/devices/"
    text = f"{command}{folder.format(1)}\n0000:00:01.0\n0000:01:00.0\n0000:01:00.1\n"
    text += f"{command}{folder.format(2)}\n0000:02:00.0\n"
    assert groups_of(host_of(text)) == {1: ["00:01.0", "01:00.0", "01:00.1"], 2: ["02:00.0"]}


_LINKS = """\
/sys/kernel/iommu_groups/0/devices:
total 0
lrwxrwxrwx 1 root root 0 Feb  4 10:29 0000:00:1c.6{}->{}../../../../devices/pci0000:00/{}0000:00:{}1c.6
lrwxrwxrwx. 1 root root 0 Feb  4{}10:29 0000:03:00.0 -> ../../../../devices/pci0000:00/0000:00:{}1c.6/0000:03:00.0
lrwxrwxrwx 1 root root 0 Feb  4 10:29 fd4c0000.usb -> ../../../../devices/platform/fd4c0000.usb

/sys/kernel/iommu_groups/10/devices:
total 0
lrwxrwxrwx 1 root root 0 Feb  4 10:29 0000:04:00.0 -> ../../../../devices/pci0000:00/0000:04:00.0
"""


@pytest.mark.parametrize("place", range(-1, 6))
def test_a_link_that_was_wrapped_is_whole(place: int) -> None:
    blanks = [" ", " ", "", "", " ", ""]
    if place >= 0:
        blanks[place] = "\n"
    assert groups_of(host_of(_LINKS.format(*blanks))) == {0: ["00:1c.6", "03:00.0"], 10: ["04:00.0"]}


def test_what_follows_a_whole_link_is_no_rest_of_it() -> None:
    link = "/sys/bus/pci/devices/0000:02:00.0/iommu_group -> ../../../../kernel/iommu_groups/7"
    assert groups_of(host_of(f"lrwxrwxrwx 1 root root 0 May 28 12:26 {link}\n8p\n")) == {7: ["02:00.0"]}


@pytest.mark.parametrize("line", ["-> lrwxrwxrwx 1 root root", "->lrwxrwxrwx", "a -> lrwxrwxrwx"])
def test_an_arrow_that_no_link_is_before(line: str) -> None:
    text = f"{line}\n8p\n{_PATHS}"
    assert groups_of(host_of(text)) == {7: ["00:1c.0"], 17: ["03:00.0"]}


@pytest.mark.parametrize("escape", ["\x1b", "^[", "\u241b", "\\e", "\\033", "\\x1b"])
def test_colours_that_are_spelled_out(escape: str) -> None:
    log = "{0}[32m[    0.512345] {0}[0m{0}[33mpci 0000:05:00.0{0}[0m: Adding to iommu group 5\n"
    assert groups_of(host_of(log.format(escape))) == {5: ["05:00.0"]}


def test_numbers_in_a_column_of_their_own() -> None:
    rows = [
        "IOMMU Group 14:",
        "\t01:00.0 VGA controller [0300]: X [10de:2484]",
        "\t01:00.1 Audio [0403]: X [10de:228b]",
    ]
    cells = "".join(f"<tr><td>{place}</td><td>{row}</td></tr>\n" for place, row in enumerate(rows, 1))
    assert groups_of(host_of(f"<table>{cells}</table>")) == {14: ["01:00.0", "01:00.1"]}
    single = "IOMMU Group 1:\n00:01.0 PCI bridge [0604]: X [8086:1901]\n"
    assert groups_of(host_of(single)) == {1: ["00:01.0"]}
