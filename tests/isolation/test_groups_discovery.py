"""Groups by discovery: whom an IOMMU serves, who is found first, and platforms with rules of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from groups_hosts import ACS_ON, EMPTY_ACS, at, function, groups, host, pair, port

from atoll.host.fact import Known, Unknown
from atoll.host.model import Group, IommuUnit, Platform
from atoll.isolation.groups import predict
from atoll.pci.header import PortType


def test_the_iommu_itself_has_no_group() -> None:
    members = [function("00:00.2", class_code=0x080600), function("00:03.0")]
    assert predict(host(members)).groups == groups("00:03.0")


def test_intels_event_collector_with_an_iommus_class_is_none() -> None:
    collector = function("00:0f.0", None, PortType.EVENT_COLLECTOR, ids=(0x8086, 0x1F16), class_code=0x080600)
    assert predict(host([collector, function("00:13.0")])).groups == groups("00:0f.0", "00:13.0")


def test_without_iommu_there_are_no_groups() -> None:
    members = [replace(f, iommu=Known(None)) for f in pair(ACS_ON)]
    assert predict(host(members, recorded=(), units=())).groups == ()


def test_recorded_groups_say_who_is_served_where_nothing_else_does() -> None:
    members = [replace(f, iommu=Unknown("not read"), group=Known(None)) for f in pair(ACS_ON)]
    recorded = (Group(7, (at("01:00.0"),)),)
    assert predict(host(members, recorded=recorded)).groups == groups("01:00.0")


def test_a_list_with_a_function_and_not_the_port_above_it_is_a_part_of_a_list() -> None:
    members = [replace(f, iommu=Unknown("not read"), group=Unknown("not listed")) for f in pair(ACS_ON)]
    prediction = predict(host(members, recorded=(Group(7, (at("01:00.0"),)),)))
    assert prediction.groups == groups("00:01.0", "01:00.0")
    assert at("00:01.0") in dict(prediction.undetermined)


def test_a_record_that_does_not_tell_of_iommus_leaves_all_open() -> None:
    members = [replace(f, iommu=Unknown("not read")) for f in pair(ACS_ON)]
    found = predict(host(members, units=()))
    assert found.groups == groups("00:01.0", "01:00.0")
    assert len(found.undetermined) == 2


def test_functions_found_one_by_one_do_not_see_those_to_come() -> None:
    isolating = [function(f"01:00.{n}", "00:01.0", acs=EMPTY_ACS, multifunction=True) for n in (0, 3)]
    # Its vendor's handler says no to this device, whatever its ACS says (pci_quirk_wangxun_nic_acs).
    other = function("01:00.1", "00:01.0", acs=ACS_ON, multifunction=True, ids=(0x8088, 0x0200))
    # This one uses the ids of the whole bus (quirk_plx_ntb_dma_alias).
    bridge = function("01:00.2", "00:01.0", multifunction=True, ids=(0x10B5, 0x87B0), class_code=0x068000)
    members = [port("00:01.0", 1), *isolating, other, bridge]
    together = "01:00.0 01:00.1 01:00.2 01:00.3"
    assert predict(host(members)).groups == groups("00:01.0", together), "at boot all are there"
    recorded = host(members, recorded=(Group(0, (at("00:01.0"),)), Group(1, tuple(map(at, together.split())))))
    anew = frozenset(map(at, together.split()))
    assert predict(recorded, anew=anew).groups == groups("00:01.0", "01:00.0 01:00.2 01:00.3", "01:00.1")
    assert predict(recorded, anew=anew - {at("01:00.2")}).groups == groups("00:01.0", together)
    # What stayed comes before what is found again, whatever its address.
    stayed = predict(recorded, anew=frozenset(map(at, ("01:00.0", "01:00.2"))))
    assert stayed.groups == groups("00:01.0", "01:00.0", "01:00.1 01:00.2 01:00.3")
    assert not stayed.undetermined


@pytest.mark.parametrize(
    ("unit", "kernel", "late"),
    [("virtio", (6, 12), True), ("smmu", (6, 14), True), ("virtio", (6, 15), False), ("intel", (6, 12), False)],
)
def test_where_groups_come_with_drivers_what_has_none_is_open(unit: str, kernel: tuple[int, int], late: bool) -> None:
    bound = replace(function("01:00.0", "00:01.0"), driver=Known("nvme"))
    taken = replace(function("02:00.0", "00:02.0"), driver=Known("vfio-pci"))
    bare = replace(function("03:00.0", "00:03.0"), driver=Known(None))
    mates = [
        replace(function(f"04:00.{n}", "00:04.0", multifunction=True), driver=Known("nvme" if n else None))
        for n in (0, 1)
    ]
    ports = [port(f"00:0{n}.0", n) for n in (1, 2, 3, 4)]
    members = [*ports, bound, taken, bare, *mates]
    places = [f.address for f in members]
    recorded = tuple(Group(number, (place,)) for number, place in enumerate(places))
    told = host(members, recorded=recorded, units=(IommuUnit("unit0", unit),), kernel=kernel)
    found = predict(told, anew=frozenset(places[4:]))
    assert (at("01:00.0"),) in found.groups
    assert (at("03:00.0"),) in found.groups, "where the driver that may come puts it"
    there = {address for address, _ in found.undetermined}
    assert there == (set(places[5:]) if late else set())
    assert all("a driver binds" in why for _, why in found.undetermined)
    assert not predict(told).undetermined, "at present all have theirs"


def test_of_what_stayed_the_record_does_not_tell_which_was_found_first() -> None:
    alone = [function(f"01:00.{n}", "00:01.0", acs=EMPTY_ACS, multifunction=True) for n in (0, 1)]
    bridge = function("01:00.2", "00:01.0", multifunction=True, ids=(0x10B5, 0x87B0), class_code=0x068000)
    groups_of = [(at("00:01.0"),), (at("01:00.0"), at("01:00.2")), (at("01:00.1"),)]
    recorded = tuple(Group(number, members) for number, members in enumerate(groups_of))
    found = predict(host([port("00:01.0", 1), *alone, bridge], recorded=recorded), anew=frozenset((at("01:00.2"),)))
    assert found.groups == groups("00:01.0", "01:00.0 01:00.2", "01:00.1")
    assert [address for address, _ in found.undetermined] == [at("01:00.2")]
    assert "found 0000:01:00.0 or 0000:01:00.1 first" in found.undetermined[0][1]


def test_s390_gives_each_function_a_group() -> None:
    found = predict(host(pair(None), units=(IommuUnit("s390-iommu.1", "s390"),)))
    assert found.groups == groups("00:01.0", "01:00.0")


def test_without_groups_a_missing_link_to_an_iommu_tells_nothing() -> None:
    recorded = host(pair(ACS_ON))
    bare = replace(
        recorded,
        functions={a: replace(f, iommu=Known(None, "no link")) for a, f in recorded.functions.items()},
        groups=Unknown("not captured"),
        iommu_units=(),
    )
    found = predict(bare)
    assert found.groups == groups("00:01.0", "01:00.0")
    assert all("whether an IOMMU serves it" in why for _, why in found.undetermined)


def test_groups_that_vfio_made_up_follow_no_rule_of_pci() -> None:
    """``vfio_noiommu_group_alloc`` (drivers/vfio/group.c): one for each function, whatever its device is."""
    device = [function(f"00:02.{n}", None, PortType.ROOT_INTEGRATED, multifunction=True) for n in (0, 1)]
    bare = [replace(f, iommu=Known(None), group=Known(n)) for n, f in enumerate(device)]
    formed = tuple(Group(n, (f.address,)) for n, f in enumerate(device))
    assert predict(host(bare, recorded=formed)).groups == groups("00:02.0 00:02.1")
    unsafe = host(bare, recorded=tuple(replace(group, name="vfio-noiommu") for group in formed), units=())
    found = predict(unsafe)
    assert found.groups == groups("00:02.0", "00:02.1")
    assert not found.undetermined
    assert predict(unsafe, anew=frozenset({at("00:02.0")})).groups == found.groups


@pytest.mark.parametrize(
    ("platform", "unit", "told"),
    [
        (Platform.OTHER, None, False),
        (Platform.OTHER, IommuUnit("iommu-phb0000", "unknown"), False),
        (Platform.OTHER, IommuUnit("riscv-iommu@1000", "unknown"), True),
        (Platform.OTHER, IommuUnit("smmu3.0x1", "smmu"), True),
        (Platform.UNKNOWN, None, True),
    ],
)
def test_groups_of_a_platform_whose_rule_is_not_known_are_undetermined(
    platform: Platform, unit: IommuUnit | None, told: bool
) -> None:
    """POWER's logical partitions group by partitionable endpoint, and say nothing of it (kernel/iommu.c of powerpc)."""
    functions = [replace(f, group=Known(n)) for n, f in enumerate(pair(ACS_ON))]
    recorded = tuple(Group(n, (f.address,)) for n, f in enumerate(functions))
    found = predict(host(functions, recorded=recorded, units=() if unit is None else (unit,), platform=platform))
    assert {address for address, _ in found.undetermined} == (set() if told else {f.address for f in functions})
