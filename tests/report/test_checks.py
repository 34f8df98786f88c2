"""What doctor finds out about a host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import at, endpoint, machine, port

from atoll.host.fact import Known, Unknown
from atoll.host.groups import BEHIND_XEN, LISTED_NONE, ONLY_ASKED, ONLY_DESCRIBED
from atoll.host.model import Host, Platform
from atoll.host.trees.memory import FileEntry, MemoryTree
from atoll.report.check import Check, Status
from atoll.report.checks import checks


def _found(host: Host, name: str) -> list[Check]:
    return [check for check in checks(host, MemoryTree("handmade"), privileged=None) if check.id == name]


def test_what_firmware_keeps_from_vfio() -> None:
    """The kernel refuses such a device only when a guest starts; doctor tells before."""
    cards = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, group=5) for n in range(2)]
    host = machine(port("00:01.0", 1), *cards)
    assert _found(host, "firmware-memory") == []
    (check,) = _found(replace(host, refused=frozenset({at("01:00.1")})), "firmware-memory")
    assert (check.status, check.found) == (Status.WARN, "not for VFIO: 0000:01:00.1")
    assert "one to one" in check.why
    (check,) = _found(replace(host, refused=frozenset({at("04:00.0")})), "firmware-memory")
    assert (check.found, "one to one" in check.why) == ("not for VFIO: 0000:04:00.0", True)


@pytest.mark.parametrize(
    ("ids", "told", "left_out"),
    [((0x10DE, 0x2330), "nvidia-smi", "kfd"), ((0x1002, 0x74A1), "kfd", "nvidia-smi"), ((0x1D94, 0x55B7), "kfd", "nv")],
)
def test_what_tells_links_is_of_the_makers_programs(ids: tuple[int, int], told: str, left_out: str) -> None:
    (check,) = _found(machine(endpoint("01:00.0", ids=ids, class_code=0x120000)), "links")
    assert check.status is Status.UNKNOWN
    assert told in check.do
    assert left_out not in check.do
    assert check.do.endswith("beside sys/")


@pytest.mark.parametrize(("shown", "status"), [(64, Status.WARN), (256, Status.OK)])
def test_root_may_be_shown_no_more_than_everybody(shown: int, status: Status) -> None:
    """As in a container without CAP_SYS_ADMIN."""
    device = "01:00.0"
    tree = MemoryTree("live")
    tree.add(f"sys/bus/pci/devices/{at(device)}/config", FileEntry(bytes(shown)))
    (check,) = (one for one in checks(machine(endpoint(device)), tree, privileged=True) if one.id == "privileges")
    assert check.status is status
    assert ("CAP_SYS_ADMIN" in check.found) == (status is Status.WARN)


def test_links_of_the_machine_that_this_is_are_told_in_a_folder_of_its_own() -> None:
    host = machine(endpoint("01:00.0", ids=(0x10DE, 0x1DB1), class_code=0x030200))
    found = checks(host, MemoryTree("live"), privileged=True)
    assert [check.do.partition(" in ")[2] for check in found if check.id == "links"] == ["/etc/atoll/records"]


def test_links_of_a_device_without_ids_are_no_known_family() -> None:
    nameless = replace(endpoint("01:00.0", ids=(0xFFFF, 0xFFFF), class_code=0x030200), possible_ids=((None, None),))
    (check,) = _found(machine(nameless), "links")
    assert check.found == "links of 1 device that may have them are not known: 0000:01:00.0"
    (told,) = _found(machine(endpoint("01:00.0", ids=(0x10DE, 0x1DB1), class_code=0x030200)), "links")
    assert told.found == "links of 1 device of a family that has them are not known: 0000:01:00.0"


def test_the_patch_that_gives_such_devices_away() -> None:
    for words, told in (("intel_iommu=on,relax_rmrr", 1), ("intel_iommu=relax_rmrr iommu=pt", 1), ("relax_rmrr", 0)):
        found = _found(machine(endpoint("01:00.0"), command_line=words), "firmware-memory")
        assert [check.status for check in found] == [Status.WARN] * told


def test_on_xen_the_iommu_is_asked_for_elsewhere() -> None:
    host = replace(machine(endpoint("01:00.0")), groups=Unknown(BEHIND_XEN), interrupt_remapping=Unknown("Xen knows"))
    (iommu,), (interrupts,) = _found(host, "iommu"), _found(host, "interrupt-remapping")
    assert (iommu.status, iommu.found) == (Status.UNKNOWN, BEHIND_XEN)
    assert "xl dmesg" in iommu.do
    assert "xl dmesg" in interrupts.do


@pytest.mark.parametrize(
    ("maker", "words", "told"),
    [
        (0x8086, "root=/dev/sda quiet", "boot with intel_iommu=on"),
        (0x8086, "intel_iommu=igfx_off", "boot with intel_iommu=on"),
        (0x8086, "intel_iommu=on iommu=pt", "switch on VT-d in the firmware"),
        (0x8086, None, "switch on VT-d or AMD-Vi"),
        (0x1022, "quiet", "switch on the IOMMU (AMD-Vi)"),
    ],
)
def test_how_an_iommu_comes_to_be_used(maker: int, words: str | None, told: str) -> None:
    bridge = replace(endpoint("00:00.0", ids=(maker, 1), class_code=0x060000), group=Known(None, "test"))
    host = replace(machine(bridge), groups=Known({}, "test"), platform=Platform.X86)
    host = replace(host, command_line=Unknown("not shown") if words is None else Known(words, "test"))
    (none,) = _found(host, "iommu")
    assert (none.status, none.do.startswith(told)) == (Status.FAIL, True)
    (asked,) = _found(replace(host, groups=Unknown(LISTED_NONE)), "iommu")
    assert (asked.status, told in asked.do) == (Status.UNKNOWN, True)
    (unknown,) = _found(replace(host, groups=Unknown("not shown")), "iommu")
    assert "capture" in unknown.do


def _card(first: str, second: str, *, told: bool = True, class_code: int = 0x030000) -> Host:
    cards = [
        endpoint(
            f"01:00.{n}",
            "00:01.0",
            multifunction=True,
            group=5 if told else Unknown("cut"),
            driver=driver,
            class_code=class_code,
        )
        for n, driver in enumerate((first, second))
    ]
    host = machine(port("00:01.0", 1), *cards)
    return host if told else replace(host, groups=Unknown("cut"))


def test_a_group_that_vfio_cannot_give_away() -> None:
    """QEMU says so only when a guest starts: ``group 5 is not viable``."""
    (check,) = _found(_card("vfio-pci", "snd_hda_intel"), "vfio-group")
    assert (check.status, check.do) == (Status.FAIL, "see: atoll explain 0000:01:00.0")
    assert check.found == "group 5 is not viable: 0000:01:00.1 is bound to snd_hda_intel, beside 0000:01:00.0 for VFIO"
    assert _found(_card("vfio-pci", "vfio-pci"), "vfio-group") == []
    assert _found(_card("nvidia", "snd_hda_intel"), "vfio-group") == []


def test_a_card_that_vfio_has_half_of_where_groups_are_not_told() -> None:
    (check,) = _found(_card("vfio-pci", "snd_hda_intel", told=False), "vfio-group")
    assert check.status is Status.WARN
    assert _found(_card("vfio-pci", "ixgbe", told=False, class_code=0x020000), "vfio-group") == []


def test_passthrough_on_the_command_line_of_groups_whose_types_were_not_read() -> None:
    for kind, said in ((None, "the types of 1 group were not read"), ("DMA", "0 groups with an identity domain")):
        host = machine(endpoint("01:00.0"), kind=kind, command_line="iommu=pt")
        (check,) = _found(host, "passthrough")
        assert (check.status, check.found) == (Status.WARN, f"iommu=pt on the command line; {said}")


def test_an_iommu_that_the_log_shows_in_use_or_only_described() -> None:
    host = replace(machine(endpoint("01:00.0")), groups=Unknown("not shown"))
    (used,) = _found(host, "iommu")
    assert (used.status, used.found) == (Status.OK, "in use, 1 unit (intel); its groups were not read")
    for table, told in (("DMAR", "intel_iommu=on"), ("IVRS", "amd_iommu=off"), ("IORT", "SMMU")):
        described = replace(host, iommu_units=(), groups=Unknown(f"{ONLY_DESCRIBED} ({table})"))
        (check,) = _found(described, "iommu")
        assert check.status is Status.UNKNOWN
        assert told in check.do
    (check,) = _found(replace(host, iommu_units=(), groups=Unknown(ONLY_ASKED)), "iommu")
    assert check.status is Status.UNKNOWN
    assert "in the firmware" in check.do
