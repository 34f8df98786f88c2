"""Requester ids that functions share: behind conventional bridges and VMDs, and by aliases of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from reach_hosts import CLOSED, OFF, Scene, at, endpoint, machine, port, scene, slots

from atoll.fabric.answer import Answer, Finding
from atoll.host.fact import Known, Unknown
from atoll.host.model import Function, Platform
from atoll.isolation.contacts.impersonation import impersonations
from atoll.isolation.identity import Identities, alias_ids
from atoll.pci.acs import Acs
from atoll.pci.bridge import Bridge
from atoll.pci.header import PortType

DIRECT, POSSIBLE, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.BLOCKED
SECONDARY = Bridge(2, 2)


def shared(found: Scene, one: str, other: str) -> Finding:
    return Identities(found.topology, found.settings).shared(at(one), at(other))


def conventional(root: Acs | None, *, secondary: Bridge | Unknown = SECONDARY) -> Scene:
    bridge = port("01:00.0", 2, "00:01.0", PortType.PCIE_TO_PCI, acs=None)
    functions = [
        port("00:01.0", 1, acs=root),
        replace(bridge, bridge=secondary if isinstance(secondary, Unknown) else Known(secondary)),
        *(endpoint(f"02:0{n}.0", "01:00.0", port_type=PortType.CONVENTIONAL) for n in range(2)),
        port("00:03.0", 3),
        endpoint("03:00.0", "00:03.0"),
    ]
    return scene(machine(*functions))


@pytest.mark.parametrize("kind", [PortType.PCIE_TO_PCI, PortType.CONVENTIONAL])
def test_whether_ids_are_sent_behind_a_pci_bridge_is_open(kind: PortType) -> None:
    """PCI has none, PCI-X has; ASM1083, which makes PCI of PCI Express, has no PCI Express capability."""
    host = conventional(OFF).host
    bridge = replace(host.functions[at("01:00.0")], port_type=Known(kind))
    found = scene(replace(host, functions={**host.functions, bridge.address: bridge}))
    assert shared(found, "02:00.0", "03:00.0").answer is POSSIBLE


def test_what_stands_behind_a_pci_bridge_shares_its_id() -> None:
    found = conventional(CLOSED)
    assert shared(found, "02:00.0", "02:01.0").answer is DIRECT
    assert shared(found, "02:00.0", "03:00.0").answer is BLOCKED
    assert (0, 0x0200) in alias_ids(found.topology, at("02:00.0"), {})
    unread = conventional(CLOSED, secondary=Unknown("cut"))
    assert shared(unread, "02:00.0", "02:01.0").answer is DIRECT


def test_a_pci_bridge_puts_its_own_id_on_requests() -> None:
    """Unless its bus is PCI-X, which is not read: so nothing is refuted, and nothing proven."""
    assert shared(conventional(OFF), "02:00.0", "03:00.0").answer is POSSIBLE


def test_behind_a_conventional_bridge_on_the_root_bus() -> None:
    functions = [
        port("00:1e.0", 1, None, PortType.CONVENTIONAL, acs=None),
        *(endpoint(f"01:0{n}.0", "00:1e.0", port_type=PortType.CONVENTIONAL) for n in range(2)),
        *slots(None, CLOSED)[2:],
    ]
    found = scene(machine(*functions))
    assert shared(found, "01:00.0", "01:01.0").answer is DIRECT
    assert shared(found, "01:00.0", "02:00.0").answer is BLOCKED


def test_known_aliases_of_devices() -> None:
    """Marvell's controllers also send as function 1 (drivers/pci/quirks.c ``quirk_dma_func1_alias``)."""
    pair = [endpoint("01:00.0", "00:01.0", ids=(0x1B4B, 0x9172)), endpoint("01:00.1", "00:01.0", ids=(0x1B4B, 0x91A4))]
    found = scene(machine(port("00:01.0", 1), *pair))
    assert shared(found, "01:00.0", "01:00.1").answer is DIRECT
    assert shared(found, "01:00.1", "01:00.0").answer is DIRECT


def vmd(*devices: str) -> list[Function]:
    return [endpoint(place, port_type=PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D)) for place in devices]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"possible_ids": ((0x1B4B, None),)}, POSSIBLE),  # some Marvell: perhaps one that uses function 1's id too
        ({"possible_ids": ((0x1AF4, None),)}, BLOCKED),
        ({"vendor": 0x11F8, "device": 0x8531, "class_code": 0x068000}, POSSIBLE),  # Switchtec: its table is not shown
        ({"vendor": 0x11F8, "device": 0x8531, "class_code": 0x058000}, BLOCKED),
    ],
)
def test_aliases_that_nothing_tells_are_possible(change: dict[str, Any], expected: Answer) -> None:
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, acs=CLOSED) for n in range(2)]
    other = endpoint("02:00.1", "00:02.0")
    functions = [port("00:01.0", 1), replace(pair[0], **change), pair[1], port("00:02.0", 2), other]
    found = scene(machine(*functions))
    assert shared(found, "01:00.0", "01:00.1").answer is expected
    assert shared(found, "01:00.1", "01:00.0").answer is expected
    assert shared(found, "01:00.0", "02:00.1").answer is BLOCKED, "on another bus"
    told = {(c.sources, c.targets) for c in impersonations(found.reach(), POSSIBLE)}
    ends = ((at("01:00.0"),), (at("01:00.1"),))
    assert told == ({ends, ends[::-1]} if expected is POSSIBLE else set())


def test_behind_a_vmd_all_share_its_id() -> None:
    behind = [
        port("10000:00:02.0", 1),
        endpoint("10000:01:00.0", "10000:00:02.0"),
        port("10000:00:03.0", 2),
        endpoint("10000:02:00.0", "10000:00:03.0"),
    ]
    found = scene(machine(*vmd("00:0e.0"), *behind))
    one = shared(found, "10000:01:00.0", "10000:02:00.0")
    assert one.answer is DIRECT
    assert one.path[0].because == "both send the same id: that of the VMD 0000:00:0e.0"
    assert shared(found, "10000:01:00.0", "0000:00:0e.0").answer is DIRECT
    arm = scene(machine(*behind, platform=Platform.ARM))
    assert shared(arm, "10000:01:00.0", "10000:02:00.0").answer is BLOCKED


def test_behind_a_vmd_that_the_record_does_not_show_all_share_its_id_too() -> None:
    behind = [
        port("10000:00:02.0", 1),
        endpoint("10000:01:00.0", "10000:00:02.0"),
        port("10000:00:03.0", 2),
        endpoint("10000:02:00.0", "10000:00:03.0"),
    ]
    found = scene(machine(*behind, endpoint("00:02.0")))
    assert shared(found, "10000:01:00.0", "10000:02:00.0").answer is DIRECT
    assert shared(found, "10000:01:00.0", "00:02.0").answer is not DIRECT
    newer = endpoint("00:0e.0", port_type=PortType.ROOT_INTEGRATED, ids=(0x8086, 0xFFF0), class_code=0x010400)
    found = scene(machine(*behind, newer))
    assert shared(found, "10000:01:00.0", "0000:00:0e.0").answer is DIRECT


def test_behind_another_vmd_is_another_id() -> None:
    behind = [
        replace(endpoint("10000:01:00.0"), behind=at("00:0e.0")),
        replace(endpoint("10001:01:00.0"), behind=at("20:05.5")),
        replace(endpoint("10001:02:00.0"), behind=at("20:05.5")),
    ]
    found = scene(machine(*vmd("00:0e.0", "20:05.5"), *behind))
    assert shared(found, "10000:01:00.0", "10001:01:00.0").answer is BLOCKED
    assert shared(found, "10001:01:00.0", "10001:02:00.0").answer is DIRECT
    assert shared(found, "10001:01:00.0", "20:05.5").answer is DIRECT
    assert shared(found, "10001:01:00.0", "00:0e.0").answer is BLOCKED


def test_functions_behind_a_bridge_back_to_pci_express_share_its_id() -> None:
    """``pci_for_each_dma_alias``: PCI_EXP_TYPE_PCIE_BRIDGE."""
    pair = [endpoint(f"01:00.{n}", "00:03.0", multifunction=True, acs=CLOSED) for n in range(2)]
    found = scene(machine(port("00:03.0", 1, None, PortType.PCI_TO_PCIE, acs=None), *pair))
    assert shared(found, "01:00.0", "01:00.1").answer is DIRECT
