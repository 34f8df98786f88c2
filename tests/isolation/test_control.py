"""Who has others in hand: physical functions, IOMMUs, switches, parts of the chipset."""

from __future__ import annotations

from dataclasses import replace

import pytest
from proofs import PROVEN, UNKNOWN, VIOLATED, proof, wrong
from reach_hosts import (
    CLOSED,
    acs,
    change,
    endpoint,
    machine,
    port,
    slots,
    switch,
)

from atoll.fabric.answer import Policy
from atoll.host.fact import Known, Unknown
from atoll.isolation.proof import Breach, Verdict
from atoll.pci.header import Command, PortType
from atoll.pci.sriov import Sriov


@pytest.mark.parametrize(
    ("class_code", "memory", "above", "verdict"),
    [
        (0x060000, False, None, UNKNOWN),  # a host bridge, AMD's data fabric
        (0x060100, False, None, UNKNOWN),  # LPC
        (0x0C8000, True, None, UNKNOWN),  # the controller of the firmware's flash memory
        (0x0C0500, False, None, UNKNOWN),  # the board's SMBus
        (0x0C0500, True, "00:01.0", PROVEN),
        (0x088000, False, None, UNKNOWN),  # of Intel's uncore
        (0x088000, True, None, PROVEN),  # DSA
        (0x0C0340, True, None, UNKNOWN),  # the host interface of USB4
        (0x0C0330, True, None, PROVEN),
        (0x040300, True, None, PROVEN),
        (0x060100, False, "00:01.0", PROVEN),  # on a card
    ],
)
def test_who_drives_the_chipset_may_set_up_what_others_reach(
    class_code: int, memory: bool, above: str | None, verdict: Verdict
) -> None:
    kind = PortType.ENDPOINT if above else PortType.ROOT_INTEGRATED
    place = "01:00.0" if above else "00:1f.0"
    one = endpoint(place, above, port_type=kind, class_code=class_code, memory=memory, command=Command.MEMORY)
    host = machine(port("00:01.0", 1), one, port("00:02.0", 2), endpoint("02:00.0", "00:02.0"))
    found = proof(host, Policy.TRUSTED, red=place)
    assert (found.verdict, wrong(found) == {(place, "memory:host", Breach.CONTROL)}) == (verdict, verdict is UNKNOWN)


@pytest.mark.parametrize(
    ("ids", "class_code", "above", "verdict"),
    [
        ((0x1A03, 0x2000), 0x030000, True, UNKNOWN),  # the VGA function of ASPEED's BMCs
        ((0x102B, 0x0536), 0x030000, True, UNKNOWN),  # that of iDRAC
        ((0x102B, 0x0520), 0x030000, True, PROVEN),  # a G200 on a card
        ((0x103C, 0x3306), 0x088000, True, UNKNOWN),  # iLO
        ((0x15B3, 0xC2D3), 0x080100, True, UNKNOWN),  # BlueField's management interface
        ((0x15B3, 0xA2D6), 0x020000, True, PROVEN),
        ((0x10EC, 0x816C), 0x0C0701, True, UNKNOWN),  # IPMI, whoever made it
        ((0x1022, 0x1486), 0x108000, True, UNKNOWN),  # AMD's secure processor
        ((0x1022, 0x1498), 0x108000, True, PROVEN),  # a DMA engine beside it
        ((0x1AF4, 0x1054), 0x108000, True, PROVEN),  # virtio's encryption
        ((0x8086, 0xA13A), 0x078000, False, UNKNOWN),  # the management engine
        ((0x1AF4, 0x1043), 0x078000, False, PROVEN),  # virtio's console
        ((0x144D, 0x1000), 0x050210, True, UNKNOWN),  # memory behind CXL
    ],
)
def test_who_drives_what_manages_the_machine_may_have_it_in_hand(
    ids: tuple[int, int], class_code: int, above: bool, verdict: Verdict
) -> None:
    kind = PortType.ENDPOINT if above else PortType.ROOT_INTEGRATED
    place = "01:00.0" if above else "00:16.0"
    one = endpoint(place, "00:01.0" if above else None, port_type=kind, ids=ids, class_code=class_code)
    ports = (port("00:01.0", 1, acs=CLOSED), port("00:02.0", 2, acs=CLOSED))
    host = machine(*ports, one, endpoint("02:00.0", "00:02.0"))
    found = proof(host, Policy.TRUSTED, red=place)
    assert (found.verdict, wrong(found) == {(place, "memory:host", Breach.CONTROL)}) == (verdict, verdict is UNKNOWN)
    # What the host has of these keeps no tenant from being proven apart.
    assert proof(host, Policy.TRUSTED, blue="02:00.0").verdict is PROVEN


@pytest.mark.parametrize(
    ("of", "class_code", "devices", "verdict"),
    [
        (0x102B, 0x030000, (0x0520, 0x0536), UNKNOWN),
        (0x102B, 0x030000, (0x0520, 0x0521), PROVEN),
        (0x1022, 0x108000, (0x1498, 0x1486), UNKNOWN),
        (0x1022, 0x108000, (0x1498, 0x1468), PROVEN),
    ],
)
def test_where_ids_are_hidden_any_of_them_may_manage_the_machine(
    of: int, class_code: int, devices: tuple[int, ...], verdict: Verdict
) -> None:
    hidden = endpoint("01:00.0", "00:01.0", ids=(0xFFFF, 0xFFFF), class_code=class_code)
    hidden = replace(hidden, possible_ids=tuple((of, device) for device in devices))
    ports = (port("00:01.0", 1, acs=CLOSED), port("00:02.0", 2, acs=CLOSED))
    host = machine(*ports, hidden, endpoint("02:00.0", "00:02.0"))
    assert proof(host, Policy.TRUSTED, red="01:00.0").verdict is verdict


def test_a_physical_function_has_its_virtual_functions_in_hand() -> None:
    """Whatever ACS says between them: its owner sets them up, resets them and takes them away."""
    physical = endpoint("01:00.0", "00:01.0", acs=CLOSED)
    virtual = [endpoint(f"01:00.{n}", "00:01.0", physical="01:00.0", memory=False) for n in (1, 2)]
    host = machine(port("00:01.0", 1), physical, *virtual)
    assert proof(host, red="01:00.1", blue="01:00.2").verdict is PROVEN
    for named in ({"red": "01:00.0", "blue": "01:00.1 01:00.2"}, {"red": "01:00.0 01:00.2"}):
        found = proof(host, Policy.TRUSTED, **named)
        assert found.verdict is VIOLATED
        assert ("01:00.0", "01:00.1", Breach.CONTROL) in wrong(found)
        assert not any(source != "01:00.0" for source, _, _ in wrong(found))
    assert proof(host, red="01:00.0 01:00.1 01:00.2").verdict is PROVEN


@pytest.mark.parametrize("sriov", [None, 2, Unknown("cut off")])
def test_what_may_be_a_virtual_function_may_be_in_hand(sriov: int | Unknown | None) -> None:
    capability = sriov if isinstance(sriov, Unknown) else Known(None if sriov is None else Sriov(sriov, sriov, 0x160))
    first = replace(endpoint("01:00.0", "00:01.0", acs=CLOSED, multifunction=True), sriov=capability)
    second = replace(endpoint("01:00.1", "00:01.0", acs=CLOSED, multifunction=True), perhaps_virtual=True)
    host = machine(port("00:01.0", 1), first, second)
    assert proof(host, red="01:00.1").verdict is PROVEN
    found = proof(host, red="01:00.0")
    assert found.verdict is (PROVEN if sriov is None else UNKNOWN)
    assert wrong(found) == (set() if sriov is None else {("01:00.0", "01:00.1", Breach.CONTROL)})


@pytest.mark.parametrize("vendor", [0x1022, 0x8086])
def test_who_has_an_iommu_has_all_in_hand(vendor: int) -> None:
    """AMD's is a function, and needs no bus mastering to be set up; what Intel calls so is none."""
    kind = PortType.CONVENTIONAL
    iommu = endpoint("00:00.2", ids=(vendor, 0x1481), class_code=0x080600, port_type=kind, command=Command(0))
    found = proof(machine(iommu, *slots(CLOSED)), Policy.TRUSTED, red="00:00.2")
    shown = ("00:00.2", "memory:host", Breach.CONTROL) in wrong(found)
    assert (found.verdict is VIOLATED) is shown is (vendor == 0x1022)


@pytest.mark.parametrize("place", ["01:00.1", "02:1f.0"])
def test_who_has_a_function_of_a_switch_may_have_its_ports_in_hand(place: str) -> None:
    """Beside the upstream port, or on the inner bus: management endpoints and DMA engines stand there."""
    empty = Known(acs("", ""))
    functions = change(switch(CLOSED, CLOSED), "01:00.0", multifunction=Known(True), acs=empty)
    own = endpoint(place, "00:01.0" if place.startswith("01") else "01:00.0", multifunction=True, acs=empty.value)
    host = machine(*functions, own)
    for policy in (Policy.STRICT, Policy.TRUSTED):
        found = proof(host, policy, red=place)
        assert (found.verdict, wrong(found)) == (UNKNOWN, {(place, "01:00.0", Breach.CONTROL)})
    assert proof(host, red="03:00.0").verdict is PROVEN, "the host's own may do as it likes"
    assert proof(host, red=f"{place} 03:00.0 04:00.0").verdict is PROVEN, "nothing of others is below"
