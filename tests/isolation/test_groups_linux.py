"""Groups by ``pci_device_group()`` on handmade hosts: each rule, and what stays open."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import FrameType

import pytest
from groups_hosts import ACS_OFF, ACS_ON, EMPTY_ACS, at, function, groups, host, pair, port

from atoll.host.fact import Known, Unknown
from atoll.host.model import Function, Group, Host, Platform
from atoll.isolation.groups import predict
from atoll.pci.acs import REDIRECTING, Acs, AcsFlag
from atoll.pci.header import PortType


def test_endpoint_below_isolating_port_is_alone() -> None:
    assert predict(host(pair(ACS_ON))).groups == groups("00:01.0", "01:00.0")


@pytest.mark.parametrize("acs", [None, ACS_OFF])
def test_endpoint_below_other_port_joins_it(acs: Acs | None) -> None:
    found = predict(host(pair(acs)))
    assert found.groups == groups("00:01.0 01:00.0")
    assert not found.undetermined
    (why,) = found.reasons[at("01:00.0")]
    assert "0000:00:01.0" in why
    assert "pci_device_group" in why


def test_each_missing_bit_is_named() -> None:
    acs = Acs(ACS_ON.capability, AcsFlag.SV | AcsFlag.UF, 0x148, 0x14E)
    (why,) = predict(host(pair(acs))).reasons[at("01:00.0")]
    assert "ReqRedir- CmpltRedir-" in why
    assert "SrcValid-" not in why


def test_bits_that_the_capability_lacks_count_as_on() -> None:
    acs = Acs(AcsFlag.SV | AcsFlag.RR, AcsFlag.SV | AcsFlag.RR, 0x148, 0x14E)
    assert predict(host(pair(acs))).groups == groups("00:01.0", "01:00.0")
    assert predict(host(pair(EMPTY_ACS))).groups == groups("00:01.0", "01:00.0")


def test_control_words_of_a_plan_stand_in_for_those_recorded() -> None:
    plain = host(pair(ACS_OFF))
    assert predict(plain, acs_control={at("00:01.0"): REDIRECTING}).groups == groups("00:01.0", "01:00.0")
    isolating = host(pair(ACS_ON))
    assert predict(isolating, acs_control={at("00:01.0"): AcsFlag.SV}).groups == groups("00:01.0 01:00.0")


def _switch(*, root: Acs | None, down: Acs | None, slots: bool) -> list[Function]:
    places = ("02:00.0", "02:01.0") if slots else ("02:00.0", "02:00.1")
    return [
        port("00:01.0", 1, acs=root),
        port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None),
        port(places[0], 3, "01:00.0", PortType.DOWNSTREAM, acs=down, multifunction=not slots),
        port(places[1], 4, "01:00.0", PortType.DOWNSTREAM, acs=down, multifunction=not slots),
        function("03:00.0", places[0]),
        function("04:00.0", places[1]),
    ]


def test_downstream_ports_in_separate_slots_are_not_merged() -> None:
    # Known to be wrong about the hardware, and what the kernel does (kernel thread "Fix incorrect iommu_groups").
    found = predict(host(_switch(root=ACS_ON, down=ACS_OFF, slots=True)))
    assert found.groups == groups("00:01.0", "01:00.0", "02:00.0 03:00.0", "02:01.0 04:00.0")


def test_downstream_ports_in_one_slot_are_merged() -> None:
    found = predict(host(_switch(root=ACS_ON, down=ACS_OFF, slots=False)))
    assert found.groups == groups("00:01.0", "01:00.0", "02:00.0 02:00.1 03:00.0 04:00.0")
    assert any("get_pci_function_alias_group" in why for why in found.reasons[at("02:00.1")])


def test_a_port_high_up_merges_all_below() -> None:
    found = predict(host(_switch(root=None, down=ACS_ON, slots=True)))
    assert len(found.groups) == 1


def test_functions_of_one_slot_merge_unless_they_isolate() -> None:
    def slot(acs: Acs | None) -> tuple[int, ...]:
        members = [function(f"00:03.{n}", acs=acs, multifunction=n == 0) for n in range(3)]
        return tuple(len(group) for group in predict(host(members)).groups)

    assert slot(None) == (3,)
    assert slot(ACS_ON) == (1, 1, 1)
    assert slot(EMPTY_ACS) == (1, 1, 1)


def test_one_isolating_function_stays_out_of_its_slot() -> None:
    members = [
        function("00:03.0", acs=None, multifunction=True),
        function("00:03.1", acs=ACS_ON, multifunction=True),
        function("00:03.2", acs=None, multifunction=True),
    ]
    assert predict(host(members)).groups == groups("00:03.0 00:03.2", "00:03.1")


@pytest.mark.parametrize(
    ("bridge", "below"), [(PortType.PCIE_TO_PCI, PortType.CONVENTIONAL), (PortType.CONVENTIONAL, PortType.CONVENTIONAL)]
)
def test_everything_below_an_aliasing_bridge_joins_it(bridge: PortType, below: PortType) -> None:
    members = [
        port("00:01.0", 1),
        port("01:00.0", 2, "00:01.0", bridge, acs=None),
        function("02:00.0", "01:00.0", below),
        function("02:01.0", "01:00.0", below),
    ]
    found = predict(host(members))
    assert found.groups == groups("00:01.0", "01:00.0 02:00.0 02:01.0")
    assert any("pci_for_each_dma_alias" in why for why in found.reasons[at("02:00.0")])


def test_virtual_functions_are_alone_below_an_isolating_port() -> None:
    members = [
        port("00:01.0", 1),
        function("01:00.0", "00:01.0", acs=None, multifunction=True, ari=True),
        function("01:00.1", "00:01.0", acs=None, multifunction=True, ari=True),
        *(function(f"01:00.{n}", "00:01.0", physical="01:00.0", ari=True) for n in range(2, 5)),
        function("02:00.0", "00:01.0", physical="01:00.1"),
    ]
    found = predict(host(members))
    assert found.groups == groups("00:01.0", "01:00.0 01:00.1", "01:00.2", "01:00.3", "01:00.4", "02:00.0")


def test_virtual_functions_join_a_port_that_does_not_isolate() -> None:
    members = [
        port("00:01.0", 1, acs=None),
        function("01:00.0", "00:01.0"),
        function("02:00.0", "00:01.0", physical="01:00.0"),
    ]
    assert predict(host(members)).groups == groups("00:01.0 01:00.0 02:00.0")


def test_functions_behind_a_vmd_join_it() -> None:
    members = [
        function("00:0e.0", None, PortType.ROOT_INTEGRATED, ids=(0x8086, 0x467F), class_code=0x010400),
        port("10000:e0:1d.0", 0xE1),
        function("10000:e1:00.0", "10000:e0:1d.0"),
    ]
    found = predict(host(members))
    assert found.groups == groups("00:0e.0 10000:e0:1d.0 10000:e1:00.0")
    assert not found.undetermined


def test_a_vmd_newer_than_the_list_is_taken_for_one_and_said_to_be_open() -> None:
    new = function("00:0e.0", None, PortType.ROOT_INTEGRATED, ids=(0x8086, 0xFFF0), class_code=0x010400)
    behind = [port("10000:e0:1d.0", 0xE1), function("10000:e1:00.0", "10000:e0:1d.0")]
    found = predict(host([new, *behind]))
    assert found.groups == groups("00:0e.0 10000:e0:1d.0 10000:e1:00.0")
    assert dict(found.undetermined)[at("10000:e1:00.0")].startswith("10000:e1:00.0: whether 0000:00:0e.0 is the VMD")
    by_driver = predict(host([replace(new, driver=Known("vmd")), *behind]))
    assert by_driver.groups == found.groups
    assert not by_driver.undetermined


def test_behind_a_vmd_that_the_record_does_not_show_groups_are_open() -> None:
    found = predict(host([port("10000:e0:1d.0", 0xE1), function("10000:e1:00.0", "10000:e0:1d.0")]))
    assert {address for address, _ in found.undetermined} == {at("10000:e0:1d.0"), at("10000:e1:00.0")}


def test_all_of_a_segment_is_together_though_its_vmd_is_not_shown() -> None:
    """Each VMD makes a segment of its own (``vmd_enable_domain``), and all in it send with its id."""
    disks = [function("10000:e1:00.0", None), function("10000:e2:00.0", None), function("10001:e1:00.0", None)]
    found = predict(host([port("10000:e0:1d.0", 0xFF), *disks]))
    assert found.groups == groups("10000:e0:1d.0 10000:e1:00.0 10000:e2:00.0", "10001:e1:00.0")
    elsewhere = replace(host(disks), platform=Platform.ARM)
    assert predict(elsewhere).groups == groups("10000:e1:00.0", "10000:e2:00.0", "10001:e1:00.0")


def test_what_may_be_a_virtual_function_may_be_multifunction() -> None:
    members = [
        port("00:01.0", 1),
        function("01:00.0", "00:01.0"),
        *(replace(function(f"01:10.{n}", "00:01.0", multifunction=None), perhaps_virtual=True) for n in (0, 2)),
    ]
    found = predict(host(members))
    assert {address for address, _ in found.undetermined} == {at("01:10.0"), at("01:10.2")}


def test_behind_which_of_two_vmds_is_open() -> None:
    members = [
        function("00:0e.0", None, PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D)),
        function("20:05.5", None, PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D)),
        port("10000:00:00.0", 1),
    ]
    assert [address for address, _ in predict(host(members)).undetermined] == [at("10000:00:00.0")]


def test_the_place_in_sysfs_tells_behind_which() -> None:
    members = [
        function("00:0e.0", None, PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D)),
        function("20:05.5", None, PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D)),
        replace(port("10000:00:00.0", 1), behind=at("20:05.5")),
        replace(function("10000:01:00.0", "10000:00:00.0"), behind=at("20:05.5")),
        replace(port("10001:00:00.0", 1), behind=at("00:0e.0")),
    ]
    found = predict(host(members))
    assert found.groups == groups("00:0e.0 10001:00:00.0", "20:05.5 10000:00:00.0 10000:01:00.0")
    assert not found.undetermined


def test_ids_that_may_be_those_of_a_quirk() -> None:
    """A Marvell controller of which only the maker is told may use function 1's id, if there is a function 1."""
    unread = replace(function("02:00.0", ids=(0xFFFF, 0xFFFF)), possible_ids=((0x1B4B, None),))
    beside = function("02:00.1", multifunction=True, acs=ACS_ON)
    found = predict(host([unread, beside]))
    assert {address for address, _ in found.undetermined} == {at("02:00.0"), at("02:00.1")}
    assert not predict(host([unread])).undetermined
    other = replace(unread, possible_ids=((0x1AF4, None),))
    assert not any("requester ids" in why for _, why in predict(host([other, beside])).undetermined)
    adaptec = function("02:00.0", ids=(0x9005, 0x0285))
    assert predict(host([adaptec, function("02:01.0")])).undetermined, "its subsystem was not read"
    told = replace(adaptec, subsystem=Known((0x9005, 0x0001)))
    assert not predict(host([told, function("02:01.0")])).undetermined


def test_unread_acs_leaves_what_is_below_open() -> None:
    found = predict(host(pair(Unknown("cut to 256 bytes"))))
    assert [address for address, _ in found.undetermined] == [at("01:00.0")]
    assert "cut to 256 bytes" in found.undetermined[0][1]


@pytest.mark.parametrize("line", ["pci=nommconf", "pci=noats,nommconf"])
def test_told_to_use_short_configuration_space_a_kernel_finds_no_acs(line: str) -> None:
    unread = Unknown("configuration space ends at 256 bytes")
    found = predict(host(pair(unread), command_line=line))
    assert found.groups == groups("00:01.0 01:00.0")
    assert found.undetermined, "it is a guess still"
    assert predict(host(pair(unread), command_line="pci=noats")).groups == groups("00:01.0", "01:00.0")
    assert predict(host(pair(ACS_ON), command_line=line)).groups == groups("00:01.0", "01:00.0")


def test_a_plan_settles_unread_acs() -> None:
    found = predict(host(pair(Unknown("cut"))), acs_control={at("00:01.0"): REDIRECTING})
    assert found.groups == groups("00:01.0", "01:00.0")
    assert not found.undetermined


def test_a_certain_failure_needs_no_other_fact() -> None:
    members = [
        port("00:01.0", 1, acs=None),
        port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None, multifunction=None),
        port("02:00.0", 3, "01:00.0", PortType.DOWNSTREAM, acs=Unknown("cut")),
        function("03:00.0", "02:00.0"),
    ]
    found = predict(host(members))
    assert len(found.groups) == 1
    assert not found.undetermined


def test_what_joins_an_open_function_is_open_too() -> None:
    members = [
        port("00:01.0", 1, acs=Unknown("cut")),
        port("01:00.0", 2, "00:01.0", PortType.PCIE_TO_PCI, acs=None),
        function("02:00.0", "01:00.0", PortType.CONVENTIONAL),
    ]
    assert [address for address, _ in predict(host(members)).undetermined] == [at("01:00.0"), at("02:00.0")]


def test_unread_types_are_open() -> None:
    members = [
        port("00:01.0", 1, port_type=None, acs=Unknown("cut")),
        function("01:00.0", "00:01.0", None, acs=Unknown("cut")),
        function("00:03.0", None, None, acs=Unknown("cut")),
    ]
    found = predict(host(members))
    # A lone function on a root bus has its own group whatever it is.
    assert [address for address, _ in found.undetermined] == [at("01:00.0")]


def test_a_group_is_open_as_a_whole_where_one_may_come_in() -> None:
    found = predict(host([*pair(Unknown("cut to 64 bytes")), function("00:04.0")]))
    assert [address for address, _ in found.undetermined] == [at("01:00.0")]
    assert list(found.company) == [at("00:01.0")]
    assert "whether 0000:01:00.0 is in its group" in found.open_about(at("00:01.0"))
    assert not found.open_about(at("00:04.0"))


def _many(domains: int) -> Host:
    """Return 100 functions in each domain: a root port, with ACS or not, and a device with 98 virtual functions."""
    members: list[Function] = []
    for domain in range(domains):
        root = f"{domain:04x}:00:01.0"
        members.append(port(root, 1, acs=ACS_ON if domain % 2 else None))
        members.append(function(f"{domain:04x}:01:00.0", root, multifunction=True))
        members += [
            function(f"{domain:04x}:01:{n >> 3:02x}.{n & 7}", root, physical=f"{domain:04x}:01:00.0")
            for n in range(1, 99)
        ]
    return host(members)


def _calls(machine: Host) -> int:
    """Return how many calls of Python's functions a prediction takes: on a busy machine as many as on an idle one."""
    called = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal called
        called += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        predict(machine)
    finally:
        sys.setprofile(before)
    return called


def test_prediction_grows_in_proportion() -> None:
    few, many = _many(10), _many(100)
    assert len(many.functions) == 10 * len(few.functions) == 10_000
    assert _calls(many) < 11 * _calls(few)


def test_a_group_that_only_an_open_function_changes_is_open_too() -> None:
    members = [port("00:01.0", 1, acs=Unknown("cut")), function("01:00.0", "00:01.0"), port("00:02.0", 2)]
    recorded = (Group(0, (at("00:01.0"), at("01:00.0"))), Group(1, (at("00:02.0"),)))
    found = predict(host(members, recorded=recorded))
    assert found.groups == groups("00:01.0", "00:02.0", "01:00.0")
    assert dict(found.undetermined)[at("00:01.0")].startswith("whether 0000:01:00.0 is in its group: ")
    assert at("00:02.0") not in dict(found.undetermined)
    # A difference between functions of which nothing is open stays one.
    recorded = (Group(0, (at("00:01.0"), at("00:02.0"))), Group(1, (at("01:00.0"),)))
    assert at("00:02.0") not in dict(predict(host(members, recorded=recorded)).undetermined)


def test_a_port_that_the_record_names_and_lacks_may_be_anything() -> None:
    functions = [function("02:00.0", "01:00.0"), port("03:00.0", 4, "01:00.0"), function("04:00.0", "03:00.0")]
    found = dict(predict(host(functions)).undetermined)
    assert set(found) == {f.address for f in functions}
    assert all("what stands above bus 0000:0" in why for why in found.values())


@pytest.mark.parametrize(("acs", "multifunction", "open_"), [(None, True, True), (ACS_ON, True, False)])
def test_a_function_that_only_a_group_names_counts_for_its_mates(
    acs: Acs | None, multifunction: bool, open_: bool
) -> None:
    """Whether two functions of a device share a group rests on both."""
    mate = function("00:08.2", port_type=PortType.ENDPOINT, acs=acs, multifunction=multifunction)
    members = {10: Group(10, (at("00:08.2"),)), 11: Group(11, (at("00:08.3"),))}
    missing = dict(predict(replace(host([mate]), groups=Known(members))).undetermined)
    assert missing.get(at("00:08.2")) == ("0000:00:08.3, of the same device, was not read" if open_ else None)
