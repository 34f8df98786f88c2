"""Egress control with its vector, ACS Enhanced, second names and eight-bit function numbers."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.packet import Kind, Packet
from atoll.twin.spec import Bar, DomainKind, FunctionSpec
from twin.bench import at
from twin.small import bridge, card, small

ALL = REDIRECTING | AcsFlag.EC | AcsFlag.DT
RR, CR, EC = 0x04, 0x08, 0x20
ACS = 0x220
"""Where a twin's ACS capability stands."""
FIRST, SECOND, OTHER = at("0000:03:00.0"), at("0000:04:00.0"), at("0000:05:00.0")
PORT = at("0000:02:01.0")
UPSTREAM = at("0000:01:00.0")


def switch(**more: Any) -> Twin:
    """A switch with ports 1, 2 and 9 (in slots 1 to 3)."""
    return small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 5)),
        bridge("01:00.0", PortType.UPSTREAM, (2, 5), bars=(Bar(0, 1 << 18),)),
        bridge("02:01.0", PortType.DOWNSTREAM, (3, 3), ALL, egress_bits=16, bars=(Bar(0, 1 << 16),), **more),
        bridge("02:02.0", PortType.DOWNSTREAM, (4, 4)),
        bridge("02:03.0", PortType.DOWNSTREAM, (5, 5), port_number=9),
        card("03:00.0"),
        card("04:00.0"),
        card("05:00.0"),
    )


def control(twin: Twin, word: int, vector: int = 0) -> None:
    kept = twin.peek(PORT, "config", ACS + 4) & 0xFFFF
    twin.poke(PORT, "config", ACS + 4, kept | word << 16)
    twin.poke(PORT, "config", ACS + 8, vector)


def straight(twin: Twin) -> tuple[bool, bool]:
    """Whether requests go across the switch to port 2, and to port 9."""
    return twin.attack(FIRST, SECOND).reached, twin.attack(FIRST, OTHER).reached


@pytest.mark.parametrize(
    ("word", "vector", "expected"),
    [
        (0, 0xFFFF, (True, True)),
        (EC, 0, (True, True)),
        (EC, 1 << 2, (False, True)),
        (EC, 1 << 9, (True, False)),
        (EC, 1 << 3, (True, True)),
        (RR | EC, 1 << 2, (False, True)),
        (RR | EC, 0, (True, True)),
        (RR, 0, (False, False)),
    ],
)
def test_matrix_of_redirection_and_egress_control(word: int, vector: int, expected: tuple[bool, bool]) -> None:
    twin = switch()
    control(twin, word, vector)
    assert straight(twin) == expected


def test_egress_control_blocks_where_redirection_sends_up() -> None:
    twin = switch()
    for word, stop in ((EC, "EgressCtrl"), (EC | RR, "no UpstreamFwd")):
        control(twin, word, 1 << 2)
        write = next(attempt for attempt in twin.attack(FIRST, SECOND).attempts if attempt.kind == "write")
        assert stop in write.stopped


def test_egress_control_leaves_completions_alone() -> None:
    twin = switch()
    control(twin, EC, 1 << 2)
    assert twin.attack(FIRST, SECOND).completions_delivered
    control(twin, EC | CR, 1 << 2)
    kinds = {attempt.kind for attempt in twin.attack(FIRST, SECOND).attempts if attempt.delivered}
    assert kinds == {"completion-relaxed"}


def test_a_reset_forgets_the_vector() -> None:
    twin = switch(acs_enhanced=True)
    control(twin, EC | 0x100, 0xFFFF)
    assert twin.peek(PORT, "config", ACS + 8) == 0xFFFF
    twin.reset(at("0000:00:01.0"), "subordinate")
    assert twin.peek(PORT, "config", ACS + 8) == 0
    assert twin.peek(PORT, "config", ACS + 4) >> 16 == 0


@pytest.mark.parametrize(("enhanced", "own", "up"), [(0, True, True), (0x100, False, True), (0x400, True, False)])
def test_memory_of_the_ports_themselves(enhanced: int, own: bool, up: bool) -> None:
    twin = switch(acs_enhanced=True)
    control(twin, enhanced)
    assert twin.attack(FIRST, PORT).reached == own
    assert twin.attack(FIRST, UPSTREAM).reached == up
    control(twin, enhanced << 1)
    assert twin.attack(FIRST, PORT).reached == own, "redirected, the IOMMU maps nothing"
    assert twin.attack(FIRST, UPSTREAM).reached == up


def test_functions_of_a_device_count_by_function_number() -> None:
    words: dict[str, Any] = {"multifunction": True, "acs": AcsFlag.RR | AcsFlag.EC, "egress_bits": 8}
    twin = small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 1)),
        *(card(f"01:00.{number}", **words) for number in range(3)),
    )
    one, two = at("0000:01:00.1"), at("0000:01:00.2")
    first = at("0000:01:00.0")
    kept = twin.peek(first, "config", ACS + 4) & 0xFFFF
    twin.poke(first, "config", ACS + 4, kept | EC << 16)
    twin.poke(first, "config", ACS + 8, 1 << 2)
    assert twin.attack(first, one).reached
    assert not twin.attack(first, two).reached


def test_a_second_name_has_the_same_context() -> None:
    twin = small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 1)),
        card("01:00.0", dma_aliases=(1,)),
        bridge("00:02.0", PortType.ROOT_PORT, (2, 2)),
        card("02:00.0"),
    )
    iommu = twin._attacker.iommu
    assert iommu.requester(0, 0x0101) is twin.kernel.hardware.functions[at("0000:01:00.0")]
    assert iommu.requester(0, 0x0102) is None


@pytest.mark.parametrize(("unit", "arrives"), [("dmar0", True), ("dmar1", False)])
def test_another_iommu_has_no_context_for_a_false_id(unit: str, arrives: bool) -> None:
    """A chipset may have a unit for one of its functions only (VT-d 3.4.2: each has a root table of its own)."""
    twin = small(
        card("00:02.0", PortType.ROOT_INTEGRATED, iommu=unit), card("00:03.0", PortType.ROOT_INTEGRATED, iommu="dmar0")
    )
    one, other = (twin.kernel.hardware.functions[at(f"0000:00:0{slot}.0")] for slot in (2, 3))
    group = twin.kernel.devices[other.address].group
    assert group is not None
    twin.kernel.groups[group].kind = DomainKind.IDENTITY
    router = twin._attacker.router
    outcome = router.send(one, Packet(Kind.WRITE, 0x1_0000_0000, other.address.requester_id))
    assert (outcome.memory_of is not None) is arrives


def test_who_shares_names_shares_a_group() -> None:
    def groups(aliases: tuple[int, ...]) -> set[int | None]:
        isolated: dict[str, Any] = {"multifunction": True, "acs": AcsFlag(0)}
        twin = small(
            bridge("00:01.0", PortType.ROOT_PORT, (1, 1), AcsFlag(0)),
            card("01:00.0", **isolated),
            card("01:00.1", **isolated, dma_aliases=aliases),
        )
        return {twin.kernel.device(at(f"0000:01:00.{number}")).group for number in range(2)}

    assert len(groups(())) == 2
    assert len(groups((0,))) == 1


def adapter(count: int) -> list[FunctionSpec]:
    made = [card("01:00.0", vf_total=count, vf_bar=1 << 20, loopback=True)]
    for index in range(count):
        place = f"01:{(index + 1) // 8:02x}.{(index + 1) % 8}"
        made.append(card(place, bars=(Bar(0, 1 << 20),), physfn=at("0000:01:00.0"), vf_index=index))
    return made


def test_virtual_functions_beyond_function_seven_are_of_the_same_device() -> None:
    twin = small(bridge("00:01.0", PortType.ROOT_PORT, (1, 1)), *adapter(9))
    assert twin.read("sys/bus/pci/devices/0000:01:01.0/ari_enabled") == b"1\n"
    assert twin.attack(at("0000:01:01.0"), at("0000:01:00.2")).reached
    assert twin.attack(at("0000:01:00.2"), at("0000:01:01.1")).reached
    bare = small(bridge("00:01.0", PortType.ROOT_PORT, (1, 1)), card("01:00.0"))
    assert bare.read("sys/bus/pci/devices/0000:01:00.0/ari_enabled") == b"0\n"
