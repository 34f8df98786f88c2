"""Lists of groups from tools that mark, draw or space them: a function that is lost makes a group look safe."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown, value_of
from atoll.pci.acs import AcsFlag
from atoll.pci.header import PortType
from host.records.paste import BRIDGE, GPU, NIC, PORT, SOUND, at, groups_of, host_of

_TREE = """\
/sys/kernel/iommu_groups
├── 1
│   ├── devices
│   │   ├── 0000:00:01.0 -> ../../../../devices/pci0000:00/0000:00:01.0
│   │   ├── 0000:01:00.0 -> ../../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0
│   │   └── 0000:01:00.1 -> ../../../../devices/pci0000:00/0000:00:01.0/0000:01:00.1
│   ├── reserved_regions
│   └── type
└── 2
    ├── devices
    │   └── 0000:02:00.0 -> ../../../../devices/pci0000:00/0000:00:02.0/0000:02:00.0
    └── type

11 directories, 4 files
"""
_PROXMOX = """\
root@pve:~# pvesh get /nodes/pve/hardware/pci --pci-class-blacklist ""
┌──────────┬────────┬──────────────┬────────────┬────────┬──────────────────────────────────
│ class    │ device │ id           │ iommugroup │ vendor │ device_name
╞══════════╪════════╪══════════════╪════════════╪════════╪══════════════════════════════════
│ 0x060400 │ 0x1901 │ 0000:00:01.0 │          1 │ 0x8086 │ 6th-10th Gen Core PCIe Controller
├──────────┼────────┼──────────────┼────────────┼────────┼──────────────────────────────────
│ 0x030000 │ 0x1b80 │ 0000:01:00.0 │          1 │ 0x10de │ GP104 [GeForce GTX 1080]
├──────────┼────────┼──────────────┼────────────┼────────┼──────────────────────────────────
│ 0x040300 │ 0x10f0 │ 0000:01:00.1 │          1 │ 0x10de │ GP104 High Definition Audio: HDMI
├──────────┼────────┼──────────────┼────────────┼────────┼──────────────────────────────────
│ 0x020000 │ 0x1533 │ 0000:02:00.0 │          2 │ 0x8086 │ I210
├──────────┼────────┼──────────────┼────────────┼────────┼──────────────────────────────────
│ 0x0c0330 │ 0xa36d │ 0000:00:14.0 │         -1 │ 0x8086 │ xHCI
└──────────┴────────┴──────────────┴────────────┴────────┴──────────────────────────────────
"""


@pytest.mark.parametrize(
    "text",
    [
        # Unraid: ids first, the group's other functions at the margin, no blank after the colon.
        "Group 1:\t[8086:1901] 00:01.0 PCI bridge: X\n[10de:1b80] [R] 01:00.0 VGA compatible controller: Y (rev a1)\n"
        "[10de:10f0] 01:00.1 Audio device: Y\nGroup 2:[8086:1533] [R] 02:00.0 Ethernet controller: Z\n",
        # Scripts that leave the word out.
        "[IOMMU 1] 00:01.0 PCI bridge [0604]: X [8086:1901]\n[IOMMU 1] 01:00.0 VGA [0300]: Y [10de:1b80] (rev a1)\n"
        "[IOMMU 1] 01:00.1 Audio device [0403]: Y [10de:10f0]\n[IOMMU 2] 02:00.0 Ethernet [0200]: Z [8086:1533]\n",
        "IOMMU 1: 00:01.0 PCI bridge: X\nIOMMU 1: 01:00.0 VGA: Y\nIOMMU 1: 01:00.1 Audio: Y\nIOMMU 2: 02:00.0 NIC: Z\n",
        # What find and ls print from within the folder, and loops over functions.
        "./1/devices/0000:00:01.0\n./1/devices/0000:01:00.0\n./1/devices/0000:01:00.1\n./2/devices/0000:02:00.0\n",
        "./1/devices:\n0000:00:01.0  0000:01:00.0  0000:01:00.1\n\n./2/devices:\n0000:02:00.0\n",
        "/sys/bus/pci/devices/0000:00:01.0: ../../../kernel/iommu_groups/1\n"
        "/sys/bus/pci/devices/0000:01:00.0: ../../../kernel/iommu_groups/1\n"
        "/sys/bus/pci/devices/0000:01:00.1: ../../../kernel/iommu_groups/1\n"
        "/sys/bus/pci/devices/0000:02:00.0: ../../../kernel/iommu_groups/2\n",
        # ls in other languages, and with marks.
        "/sys/kernel/iommu_groups/1/devices:\ninsgesamt 0\n"
        "lrwxrwxrwx 1 root root 0 3. M\u00e4r 10:11 0000:00:01.0 -> ../x\n"
        "lrwxrwxrwx 1 root root 0 3. M\u00e4r 10:11 0000:01:00.0 -> ../x\n"
        "lrwxrwxrwx 1 root root 0 3. M\u00e4r 10:11 0000:01:00.1 -> ../x\n\n"
        "/sys/kernel/iommu_groups/2/devices:\n0000:02:00.0@\n",
        "/sys/kernel/iommu_groups/1/devices:\n\u603b\u8ba1 0\n'0000:00:01.0'  '0000:01:00.0'  '0000:01:00.1'\n\n"
        "/sys/kernel/iommu_groups/2/devices:\n\u0438\u0442\u043e\u0433\u043e 0\n0000:02:00.0\n",
        # Titles and lists of Markdown.
        "### IOMMU Group 1\n\n* 00:01.0 PCI bridge: X\n* `01:00.0` VGA: Y\n\n* 01:00.1 Audio: Y\n\n"
        "**IOMMU Group 2:**\n\n- 02:00.0 Ethernet: Z\n",
        "**IOMMU Group 1:**\n\n```\n00:01.0 PCI bridge: X\n01:00.0 VGA: Y\n01:00.1 Audio: Y\n```\n\n"
        "#### IOMMU Group 2\n\n~~~text\n02:00.0 Ethernet: Z\n~~~\n",
        # In Chinese.
        "IOMMU 组 1\uff1a\n\t00:01.0 PCI bridge: X\n\t01:00.0 VGA: Y\n\t01:00.1 Audio: Y\n"
        "IOMMU 组 2\uff1a\n\t02:00.0 NIC: Z\n",
        # Translated headings with the function behind, and without the IOMMU; the wide colon.
        "IOMMU-Gruppe 1: 00:01.0 PCI bridge: X\nIOMMU-Gruppe 1: 01:00.0 VGA: Y\nIOMMU-Gruppe 1: 01:00.1 Audio: Y\n"
        "IOMMU-Gruppe 2: 02:00.0 Ethernet: Z\n",
        "Groupe 1 :\n\t00:01.0 PCI bridge: X\n\t01:00.0 VGA: Y\n\t01:00.1 Audio: Y\nGroupe 2 :\n\t02:00.0 NIC: Z\n",
        "IOMMU Group 1\uff1a 00:01.0 PCI bridge: X\n01:00.0 VGA: Y\uff08IOMMU group 1\uff09\n"
        "01:00.1 Audio: Y\uff08IOMMU group 1\uff09\n"
        "IOMMU Group 2\uff1a\n\t02:00.0 Ethernet: Z\n",
        # Loops that look for reset.
        "IOMMU Group 1:\n\t\t 00:01.0 PCI bridge [0604]: X [8086:1901]\n\t [RESET]\t 01:00.0 VGA: Y [10de:1b80]\n"
        "\t\t 01:00.1 Audio: Y [10de:10f0]\nIOMMU Group 2:\n\t [RESET]\t 02:00.0 Ethernet: Z [8086:1533]\n",
        "IOMMU group 1\n\t00:01.0 PCI bridge [0604]: X [8086:1901]\n[RESET]\t01:00.0 VGA [0300]: Y [10de:1b80]\n"
        "\t01:00.1 Audio [0403]: Y [10de:10f0]\nIOMMU group 2\n[RESET]\t02:00.0 Ethernet [0200]: Z [8086:1533]\n",
        # Functions apart, with what else a script prints.
        "IOMMU Group 1:\n\t00:01.0 PCI bridge: X\n\tDriver: pcieport\n\n\t01:00.0 VGA: Y\n\tDriver: vfio-pci\n\n"
        "\t01:00.1 Audio: Y\n\nIOMMU Group 2:\n\t02:00.0 Ethernet controller: Z\n",
        "Group: 1  - 0000:00:01.0 PCI bridge\nGroup: 1  - 0000:01:00.0 VGA\nGroup: 1  - 0000:01:00.1 Audio\n"
        "Group: 2  - 0000:02:00.0 Ethernet\n",
        "/sys/kernel/iommu_groups/1/devices:\ntotal 0\n"
        "drwxr-xr-x 2 root root 0 Nov 27 11:00 .\n"
        "lrwxrwxrwx 1 root root 0 Nov 27 11:00 0000:00:01.0 -> ../../../../devices/pci0000:00/0000:00:01.0\n"
        "lrwxrwxrwx 1 root root 0 Nov 27 11:00 0000:01:00.0 -> ../../../../devices/pci0000:00/0000:01:00.0\n"
        "lrwxrwxrwx 1 root root 0 Nov 27 11:00 0000:01:00.1 -> ../../../../devices/pci0000:00/0000:01:00.1\n\n"
        "/sys/kernel/iommu_groups/2/devices:\ntotal 0\n"
        "lrwxrwxrwx 1 root root 0 Nov 27 11:00 0000:02:00.0 -> ../../../../devices/pci0000:00/0000:02:00.0\n",
        "| Group | Address | Device |\n|---|:---:|---|\n| 1 | 00:01.0 | bridge |\n| 1 | 01:00.0 | VGA |\n"
        "| 1 | `01:00.1` | sound |\n| 2 | 02:00.0 | NIC |\n",
        # Number and line, with and without a colon, in a table, and commented out.
        "1: 00:01.0 PCI bridge [0604]: X\n1: 01:00.0 VGA [0300]: Y\n1: 01:00.1 Audio: Y\n2: 02:00.0 Ethernet: Z\n",
        "1  00:01.0 PCI bridge [0604]: X\n2  02:00.0 Ethernet: Z\n1  01:00.0 VGA [0300]: Y\n1  01:00.1 Audio: Y\n",
        "| IOMMU Group | Device |\n|---|---|\n| 1 | 00:01.0 PCI bridge [0604]: X |\n| 1 | 01:00.0 VGA: Y |\n"
        "| 1 | 01:00.1 Audio: Y |\n| 2 | 02:00.0 Ethernet: Z |\n",
        "#IOMMU Group 1:\n#\t00:01.0 PCI bridge: X\n#\t01:00.0 VGA: Y\n#\t01:00.1 Audio: Y\n#IOMMU Group 2:\n"
        "#\t02:00.0 Ethernet: Z\n",
        "IOMMU_GROUP=1 00:01.0 PCI bridge: X\nIOMMU_GROUP=1 01:00.0 VGA: Y\nIOMMUGroup 1\t01:00.1 Audio: Y\n"
        "IOMMUGroup 2\t02:00.0 Ethernet: Z\n",
        # The number again before each function, and columns of a script's own.
        "Group  1    00:01.0 PCI bridge: X\n       1    01:00.0 VGA: Y\n       1    01:00.1 Audio: Y\n"
        "Group  2    02:00.0 Ethernet: Z\n",
        "IOMMU Group 1:\n    no  pcieport 00:01.0 PCI bridge: X\n    yes vfio-pci 01:00.0 VGA: Y\n"
        "    yes vfio-pci 01:00.1 Audio: Y\nIOMMU Group 2:\n    yes igb 02:00.0 Ethernet: Z\n",
        # Markdown.
        "> IOMMU Group 1:  \n> 00:01.0 PCI bridge \\[0604\\]: X \\[8086:1901\\]  \n> 01:00.0 VGA: Y  \n"
        "> 01:00.1 Audio: Y  \n> IOMMU Group 2:  \n> 02:00.0 Ethernet: Z  \n",
        "IOMMU Group 1:\n```\n00:01.0 PCI bridge: X\n01:00.0 VGA: Y\n01:00.1 Audio: Y\n```\nIOMMU Group 2:\n"
        "```text\n02:00.0 Ethernet: Z\n```\n",
        "`IOMMU Group 1 00:01.0 PCI bridge: X\nIOMMU Group 1 01:00.0 VGA: Y\nIOMMU Group 1 01:00.1 Audio: Y\n"
        "IOMMU Group 2 02:00.0 Ethernet: Z [8086:1533]`\n",
        # Line ends that a forum ate: all of them, and one.
        "my groups: IOMMU Group 1: 00:01.0 PCI bridge [0604]: X [8086:1901] (rev 07) 01:00.0 VGA [0300]: Y [10de:1b80] "
        "01:00.1 Audio [0403]: Y [10de:10f0] IOMMU Group 2: 02:00.0 Ethernet [0200]: Z [8086:1533]\n",
        "IOMMU Group 1:\n\t00:01.0 PCI bridge: X\n\t01:00.0 VGA [0300]: Y [10de:1b80] 01:00.1 Audio [0403]: Y\n"
        "IOMMU Group 2:\n\t02:00.0 Ethernet: Z\n",
        # Class and name in columns, headings in other languages, units above groups.
        "Group 1:\t[8086:1901]     00:01.0  PCI bridge                 X\n"
        "\t\t[10de:1b80] [R] 01:00.0  VGA compatible controller  Y [Z: 2]\n"
        "\t\t[10de:10f0]     01:00.1  Audio device               Y\n"
        "Group 2:\t[8086:1533] [R] 02:00.0  Ethernet controller        Z\n",
        "IOMMU-Gruppe 1:\n\t00:01.0 PCI bridge: X\n\t01:00.0 VGA: Y\n\t01:00.1 Audio: Y\nIOMMU-Gruppe 2:\n"
        "\t02:00.0 Ethernet: Z\n",
        "Groupe IOMMU 1 :\n\t00:01.0 PCI bridge: X\n\t01:00.0 VGA: Y\n\t01:00.1 Audio: Y\nGroupe IOMMU 2 :\n"
        "\t02:00.0 Ethernet: Z\n",
        "IOMMU 组 1:\n\t00:01.0 PCI bridge: X\n\t01:00.0 VGA: Y\n\t01:00.1 Audio: Y\nIOMMU 组 2:\n"
        "\t02:00.0 Ethernet: Z\n",
        "IOMMU: dmar0\n  IOMMU Group: 1\n    Group Device: 0000:00:01.0 - PCI bridge [0604]: X\n"
        "    Group Device: 0000:01:00.0 - VGA [0300]: Y\n    Group Device: 0000:01:00.1 - Audio [0403]: Y\n\n"
        "IOMMU: dmar1\n  IOMMU Group: 2\n    Group Device: 0000:02:00.0 - Ethernet [0200]: Z\n",
        # Several functions on a line: names of folders in columns, side by side, joined.
        "IOMMU Group 1:\n0000:00:01.0  0000:01:00.0\n0000:01:00.1\nIOMMU Group 2:\n0000:02:00.0\n",
        "IOMMU Group 1:\n\t0000:00:01.0  0000:01:00.0  0000:01:00.1\nIOMMU Group 2:\n\t0000:02:00.0\n",
        "1: 0000:00:01.0 0000:01:00.0 0000:01:00.1\n2: 0000:02:00.0\n",
        "IOMMU group #1: 0000:00:01.0, 0000:01:00.0, 0000:01:00.1\nIOMMU group #2: 0000:02:00.0\n",
        "group 1 -> 00:01.0,01:00.0,01:00.1\ngroup 2 -> 02:00.0\n",
        "Group 1 - 00:01.0 bridge; 01:00.0 card and 01:00.1\nGroup 2 - 02:00.0 NIC (below 00:1c.0)\n",
        "/sys/kernel/iommu_groups/1: 0000:00:01.0 0000:01:00.0 0000:01:00.1\n"
        "/sys/kernel/iommu_groups/2: 0000:02:00.0\n",
        _TREE,
        _PROXMOX,
    ],
)
def test_every_form_tells_the_same(text: str) -> None:
    assert groups_of(host_of(text)) == {1: [BRIDGE, GPU, SOUND], 2: [NIC]}


def test_ids_behind_the_address_are_no_class() -> None:
    function = host_of("IOMMU group #1\n└─Slot 01:00.0  8086:46a6  [R]  8 lanes  i915\n").functions[at(GPU)]
    assert (function.vendor, function.device, function.class_code) == (0x8086, 0x46A6, 0xFFFFFF)


def test_ids_before_the_address_are_ids() -> None:
    function = host_of("Group 1:\t[10de:1b80] [R] 01:00.0 VGA compatible controller: NVIDIA X (rev a1)\n").functions[
        at(GPU)
    ]
    assert (function.vendor, function.device, function.class_code >> 8) == (0x10DE, 0x1B80, 0x0300)
    assert function.revision == Known(0xA1, "paste line 1")


def test_columns_tell_class_and_name() -> None:
    host = host_of(
        "Group 1:\t[10de:1b80] [R] 01:00.0  VGA compatible controller  X [Y: 2]\n"
        "\t\t[10de:10f0]     01:00.1  Audio device               X Audio\n"
    )
    told = [(f.vendor, f.device, f.class_code >> 8) for f in host.functions.values()]
    assert told == [(0x10DE, 0x1B80, 0x0300), (0x10DE, 0x10F0, 0x0403)]


def test_lspci_s_own_line_begins_no_group() -> None:
    host = host_of(PORT + "\n02:00.0 Ethernet controller [0200]: Z [8086:1533]\n\tIOMMU group: 7\n\n03:00.0 VGA: Y\n")
    assert groups_of(host) == {1: [BRIDGE], 2: [GPU], 7: [NIC]}


def test_proxmox_tells_ids_classes_and_who_has_no_group() -> None:
    host = host_of(_PROXMOX)
    sound, usb = host.functions[at(SOUND)], host.functions[at("00:14.0")]
    assert (sound.vendor, sound.device, sound.class_code) == (0x10DE, 0x10F0, 0x040300)
    assert usb.class_code == 0x0C0330
    assert isinstance(usb.group, Known)
    assert usb.group.value is None


def test_lspci_after_a_list_and_a_blank_line_is_no_part_of_it() -> None:
    host = host_of(f"IOMMU Group 7:\n\t02:00.0 Ethernet controller: Z\n\n{PORT.replace('IOMMU group', 'Interrupt')}")
    assert groups_of(host) == {7: [NIC]}
    assert at(GPU) in host.functions


def test_what_names_another_function_is_no_part_of_a_name() -> None:
    host = host_of(
        "00:01.0 PCI bridge [0604]: Intel X [8086:1901]\n  -> x16 01:00.0 VGA [0300]: NVIDIA Y [10de:1b80]\n"
    )
    bridge = host.functions[at(BRIDGE)]
    assert (bridge.vendor, bridge.device) == (0x8086, 0x1901)


def test_ids_without_class_and_name() -> None:
    host = host_of("IOMMU group 2: 0000:01:00.0 [10de:1b80]\n")
    assert (host.functions[at(GPU)].vendor, host.functions[at(GPU)].device) == (0x10DE, 0x1B80)


def test_a_folder_of_one_group_as_ls_shows_it() -> None:
    lines = "lrwxrwxrwx 1 root root 0 Jun 21 19:40 0000:{0} -> ../../../../devices/pci0000:00/0000:00:02.1/0000:{0}\n"
    typed = "me@box:~$ ls -la /sys/kernel/iommu_groups/15/devices/\ntotal 0\ndrwxr-xr-x 2 root root 0 Jun 21 19:40 .\n"
    assert groups_of(host_of(typed + lines.format("04:00.0") + lines.format("05:00.0"))) == {15: ["04:00.0", "05:00.0"]}
    columns = "$ ls /sys/kernel/iommu_groups/6/devices/\n0000:86:00.0  0000:86:00.1\n\n$ lspci -s 86:00\n"
    host = host_of(f"{columns}86:00.0 VGA compatible controller: X\n86:00.1 Audio device: X\n")
    assert groups_of(host) == {6: ["86:00.0", "86:00.1"]}
    assert host.functions[at("86:00.0")].class_code >> 8 == 0x0300, "a row of ls is no function's first line"


def test_what_qemu_says_of_a_device_it_cannot_open() -> None:
    before = "qemu-system-x86_64: -device vfio-pci,host=01:00.0,multifunction=on: "
    viable = f"{before}vfio error: 0000:01:00.0: group 1 is not viable\nPlease ensure all devices are bound.\n"
    assert groups_of(host_of(viable)) == {1: ["01:00.0"]}
    assert groups_of(host_of(viable.replace("vfio error:", "vfio"))) == {1: ["01:00.0"]}
    for said in (
        "failed to setup container for group 1: Failed to set iommu for container: Operation not permitted",
        "group 1 used in multiple address spaces",
        "failed to open /dev/vfio/1: No such file or directory",
    ):
        assert groups_of(host_of(f"kvm: -device vfio-pci,host=0000:01:00.0: vfio 0000:01:00.0: {said}\n")) == {
            1: ["01:00.0"]
        }
    lacking = (
        f"{before}vfio 0000:01:00.0: no iommu_group found: No such file or directory\n01:00.0 VGA: X [10de:1b80]\n"
    )
    host = host_of(lacking)
    assert host.functions[at("01:00.0")].group == Known(None, "paste: list of groups")
    assert isinstance(host.groups, Unknown), "of others it says nothing"


def test_what_scripts_and_posts_say_before_a_function_and_leave_out_after_its_class() -> None:
    host = host_of(
        "  Matched: 00:00.0 Host bridge [0600]: X [8086:191f] (rev 07)\n   [INFO] Driver is 'skl_uncore'\n"
        "`01:00.0 3D controller [0302]: Y [10de:1f97] (rev a1)`\n"
        "IOMMU Group   0: 0000:00:02.0 VGA compatible controller [0300] Z [Iris] [8086:9a49] (rev 01)\n"
        "I would give away /dev/x 04:00.0 and not 05:00.0 or so, see [0604]: nothing\n"
    )
    ids = {str(a)[5:]: (f.class_code >> 8, f.vendor, f.device) for a, f in host.functions.items()}
    assert ids == {
        "00:00.0": (0x0600, 0x8086, 0x191F),
        "00:02.0": (0x0300, 0x8086, 0x9A49),
        "01:00.0": (0x0302, 0x10DE, 0x1F97),
    }
    assert groups_of(host) == {0: ["00:02.0"]}


def test_what_hangs_on_a_usb_controller_ends_no_group() -> None:
    text = (
        "Group 3:\t[8086:43ed]     00:14.0  USB controller                           Some xHCI\n"
        "USB:\t\t[1d6b:0002]\t\t Bus 001 Device 001                       Linux Foundation 2.0 root hub\n"
        "USB:\t\t[1d6b:0003]\t\t Bus 002 Device 001                       Linux Foundation 3.0 root hub\n"
        "\t\t[8086:43ef]     00:14.2  RAM memory                               Some SRAM\n"
    )
    host = host_of(text)
    assert groups_of(host) == {3: ["00:14.0", "00:14.2"]}
    assert [f.device for f in host.functions.values()] == [0x43ED, 0x43EF], "a hub's ids are not the controller's"


def test_a_list_after_a_comma_is_one() -> None:
    assert groups_of(host_of("These are my groups,\nIOMMU group 1\n\t00:01.0 PCI bridge [0604]: X [8086:1901]\n")) == {
        1: [BRIDGE]
    }


_PATHS = """\
IOMMU Group 3:
\t0000:00:1c.1 PCI bridge [0604]: Intel Corporation Some Port [8086:7a39] (rev 11)
\t\tExpress Root Port (Slot+)
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir- CmpltRedir- UpstreamFwd+ EgressCtrl- DirectTrans-
\t0000:00:1c.1/06:00.0 PCI bridge [0604]: Some Switch [12d8:2404] (rev 05)
\t\tExpress Upstream Port
\t0000:00:1c.1/06:00.0/07:01.0 PCI bridge [0604]: Some Switch [12d8:2404] (rev 05)
\t\tExpress Downstream Port (Slot-)
\t0000:00:1c.1/06:00.0/07:01.0/08:00.0 Ethernet controller [0200]: Some NIC [10ec:8168] (rev 07)
\t\tExpress Endpoint
"""


@pytest.mark.parametrize("before", ["", "> "])
def test_functions_by_their_paths_with_types_and_acs_below(before: str) -> None:
    host = host_of("".join(before + line + "\n" for line in _PATHS.splitlines()))
    assert groups_of(host) == {3: ["00:1c.1", "06:00.0", "07:01.0", "08:00.0"]}
    port, switch, nic = (host.functions[at(a)] for a in ("00:1c.1", "06:00.0", "08:00.0"))
    assert value_of(port.port_type, None) is PortType.ROOT_PORT
    acs = value_of(port.acs, None)
    assert acs is not None
    assert acs.control == AcsFlag.SV | AcsFlag.UF
    assert value_of(switch.port_type, None) is PortType.UPSTREAM
    assert [switch.parent, nic.parent] == [at("00:1c.1"), at("07:01.0")]
    # The script tells of ACS where it is, and what it leaves out of a function nobody knows.
    assert isinstance(nic.acs, Unknown)
    assert isinstance(nic.ats, Unknown)


@pytest.mark.parametrize("name", ["Some x4\nExpress Root Port #0", "Some\nExpress Upstream Port"])
def test_a_name_that_goes_on_with_express_is_no_type(name: str) -> None:
    host = host_of(f"00:1c.1 PCI bridge [0604]: {name} [8086:7a39] (rev 11)\n")
    assert isinstance(host.functions[at("00:1c.1")].port_type, Unknown)
