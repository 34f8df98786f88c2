"""Apertures and reserved regions: the lists that VFIO makes of them (vfio_iommu_type1.c), and what is not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from groups_hosts import at, function, host, port

from atoll.controls.present import present
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Group, Host, IommuUnit, KernelRelease, Platform, ReservedRegion
from atoll.isolation.clusters import Cluster, Clusters, Handover
from atoll.isolation.iova.aperture import unit_aperture
from atoll.isolation.iova.conflicts import ConflictKind
from atoll.isolation.iova.layout import GIBIBYTE, Cpu, Guest
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.ranges import Ranges
from atoll.isolation.iova.survey import ClusterIova, survey

_CAPTURES = sorted((Path(__file__).parents[1] / "data" / "kernel-captures").glob("*.tar.xz"))
MSI = ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi")
HT = ReservedRegion(0xFD00000000, 0xFFFFFFFFFF, "reserved")
INTEL_48 = IommuUnit("unit0", "intel", (("cap", "d2078c106f0466"), ("ecap", "f020df")))
INTEL_39 = IommuUnit("unit1", "intel", (("cap", "d2008c22260206"), ("ecap", "f00f4a")))
AMD_64 = IommuUnit("unit0", "amd", (("features", "29d3:0"),))
CARD = "01:00.0"


def machine(
    *regions: ReservedRegion | Unknown,
    unit: IommuUnit = INTEL_48,
    platform: Platform = Platform.X86,
    command_line: str = "",
) -> Host:
    """A card below a root port that redirects, in group 1 with these reserved regions."""
    told = [region for region in regions if isinstance(region, ReservedRegion)]
    unknown = next((region for region in regions if isinstance(region, Unknown)), None)
    group = Group(1, (at(CARD),), reserved_regions=unknown or Known(tuple(told)))
    card = replace(function(CARD, "00:01.0"), group=Known(1), bars=Known(()))
    root = replace(port("00:01.0", 1), bars=Known(()))
    return host([root, card], recorded=(group,), units=(unit,), platform=platform, command_line=command_line)


def one(
    machine: Host, *, guest: Guest | None = None, handover: Handover = Handover.VFIO, card: str = CARD
) -> ClusterIova:
    clusters = Clusters((Cluster("red", (at(card),), handover),))
    polluter = Polluter(Topology(machine), present(machine), Policy.STRICT)
    return survey(polluter, clusters, guest)[0]


def usable(found: ClusterIova) -> list[tuple[int, int]]:
    return [(part.start, part.end) for part in found.usable]


def test_vfios_list_on_intel() -> None:
    found = one(machine(MSI))
    assert usable(found) == [(0, 0xFEDFFFFF), (0xFEF00000, 2**48 - 1)]
    assert not found.unknown
    assert not found.notes


def test_vfios_list_on_amd() -> None:
    found = one(machine(MSI, HT, unit=AMD_64))
    assert usable(found) == [(0, 0xFEDFFFFF), (0xFEF00000, 0xFCFFFFFFFF), (0x10000000000, 2**64 - 1)]


@pytest.mark.parametrize("capture", _CAPTURES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_what_real_kernels_reserve(capture: Path) -> None:
    real = read_host(str(capture))
    devices = [f.address for f in real.functions.values() if not f.is_port and value_of(f.iommu, None)]
    assert devices
    amd = "amd" in capture.name
    end = {"6.1": 2**39 - 1, "7.3": 2**48 - 1}[capture.name.split("-")[1]] if not amd else 2**64 - 1
    expected = [(0, 0xFEDFFFFF), (0xFEF00000, end)]
    if amd:
        expected = [(0, 0xFEDFFFFF), (0xFEF00000, 0xFCFFFFFFFF), (0x10000000000, end)]
    for device in devices:
        found = one(real, card=str(device))
        assert found.end == end
        claimed = Ranges.of(*(part for claim in found.claims for part in claim.ranges))
        assert not found.usable & claimed
        # What peers claim aside, it is the list that VFIO makes.
        assert found.usable | (claimed & Ranges.of(*expected)) == Ranges.of(*expected)
        assert not found.unassignable


@pytest.mark.parametrize(
    ("cap", "width"),
    [
        ("d2078c106f0466", 48),
        ("d2008c22260206", 39),
        ("80d2008c222f0606", 48),
        (f"{(56 << 16) | (0b1000 << 8):x}", 57),
        (f"{(45 << 16) | (0b0100 << 8):x}", 46),
        (f"{(47 << 16) | (0b1110 << 8):x}", 48),
    ],
)
def test_intels_width_is_the_lesser_of_the_two(cap: str, width: int) -> None:
    unit = IommuUnit("dmar0", "intel", (("cap", cap), ("ecap", "f020df")))
    assert unit_aperture(machine(), unit).end == 2**width - 1


def test_scalable_mode_may_halve_it() -> None:
    ecap = f"{1 << 43 | 1 << 46 | 1 << 47:x}"
    unit = IommuUnit("unit0", "intel", (("cap", "d2078c106f0466"), ("ecap", ecap)))
    found = one(machine(MSI, unit=unit))
    assert found.end == 2**47 - 1
    assert "first-stage" in found.notes[0]
    assert not found.unknown, "what is sure is enough for most guests"
    for words, bits in (
        ("intel_iommu=sm_off", 48),
        ("quiet intel_iommu=on,sm_off", 48),
        ("intel_iommu=on,sm_on,sm_off", 48),
        ("intel_iommu=sm_off intel_iommu=sm_on", 47),
        ("other=sm_off", 47),
    ):
        assert one(machine(MSI, unit=unit, command_line=words)).end == 2**bits - 1
    high = one(machine(MSI, unit=unit), guest=Guest(200 << 40))
    assert [conflict.kind for conflict in high.conflicts] == [ConflictKind.APERTURE]
    assert high.undecided
    assert not high.refuted


@pytest.mark.parametrize(
    ("sagaw", "five_levels", "second_stage", "bits"),
    [
        (0b1100, False, True, 47),
        (0b1100, True, True, 56),
        (0b0100, True, True, 47),
        (0b0000, False, False, 47),
        (0b0000, True, False, 56),
        (0b0010, True, True, None),
    ],
)
def test_in_scalable_mode_the_first_stages_widths_count(
    sagaw: int, five_levels: bool, second_stage: bool, bits: int | None
) -> None:
    cap = five_levels << 60 | 56 << 16 | sagaw << 8
    ecap = 1 << 43 | second_stage << 46 | 1 << 47
    unit = IommuUnit("unit0", "intel", (("cap", f"{cap:x}"), ("ecap", f"{ecap:x}")))
    assert unit_aperture(machine(), unit).end == (None if bits is None else 2**bits - 1)


@pytest.mark.parametrize(
    ("features", "end"),
    [("0:0", 48), ("400:0", 57), ("800:0", 64), ("c00:0", 47), ("what", 47), (None, 47), ("800", 64)],
)
def test_amds_levels(features: str | None, end: int) -> None:
    attributes = () if features is None else (("features", features),)
    found = unit_aperture(machine(), IommuUnit("ivhd0", "amd", attributes))
    assert found.end == 2**end - 1
    assert bool(found.more) is (end == 47)


@pytest.mark.parametrize(
    "unit",
    [
        IommuUnit("unit0", "intel"),
        IommuUnit("unit0", "intel", (("cap", "x"),)),
        IommuUnit("unit0", "intel", (("cap", "2f0000"),)),
        IommuUnit("unit0", "smmu"),
        IommuUnit("other", "intel", INTEL_48.attributes),
    ],
)
def test_an_aperture_that_was_not_read_is_not_guessed(unit: IommuUnit) -> None:
    found = one(machine(MSI, unit=unit), guest=Guest(GIBIBYTE))
    assert found.end is None
    assert found.unknown
    assert not found.conflicts
    assert usable(found) == []
    assert found.undecided
    assert not found.refuted


def test_two_units_intersect() -> None:
    plain = machine(MSI)
    second = replace(function("02:00.0", "00:02.0"), group=Known(1), iommu=Known("unit1"), bars=Known(()))
    both = host(
        [*plain.functions.values(), port("00:02.0", 2), second],
        recorded=tuple(value_of(plain.groups, {}).values()),
        units=(INTEL_48, INTEL_39),
    )
    clusters = Clusters((Cluster("red", (at(CARD), at("02:00.0"))),))
    found = survey(Polluter(Topology(both), present(both), Policy.STRICT), clusters)[0]
    assert found.end == 2**39 - 1
    assert one(both).end == 2**48 - 1


def test_powernv_windows_are_not_known() -> None:
    found = one(machine(platform=Platform.POWERNV))
    assert found.end is None
    assert "TCE" in found.unknown[0]


def test_direct_regions_forbid_to_assign() -> None:
    rmrr = ReservedRegion(0x7C000000, 0x7DFFFFFF, "direct")
    found = one(machine(MSI, rmrr))
    assert [u.device for u in found.unassignable] == [at(CARD)]
    assert "0x7c000000-0x7dffffff" in found.unassignable[0].because
    assert found.refuted
    assert not one(machine(MSI, rmrr), handover=Handover.KERNEL).refuted


@pytest.mark.parametrize(
    ("unit", "release", "sure"),
    [
        (INTEL_48, (6, 1), True),
        (AMD_64, (6, 6), True),
        (AMD_64, (6, 1), False),
        (AMD_64, None, False),
        (IommuUnit("unit0", "smmu"), (6, 1), False),
    ],
)
def test_older_kernels_give_away_what_has_a_unity_map(
    unit: IommuUnit, release: tuple[int, int] | None, sure: bool
) -> None:
    kernel = Unknown("not told") if release is None else Known(KernelRelease(*release, "{}.{}".format(*release)))
    made = replace(machine(MSI, ReservedRegion(0x7C000000, 0x7DFFFFFF, "direct"), unit=unit), kernel=kernel)
    found = one(made)
    assert bool(found.unassignable) is sure
    assert any("mapped one to one" in text for text in found.unknown) is not sure
    assert not [part for part in usable(found) if part[0] <= 0x7C000000 <= part[1]], "it is taken all the same"


def test_relaxable_regions_do_not() -> None:
    found = one(machine(MSI, ReservedRegion(0, 0xFFFFFF, "direct-relaxable")))
    assert not found.unassignable
    assert usable(found)[0] == (0, 0xFEDFFFFF)
    assert "direct-relaxable" in {region.type for region in found.regions}


def test_regions_that_were_not_recorded_are_expected_and_unknown() -> None:
    found = one(machine(Unknown("not captured"), unit=AMD_64))
    assert [(r.start, r.end, r.told) for r in found.regions] == [
        (MSI.start, MSI.end, False),
        (HT.start, HT.end, False),
    ]
    assert usable(found) == [(0, 0xFEDFFFFF), (0xFEF00000, 0xFCFFFFFFFF), (0x10000000000, 2**64 - 1)]
    assert found.undecided
    assert HT.start not in {r.start for r in one(machine(Unknown("not captured"))).regions}


def test_amds_hole_is_left_open_by_kernels_that_ask_all_iommus() -> None:
    newer = IommuUnit("unit0", "amd", (("features", "29d3:800"),))
    made = machine(Unknown("not captured"), unit=newer)

    def expected(release: tuple[int, int] | None, *units: IommuUnit) -> bool:
        kernel = Unknown("not read") if release is None else Known(KernelRelease(*release, ""))
        return HT.start in {r.start for r in one(replace(made, kernel=kernel, iommu_units=(newer, *units))).regions}

    assert not expected((6, 16))
    assert expected((6, 15))
    assert expected(None)
    assert expected((6, 16), AMD_64._replace(name="unit1"))


def test_without_an_iommu_nothing_can_be_assigned() -> None:
    bare = replace(machine(), groups=Known({}), iommu_units=())
    found = one(bare, guest=Guest(GIBIBYTE))
    assert "no IOMMU" in found.unassignable[0].because
    assert found.refuted


def test_amds_hole_and_what_avoids_it() -> None:
    big = Guest(1020 * GIBIBYTE, version=(7, 0), cpu=Cpu.AMD)
    found = one(machine(MSI, HT, unit=AMD_64), guest=big)
    (conflict,) = found.conflicts
    assert (conflict.range.start, conflict.range.end) == (HT.start, 1022 * GIBIBYTE - 1)
    assert conflict.kind is ConflictKind.RESERVED
    assert [remedy.how for remedy in conflict.remedies] == ["-machine pc-q35-7.1 or newer; with phys-bits=42 or more"]
    assert found.refuted
    assert not one(machine(MSI, HT, unit=AMD_64), guest=replace(big, version=(7, 1))).conflicts
    other = one(machine(MSI, HT, unit=AMD_64), guest=replace(big, version=None, cpu=Cpu.INTEL))
    assert ["AMD model" in remedy.how for remedy in other.conflicts[0].remedies] == [True]


def test_memory_beyond_the_aperture() -> None:
    narrow = INTEL_39._replace(name="unit0")
    found = one(machine(MSI, unit=narrow), guest=Guest(600 * GIBIBYTE))
    (conflict,) = found.conflicts
    assert (conflict.kind, conflict.range.start) == (ConflictKind.APERTURE, 2**39)
    assert conflict.remedies[0].how == "-m 510G"
    assert not one(machine(MSI, unit=narrow), guest=Guest(510 * GIBIBYTE)).conflicts


def test_x86_memory_never_meets_the_interrupt_window() -> None:
    for gib in (1, 2, 3, 4, 64, 500):
        assert not one(machine(MSI), guest=Guest(gib * GIBIBYTE)).conflicts


def test_in_no_iommu_mode_nothing_can_be_assigned() -> None:
    host = machine(MSI)
    assert isinstance(host.groups, Known)
    unsafe = {n: replace(group, name="vfio-noiommu") for n, group in host.groups.value.items()}
    found = one(replace(host, groups=Known(unsafe)))
    assert "vfio-noiommu" in found.unassignable[0].because
    assert found.refuted


@pytest.mark.parametrize(
    ("ids", "possible", "expected"),
    [
        ((0x1022, 0x1451), (), True),
        ((0xFFFF, 0xFFFF), ((0x1022, None),), True),
        ((0xFFFF, 0xFFFF), ((0x1022, None), (0x1AF4, 0x1057)), False),
        ((0x1AF4, 0x1057), (), False),
    ],
)
def test_amds_own_function_tells_of_its_hole(
    ids: tuple[int, int], possible: tuple[tuple[int | None, int | None], ...], expected: bool
) -> None:
    known = machine(Unknown("not read"))
    unit = replace(function("00:00.2", ids=ids, class_code=0x080600), possible_ids=possible, group=Known(None))
    functions = {
        unit.address: unit,
        **{a: replace(f, iommu=Unknown("not shown")) for a, f in known.functions.items()},
    }
    found = one(replace(known, functions=functions, iommu_units=()))
    assert (("reserved", False) in {(region.type, region.told) for region in found.regions}) is expected
