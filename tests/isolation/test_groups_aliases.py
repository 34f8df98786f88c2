"""Groups where Linux goes by device id: DMA aliases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from groups_hosts import ACS_ON, at, function, groups, host, port

from atoll.host.fact import Unknown
from atoll.host.model import Function, IommuUnit
from atoll.isolation.groups import Prediction, predict
from atoll.pci.header import PortType


@pytest.mark.parametrize("unread", [False, True])
def test_a_southbridges_pci_bridge_lends_its_id_also_where_its_type_was_not_read(unread: bool) -> None:
    sb = (0x1002, 0x4384)
    bridge = port("00:14.4", 1, None, PortType.CONVENTIONAL, acs=None, multifunction=True, ids=sb)
    other = function("00:14.0", None, PortType.CONVENTIONAL, ids=(0x1002, 0x4385), multifunction=True)
    if unread:
        bridge = replace(bridge, port_type=Unknown("cut to 64 bytes"))
    card = function("01:05.0", "00:14.4", PortType.CONVENTIONAL)
    found = predict(host([other, bridge, card], units=(IommuUnit("ivhd0", "amd"),)))
    if unread:
        assert [address for address, _ in found.undetermined] == [at("01:05.0")]
    else:
        assert found.groups == groups("00:14.0", "00:14.4 01:05.0")
        assert not found.undetermined


def _aliasing(ids: tuple[int, int], others: list[Function]) -> Prediction:
    return predict(host([port("00:01.0", 1), function("01:00.0", "00:01.0", ids=ids, acs=ACS_ON), *others]))


def test_function_aliases_merge_with_the_function_of_that_number() -> None:
    other = [function("01:00.1", "00:01.0", acs=ACS_ON)]
    assert _aliasing((0x1B4B, 0x9230), other).groups == groups("00:01.0", "01:00.0 01:00.1")
    # Also function 0: of itself, so nothing.
    assert _aliasing((0x1180, 0xE832), other).groups == groups("00:01.0", "01:00.0", "01:00.1")


def test_an_alias_whose_slot_was_not_read_leaves_open_what_comes_in_through_it() -> None:
    slot = [
        function("01:00.0", "00:01.0", multifunction=True),
        function("01:00.1", "00:01.0", multifunction=True, acs=ACS_ON),
        function("01:00.2", "00:01.0", multifunction=True, acs=Unknown("cut"), ids=(0x1B4B, 0x9230)),
    ]
    found = predict(host([port("00:01.0", 1), *slot]))
    assert at("01:00.1") in dict(found.undetermined)


def test_whole_bus_aliases_merge_the_bus() -> None:
    others = [function("01:03.0", "00:01.0"), function("01:04.0", "00:01.0")]
    assert _aliasing((0x10B5, 0x87B0), others).groups == groups("00:01.0", "01:00.0 01:03.0 01:04.0")


def test_vca_aliases_leave_high_functions_out() -> None:
    others = [function("01:03.4", "00:01.0", acs=ACS_ON), function("01:03.6", "00:01.0", acs=ACS_ON)]
    assert _aliasing((0x8086, 0x2954), others).groups == groups("00:01.0", "01:00.0 01:03.4", "01:03.6")


def test_fixed_alias_needs_the_subsystem() -> None:
    def found(subsystem: tuple[int, int]) -> int:
        card = function("05:0e.0", ids=(0x9005, 0x0285), subsystem=subsystem)
        return len(predict(host([card, function("05:01.0")])).groups)

    assert found((0x9005, 0x02BB)) == 1
    assert found((0x9005, 0x0001)) == 2


def test_switchtec_tables_are_open() -> None:
    ntb = function("01:00.1", "00:01.0", ids=(0x11F8, 0x8531), class_code=0x068000, acs=ACS_ON)
    found = _aliasing((0x1AF4, 0x1000), [ntb])
    assert {address for address, _ in found.undetermined} == {at("01:00.0"), at("01:00.1")}


def test_aspeed_bridge_does_not_alias_yet_its_bus_is_not_isolated() -> None:
    members = [
        port("00:01.0", 1),
        port("01:00.0", 2, "00:01.0", PortType.PCIE_TO_PCI, acs=None, ids=(0x1A03, 0x1150)),
        function("02:00.0", "01:00.0", PortType.CONVENTIONAL),
    ]
    found = predict(host(members))
    assert found.groups == groups("00:01.0", "01:00.0 02:00.0")
    assert not any("alias" in why for why in found.reasons[at("02:00.0")])


def test_aliases_stop_at_a_bridge_where_the_iommu_sits() -> None:
    members = [
        port("00:00.0", 1, None, PortType.PCI_TO_PCIE, acs=None, ids=(0x14E4, 0x9084)),
        port("01:00.0", 2, "00:00.0"),
        function("02:00.0", "01:00.0"),
    ]
    # The walk of isolation goes on past it and fails there.
    assert predict(host(members)).groups == groups("00:00.0 01:00.0 02:00.0")


@pytest.mark.parametrize(
    ("ids", "since", "before"),
    [
        ((0x1B4B, 0x9125), (5, 18), (5, 4)),  # Marvell, of function 1
        ((0x1B4B, 0x9235), (6, 6), (5, 15)),
        ((0x6766, 0x3D40), (6, 12), (6, 11)),  # Glenfly, of function 0
    ],
)
def test_aliases_added_later_are_open_on_older_kernels(
    ids: tuple[int, int], since: tuple[int, int], before: tuple[int, int]
) -> None:
    # ACS keeps the slot's functions apart but for their ids.
    card = [port("00:01.0", 1), *(function(f"01:00.{n}", "00:01.0", acs=ACS_ON, ids=ids) for n in (0, 1))]
    new = predict(host(card, kernel=since))
    assert new.groups == groups("00:01.0", "01:00.0 01:00.1")
    assert not new.undetermined
    for kernel in (before, None):
        old = predict(host(card, kernel=kernel))
        assert old.groups == new.groups
        ((address, why),) = old.undetermined
        assert address == at("01:00.1")
        assert "has the quirk of its DMA alias" in why
    # Those of long standing are certain on any kernel.
    known = [replace(f, vendor=0x1B4B, device=0x9120) if f.address != at("00:01.0") else f for f in card]
    assert not predict(host(known, kernel=None)).undetermined
