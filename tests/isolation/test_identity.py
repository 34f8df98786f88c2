"""Whose requester ids a function can send."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from reach_hosts import CLOSED, OFF, Scene, acs, at, endpoint, machine, port, scene, slots, switch

from atoll.fabric.answer import Answer, Finding
from atoll.fabric.settings import Domain, DomainKind
from atoll.fabric.statement import VENDOR_STATEMENT
from atoll.host.fact import Known, Unknown
from atoll.host.model import Function, IommuUnit, KernelRelease
from atoll.isolation.contacts.impersonation import impersonations
from atoll.isolation.identity import INTEGRATED_IDENTITY, SIBLING_IDENTITY, Identities, spoofing
from atoll.isolation.reach import Reach
from atoll.pci.acs import Acs
from atoll.pci.bridge import Bridge
from atoll.pci.header import Command, PortType

DIRECT, POSSIBLE, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.BLOCKED
NO_SV = acs("RR CR UF")


def shared(found: Scene, one: str, other: str) -> Finding:
    return Identities(found.topology, found.settings).shared(at(one), at(other))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (CLOSED, BLOCKED),
        (NO_SV, DIRECT),
        (OFF, DIRECT),
        (acs("RR CR UF", "RR CR UF"), DIRECT),  # does not implement validation
        (None, DIRECT),
        (Unknown("cut"), POSSIBLE),
    ],
)
def test_a_root_port_that_does_not_validate(word: Acs | Unknown | None, expected: Answer) -> None:
    found = scene(machine(*slots(word, CLOSED)))
    assert shared(found, "01:00.0", "02:00.0").answer is expected
    assert shared(found, "02:00.0", "01:00.0").answer is BLOCKED, "it is the sender's port that validates"


@pytest.mark.parametrize(
    ("done", "release", "expected"),
    [
        (Unknown("no log"), "7.3.4", POSSIBLE),
        (Known(True), "7.3.4", BLOCKED),
        (Known(True), "6.12.117+deb13-amd64", BLOCKED),
        # Its write does not reach the bit, which firmware may have set.
        (Known(True), "6.12.107+deb13-amd64", POSSIBLE),
        (Known(True), "5.15.0-25-generic", POSSIBLE),
        (Known(True), None, POSSIBLE),
        (Known(False), "7.3.4", DIRECT),
    ],
)
def test_a_chipset_port_that_the_kernel_set_up_validates(
    done: Known[bool] | Unknown, release: str | None, expected: Answer
) -> None:
    """``pci_quirk_enable_intel_rp_mpc_acs``; the ports have no ACS that would show it."""
    one, *rest = slots(None, CLOSED)
    kernel = Unknown("not read") if release is None else Known(KernelRelease(*_numbers(release), release))
    whole = machine(replace(one, vendor=0x8086, device=0x8C10, chipset_acs=done), *rest)
    found = scene(replace(whole, kernel=kernel))
    answer = shared(found, "01:00.0", "02:00.0")
    assert answer.answer is expected
    assert (VENDOR_STATEMENT in answer.assumptions) is (expected is BLOCKED)


def _numbers(release: str) -> tuple[int, int]:
    major, minor, *_ = release.split(".")
    return int(major), int(minor)


@pytest.mark.parametrize(
    ("buses", "expected"),
    [
        (Bridge(1, 1), BLOCKED),
        (Bridge(1, 2), POSSIBLE),
        (Bridge(0, 1), POSSIBLE),
        (Bridge(0, 0xFF), POSSIBLE),
        (Unknown("cut"), BLOCKED),
    ],
)
def test_a_port_validates_by_its_bus_numbers(buses: Bridge | Unknown, expected: Answer) -> None:
    """Base Specification 6.12.1.1: the bus of the id is compared with its secondary and subordinate bus numbers."""
    one, *rest = slots(CLOSED, CLOSED)
    found = scene(machine(replace(one, bridge=buses if isinstance(buses, Unknown) else Known(buses)), *rest))
    assert shared(found, "01:00.0", "02:00.0").answer is expected
    assert shared(found, "02:00.0", "01:00.0").answer is BLOCKED


def test_buses_kept_free_for_hot_plug_are_no_mistake() -> None:
    *rest, two, card = slots(CLOSED, CLOSED)
    found = scene(machine(*rest, replace(two, bridge=Known(Bridge(2, 9))), card))
    assert shared(found, "02:00.0", "01:00.0").answer is BLOCKED


def test_what_passes_a_port_with_wrong_bus_numbers_is_validated_above() -> None:
    one, up, down, *rest = switch(CLOSED, CLOSED)
    found = scene(machine(one, up, replace(down, bridge=Known(Bridge(3, 9))), *rest, *_beside()))
    answer = shared(found, "03:00.0", "04:00.0")
    assert answer.answer is POSSIBLE
    assert "which hold buses that are not below it" in answer.path[0].because
    assert shared(found, "03:00.0", "09:00.0").answer is BLOCKED


def _beside() -> tuple[Function, Function]:
    return port("00:02.0", 9), endpoint("09:00.0", "00:02.0")


@pytest.mark.parametrize(
    ("down", "root", "beside", "elsewhere"),
    [
        (CLOSED, OFF, BLOCKED, BLOCKED),
        (OFF, CLOSED, DIRECT, BLOCKED),
        (OFF, OFF, DIRECT, DIRECT),
        (Unknown("cut"), CLOSED, POSSIBLE, BLOCKED),
        (OFF, Unknown("cut"), POSSIBLE, POSSIBLE),
        (Unknown("cut"), OFF, POSSIBLE, POSSIBLE),
    ],
)
def test_ids_of_all_below_the_first_port_that_validates(
    down: Acs | Unknown | None, root: Acs | None, beside: Answer, elsewhere: Answer
) -> None:
    functions = [*switch(down, CLOSED, root=root), port("00:02.0", 9), endpoint("09:00.0", "00:02.0")]
    found = scene(machine(*functions))
    assert shared(found, "03:00.0", "04:00.0").answer is beside
    assert shared(found, "03:00.0", "09:00.0").answer is elsewhere


def test_a_silent_function_sends_nothing() -> None:
    quiet = [replace(f, command=Known(Command.MEMORY)) if f.address == at("01:00.0") else f for f in slots(OFF, OFF)]
    assert shared(scene(machine(*quiet)), "01:00.0", "02:00.0").answer is BLOCKED


def test_other_segments_and_other_units_have_other_tables() -> None:
    far = [port("0001:00:01.0", 1), endpoint("0001:01:00.0", "0001:00:01.0")]
    found = scene(machine(*slots(OFF, OFF), *far))
    assert shared(found, "01:00.0", "0001:01:00.0").answer is BLOCKED
    units = [replace(f, iommu=Known("dmar1")) if f.address == at("02:00.0") else f for f in slots(OFF, OFF)]
    assert shared(scene(machine(*units)), "01:00.0", "02:00.0").answer is BLOCKED
    amd = [replace(f, iommu=Known(f"ivhd{f.address.bus}")) for f in slots(OFF, OFF)]
    assert shared(scene(machine(*amd)), "01:00.0", "02:00.0").answer is DIRECT


def unserved(**more: Any) -> Scene:
    """Two cards behind ports that do not validate; nothing translates for the second one."""
    changed = {"iommu": Known(None), "group": Known(None)} | more
    return scene(machine(*(replace(f, **changed) if f.address == at("02:00.0") else f for f in slots(OFF, OFF))))


def test_an_id_of_whom_no_unit_of_intels_serves_is_in_no_tables() -> None:
    """As the graphics device's with ``intel_iommu=igfx_off``: a unit has no entry for it, and lets nothing pass."""
    found = unserved()
    assert shared(found, "01:00.0", "02:00.0").answer is BLOCKED
    assert Reach(found.topology, found.settings).memory(at("01:00.0")).answer is Answer.IOMMU
    assert Reach(found.topology, found.settings).memory(at("02:00.0")).answer is DIRECT


def test_an_id_may_be_in_the_tables_where_who_serves_it_was_not_read_or_is_not_intels() -> None:
    for changed in ({"iommu": Unknown("cut")}, {"group": Unknown("cut")}):
        assert shared(unserved(**changed), "01:00.0", "02:00.0").answer is not BLOCKED
    found = unserved()
    for units in ((), (*found.host.iommu_units, IommuUnit("ivhd0", "amd"))):
        other = scene(replace(found.host, iommu_units=units))
        assert shared(other, "01:00.0", "02:00.0").answer is not BLOCKED


@pytest.mark.parametrize("kind", [None, PortType.ROOT_PORT])
def test_a_port_whose_kind_was_not_read_may_let_ids_through(kind: PortType | None) -> None:
    top = port("00:01.0", 1, None, kind, acs=Unknown("cut to 64 bytes"))
    found = scene(machine(top, endpoint("01:00.0", "00:01.0"), *slots(None, CLOSED)[2:]))
    assert shared(found, "01:00.0", "02:00.0").answer is POSSIBLE


def test_a_port_that_was_not_read_may_let_ids_through() -> None:
    found = scene(machine(endpoint("01:00.0", "00:01.0"), *slots(None, CLOSED)[2:]))
    assert shared(found, "01:00.0", "02:00.0").answer is POSSIBLE
    validated = scene(
        machine(port("01:00.0", 2, "00:01.0", PortType.DOWNSTREAM), endpoint("02:00.0", "01:00.0"), endpoint("00:0a.0"))
    )
    assert shared(validated, "02:00.0", "00:0a.0").answer is BLOCKED, "the port right above it validates"


def test_what_stands_in_for_validation_is_told() -> None:
    """A Cavium root port validates by its vendor's word."""
    stated = port("00:01.0", 1, acs=None, ids=(0x177D, 0xA000))
    found = shared(
        scene(machine(stated, endpoint("01:00.0", "00:01.0"), *slots(None, CLOSED)[2:])), "01:00.0", "02:00.0"
    )
    assert (found.answer, set(found.assumptions)) == (BLOCKED, {VENDOR_STATEMENT})


def test_functions_of_one_device_are_trusted_with_their_own_ids() -> None:
    """Validation compares bus numbers: nothing outside a device can tell its functions apart."""
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, acs=acs("", "")) for n in range(2)]
    found = shared(scene(machine(port("00:01.0", 1), *pair)), "01:00.0", "01:00.1")
    assert (found.answer, set(found.assumptions)) == (BLOCKED, {SIBLING_IDENTITY})
    assert shared(scene(machine(port("00:01.0", 1, acs=OFF), *pair)), "01:00.0", "01:00.1").answer is DIRECT
    apart = shared(scene(machine(*slots(CLOSED, CLOSED))), "01:00.0", "02:00.0")
    assert apart.assumptions == frozenset()


def test_a_function_beside_an_upstream_port_is_trusted_with_the_ids_behind_it() -> None:
    """Validation at the root port lets all buses below it pass."""
    functions = [*switch(CLOSED), endpoint("01:00.1", "00:01.0", multifunction=True, acs=CLOSED)]
    found = shared(scene(machine(*functions)), "01:00.1", "03:00.0")
    assert (found.answer, set(found.assumptions)) == (BLOCKED, {SIBLING_IDENTITY})


def test_integrated_endpoints_are_tagged_by_the_root_complex() -> None:
    inside = endpoint("00:0a.0", port_type=PortType.ROOT_INTEGRATED)
    found = shared(scene(machine(*slots(CLOSED), inside)), "00:0a.0", "01:00.0")
    assert (found.answer, set(found.assumptions)) == (BLOCKED, {INTEGRATED_IDENTITY})


@pytest.mark.parametrize(
    ("down", "root", "scope", "answer"),
    [
        (CLOSED, OFF, "02:00.0", BLOCKED),
        (OFF, CLOSED, "00:01.0", DIRECT),
        (OFF, OFF, None, DIRECT),
        (Unknown("cut"), CLOSED, "00:01.0", POSSIBLE),
    ],
)
def test_scope_of_forging(down: Acs | Unknown | None, root: Acs, scope: str | None, answer: Answer) -> None:
    found = scene(machine(*switch(down, CLOSED, root=root)))
    spoofs = spoofing(found.topology, found.settings, at("03:00.0"))
    assert (spoofs.validator, spoofs.answer) == (at(scope) if scope else None, answer)


@pytest.mark.parametrize("kind", [PortType.ENDPOINT, PortType.ROOT_INTEGRATED])
def test_a_root_port_that_is_not_shown_may_not_validate(kind: PortType) -> None:
    pair = [endpoint(f"00:0{n}.0", port_type=kind) for n in (2, 3)]
    found = scene(machine(*pair))
    finding = shared(found, "00:02.0", "00:03.0")
    assert finding.answer is (POSSIBLE if kind is PortType.ENDPOINT else BLOCKED)
    assert (INTEGRATED_IDENTITY in finding.assumptions) is (kind is PortType.ROOT_INTEGRATED)
    contacts = list(impersonations(found.reach(), POSSIBLE))
    assert bool(contacts) is (kind is PortType.ENDPOINT)
    # With pass-through for some, what goes up under their ids is not translated.
    open_ = machine(pair[0], replace(pair[1], group=Known(9)))
    assert isinstance(open_.groups, Known)
    mixed = {n: replace(g, type=Known("identity" if n == 9 else "DMA")) for n, g in open_.groups.value.items()}
    reach = scene(replace(open_, groups=Known(mixed))).reach()
    assert (reach.memory(at("00:02.0")).answer > Answer.IOMMU) is (kind is PortType.ENDPOINT)


def test_what_may_send_may_send_false_ids() -> None:
    found = scene(machine(*slots(OFF, CLOSED, command=None)))
    assert shared(found, "01:00.0", "02:00.0").answer is DIRECT


def test_what_was_not_read_above_may_be_one_bridge_for_both() -> None:
    bridged = [
        *_beside()[:1],
        port("09:00.0", 10, "00:02.0", PortType.PCIE_TO_PCI, acs=None),
        endpoint("0a:00.0", "09:00.0", port_type=PortType.CONVENTIONAL),
    ]
    below = PortType.DOWNSTREAM
    loose = [port("14:00.0", 21, "13:00.0", below, acs=CLOSED), endpoint("15:00.0", "14:00.0")]
    found = scene(machine(*bridged, *loose))
    assert shared(found, "0a:00.0", "15:00.0").answer is POSSIBLE
    assert shared(found, "15:00.0", "0a:00.0").answer is POSSIBLE


@pytest.mark.parametrize(
    ("buses", "expected"), [(Bridge(1, 9), DIRECT), (Bridge(1, 4), BLOCKED), (Unknown("cut"), POSSIBLE)]
)
def test_what_hangs_nobody_knows_where_may_be_below_the_port_that_validates(
    buses: Bridge | Unknown, expected: Answer
) -> None:
    one, *rest = switch(OFF, OFF)
    root = replace(one, bridge=buses if isinstance(buses, Unknown) else Known(buses))
    found = scene(machine(root, *rest, endpoint("07:00.0", "06:00.0")))
    assert shared(found, "03:00.0", "07:00.0").answer is expected
    memory = found.settings.with_domain(at("07:00.0"), Domain(DomainKind.IDENTITY))
    assert (Reach(found.topology, memory).memory(at("03:00.0")).answer > Answer.IOMMU) is (expected is not BLOCKED)


@pytest.mark.parametrize(("kind", "expected"), [(DomainKind.NONE, DIRECT), (DomainKind.UNKNOWN, POSSIBLE)])
def test_a_false_id_that_nothing_translates(kind: DomainKind, expected: Answer) -> None:
    found = scene(machine(*slots(OFF, CLOSED)))
    settings = found.settings.with_domain(at("02:00.0"), Domain(kind))
    assert Reach(found.topology, settings).memory(at("01:00.0")).answer is expected
