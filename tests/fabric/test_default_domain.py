"""Which address space a function has that nobody holds: by its group, the command line, the kind of IOMMU."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import at, endpoint, machine

from atoll.fabric.default_domain import not_grouped_yet
from atoll.fabric.domains import domains
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Known, Unknown
from atoll.host.model import Holder, Host, IommuUnit, KernelRelease, Platform

CARD = at("01:00.0")


def one(host: Host) -> Domain:
    return domains(host)[CARD]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("DMA", DomainKind.TRANSLATED),
        ("DMA-FQ", DomainKind.TRANSLATED),
        ("unmanaged", DomainKind.TRANSLATED),
        ("identity", DomainKind.IDENTITY),
        ("blocked", DomainKind.BLOCKED),
        ("unknown", DomainKind.UNKNOWN),
        ("of a kind to come", DomainKind.UNKNOWN),
        (None, DomainKind.UNKNOWN),
    ],
)
def test_types_of_groups(kind: str | None, expected: DomainKind) -> None:
    assert one(machine(endpoint("01:00.0"), kind=kind)).kind is expected


@pytest.mark.parametrize("words", ["iommu=pt", "iommu=soft,pt", "iommu.passthrough=1", "iommu.passthrough=on"])
def test_the_command_line_asks_for_identity(words: str) -> None:
    assert one(machine(endpoint("01:00.0"), kind=None, command_line=f"ro {words}")).kind is DomainKind.IDENTITY


@pytest.mark.parametrize(
    ("passthrough", "words", "expected"),
    [
        (True, "quiet", DomainKind.IDENTITY),
        (False, "quiet", DomainKind.UNKNOWN),
        (False, "iommu=pt", DomainKind.UNKNOWN),
    ],
)
def test_the_boot_log_knows_better_than_the_command_line(passthrough: bool, words: str, expected: DomainKind) -> None:
    host = replace(machine(endpoint("01:00.0"), kind=None, command_line=words), passthrough=Known(passthrough))
    assert one(host).kind is expected


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("iommu=pt,nopt", False),
        ("iommu=nopt iommu=pt", True),
        ("iommu=pt iommu.passthrough=0", False),
        ("iommu=pt iommu.passthrough=maybe", True),
        ("iommu.passthrough=enable", True),
        ('"iommu=pt"', True),
        ("-- iommu=pt", False),
    ],
)
def test_the_last_word_about_pass_through_counts(words: str, asked: bool) -> None:
    wanted = DomainKind.IDENTITY if asked else DomainKind.UNKNOWN
    assert one(machine(endpoint("01:00.0"), kind=None, command_line=words)).kind is wanted


@pytest.mark.parametrize(
    ("words", "unit", "expected"),
    [
        ("intel_iommu=off", "intel", DomainKind.UNKNOWN),
        ("intel_iommu=on intel_iommu=sm_on,off", "intel", DomainKind.UNKNOWN),
        ("iommu=noagp,off", "amd", DomainKind.UNKNOWN),
        ("amd_iommu=off", "amd", DomainKind.UNKNOWN),
        ("intel_iommu=off", None, DomainKind.UNKNOWN),
        ("intel_iommu=off intel_iommu=on", "intel", DomainKind.TRANSLATED),
        ("amd_iommu=off", "intel", DomainKind.TRANSLATED),
        ("intel_iommu=off", "amd", DomainKind.TRANSLATED),
        ("intel_iommu=sm_off", "intel", DomainKind.TRANSLATED),
    ],
)
def test_a_command_line_that_switches_the_iommu_off_contradicts_groups(
    words: str, unit: str | None, expected: DomainKind
) -> None:
    """One of the two is of another boot, and which one is not known, whoever holds the function."""
    host = machine(endpoint("01:00.0"), command_line=words)
    host = replace(host, iommu_units=() if unit is None else (IommuUnit("unit", unit),))
    held = replace(host, holders=Known((Holder(7, "qemu", (100,), (), Known(1)),)))
    assert (one(host).kind, one(held).kind) == (expected, expected)
    on_arm = replace(host, platform=Platform.ARM)
    assert one(on_arm).kind is DomainKind.TRANSLATED


def test_nothing_is_mapped_for_amds_iommu_itself() -> None:
    """It is in no group, and yet nobody gets through under its id (``init_device_table_dma``)."""
    others = endpoint("02:00.0")
    # That of the RD890 and 990FX has ATI's vendor id, Hygon's theirs.
    for ids in ((0x1022, 0x1481), (0x1002, 0x5A23), (0x1D94, 0x1451)):
        itself = endpoint("01:00.0", ids=ids, class_code=0x080600, group=None)
        assert one(machine(itself, others)).kind is DomainKind.BLOCKED
    strange = endpoint("01:00.0", ids=(0x8086, 0x1481), class_code=0x080600, group=None)
    assert one(machine(strange, others)).kind is DomainKind.NONE
    card = endpoint("01:00.0", ids=(0x1022, 0x1481), group=None)
    assert one(machine(card, others)).kind is DomainKind.NONE


def test_nothing_is_mapped_for_the_host_bridge_beside_amds_iommu() -> None:
    """Its table has an entry for every id, of the host bridge as well, which the firmware's table leaves out."""
    bridge, mate = endpoint("00:00.0", class_code=0x060000, group=None), endpoint("00:14.0")
    ours = endpoint("00:00.2", ids=(0x1022, 0x1481), class_code=0x080600, group=None)
    theirs = endpoint("00:00.2", ids=(0x8086, 0x1481), class_code=0x080600, group=None)
    for iommu, kind in ((ours, DomainKind.BLOCKED), (theirs, DomainKind.NONE)):
        assert domains(machine(bridge, iommu, mate))[bridge.address].kind is kind
    # Another root bus, and what the kernel may have failed to set up (iommu_ignore_device).
    elsewhere = endpoint("40:00.0", class_code=0x060000, group=None)
    ignored = endpoint("00:08.0", group=None)
    fabric = endpoint("00:18.1", class_code=0x060000, group=None)
    for other in (elsewhere, ignored, fabric):
        assert domains(machine(other, ours, mate))[other.address].kind is DomainKind.NONE


def test_powernv_has_a_bypass_window() -> None:
    card = endpoint("01:00.0")
    open_window = machine(card, kind="unknown", platform=Platform.POWERNV)
    assert one(open_window).kind is DomainKind.IDENTITY
    closed = machine(card, kind="unknown", platform=Platform.POWERNV, command_line="iommu=nobypass")
    assert one(closed).kind is DomainKind.TRANSLATED


def test_no_group_no_translation() -> None:
    card = endpoint("01:00.0", group=None)
    assert one(machine(card)).kind is DomainKind.NONE
    assert one(machine(card, platform=Platform.POWERNV)).kind is DomainKind.UNKNOWN
    bare = replace(machine(card), iommu_units=())
    assert one(bare).kind is DomainKind.NONE


@pytest.mark.parametrize(
    ("unit", "platform", "kernel", "driver", "late"),
    [
        ("smmu3", Platform.ARM, (6, 14), None, True),
        ("smmu3", Platform.ARM, None, None, True),
        (None, Platform.UNKNOWN, None, None, True),
        ("smmu3", Platform.ARM, (6, 15), None, False),
        ("smmu3", Platform.ARM, (6, 14), "nvme", False),
        ("intel", Platform.X86, (6, 14), None, False),
        (None, Platform.X86, None, None, False),
        (None, Platform.POWERNV, None, None, False),
    ],
)
def test_before_6_15_some_get_their_group_when_a_driver_binds(
    unit: str | None, platform: Platform, kernel: tuple[int, int] | None, driver: str | None, late: bool
) -> None:
    other = endpoint("02:00.0")
    host = replace(
        machine(endpoint("01:00.0", group=None, driver=driver), other),
        iommu_units=() if unit is None else (IommuUnit(f"{unit}.0", unit),),
        platform=platform,
        kernel=Known(KernelRelease(*kernel, "")) if kernel is not None else Unknown("not shown"),
    )
    assert not_grouped_yet(host, host.functions[CARD]) is late
    assert not not_grouped_yet(host, other)
    if platform is not Platform.POWERNV:
        assert one(host).kind is (DomainKind.UNKNOWN if late else DomainKind.NONE)
