"""Functions beyond 7: who is there, which bit of an egress vector stands for whom, virtual ones at any stride."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.pci.acs import AcsFlag
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.spec import FunctionSpec
from twin.bench import at
from twin.small import bridge, card, small

ACS, ARI, DEVICE_CONTROL_2 = 0x220, 0x260, 0xA0
EC, RR = 0x20, 0x04
PORT, FIRST, SECOND, FAR = at("0000:00:01.0"), at("0000:01:00.0"), at("0000:01:00.1"), at("0000:01:02.1")
"""The last is function 17 of its device."""
GROUPS_OF_ACS, GROUPS_OF_MFVC = 2, 1


def device(*, forwarding: bool = True, **more: Any) -> Twin:
    words: dict[str, Any] = {"multifunction": True, "acs": AcsFlag.RR | AcsFlag.EC, "egress_bits": 32} | more
    return small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 1), ari_forwarding=forwarding),
        card("01:00.0", ari_next=1, **words),
        card("01:00.1", ari_next=17, **words),
        card("01:02.1", ari_next=0, **words),
    )


def control(twin: Twin, word: int, vector: int, function: Any = FIRST) -> None:
    kept = twin.peek(function, "config", ACS + 4) & 0xFFFF
    twin.poke(function, "config", ACS + 4, kept | word << 16)
    twin.poke(function, "config", ACS + 8, vector)


def group(twin: Twin, function: Any, number: int, *, enabled: int = 0) -> None:
    kept = twin.peek(function, "config", ARI + 4) & 0xFFFF
    twin.poke(function, "config", ARI + 4, kept | (number << 4 | enabled) << 16)


def reached(twin: Twin) -> tuple[bool, bool]:
    """Whether function 0 gets to function 1, and to function 17."""
    return twin.attack(FIRST, SECOND).reached, twin.attack(FIRST, FAR).reached


@pytest.mark.parametrize(
    ("vector", "expected"), [(1 << 1, (False, True)), (1 << 17, (True, False)), (1 << 2, (True, True))]
)
def test_bits_stand_for_function_numbers_of_8_bits(vector: int, expected: tuple[bool, bool]) -> None:
    twin = device()
    control(twin, EC, vector)
    assert reached(twin) == expected


def test_bits_stand_for_groups_where_function_0_says_so() -> None:
    twin = device(function_groups=GROUPS_OF_ACS)
    group(twin, FIRST, 0, enabled=GROUPS_OF_ACS)
    group(twin, FAR, 5)
    control(twin, EC, 1 << 5)
    assert reached(twin) == (True, False)
    control(twin, EC, 1 << 0 | 1 << 17)
    assert reached(twin) == (False, True), "function 1 is in group 0"


@pytest.mark.parametrize(("able", "enabled"), [(GROUPS_OF_ACS, 0), (GROUPS_OF_MFVC, 3), (0, 3)])
def test_without_groups_of_acs_bits_stand_for_functions(able: int, enabled: int) -> None:
    twin = device(function_groups=able)
    group(twin, FIRST, 0, enabled=enabled)
    group(twin, FAR, 5)
    control(twin, EC, 1 << 17)
    assert reached(twin) == (True, False)


def test_only_function_0_switches_groups() -> None:
    twin = device(function_groups=GROUPS_OF_ACS)
    group(twin, SECOND, 0, enabled=GROUPS_OF_ACS)
    assert twin.peek(SECOND, "config", ARI + 4) >> 16 & 3 == 0


def test_a_reset_takes_groups_which_no_kernel_gives_back() -> None:
    twin = device(function_groups=GROUPS_OF_ACS, flr=True)
    group(twin, FIRST, 5, enabled=GROUPS_OF_ACS)
    twin.write(f"sys/bus/pci/devices/{FIRST}/reset", b"1")
    assert twin.peek(FIRST, "config", ARI + 4) >> 16 == 0


def test_a_port_that_forwards_no_8_bit_numbers_hides_registers_and_nothing_else() -> None:
    twin = device()
    assert twin.read(f"sys/bus/pci/devices/{FAR}/ari_enabled") == b"1\n"
    twin.poke(FAR, "config", 4, 0x6)
    twin.poke(SECOND, "config", 4, 0x6)
    twin.poke(PORT, "config", DEVICE_CONTROL_2, 0)
    assert twin.peek(FAR, "config", 0) == 0xFFFFFFFF
    assert twin.peek(SECOND, "config", 0) != 0xFFFFFFFF
    assert twin.attack(FIRST, FAR).reached
    assert twin.attack(FAR, SECOND).reached
    assert twin.read(f"sys/bus/pci/devices/{FAR}/ari_enabled") == b"1\n", "the kernel tells what it set"


def test_groups_are_the_devices_affair_where_the_port_above_cannot_forward_by_8_bit_numbers() -> None:
    twin = device(forwarding=False, function_groups=GROUPS_OF_ACS)
    twin.poke(PORT, "config", DEVICE_CONTROL_2, 0x20)
    assert twin.peek(PORT, "config", DEVICE_CONTROL_2) & 0x20 == 0
    assert twin.list("sys/bus/pci/devices").count(str(FAR)) == 0
    assert twin.read(f"sys/bus/pci/devices/{SECOND}/ari_enabled") == b"0\n"
    group(twin, FIRST, 0, enabled=GROUPS_OF_ACS)
    group(twin, SECOND, 5)
    control(twin, EC, 1 << 1)
    assert twin.attack(FIRST, SECOND).reached
    control(twin, EC, 1 << 5)
    assert not twin.attack(FIRST, SECOND).reached


def test_without_ari_of_function_0_nobody_finds_what_is_beyond_7() -> None:
    twin = small(bridge("00:01.0", PortType.ROOT_PORT, (1, 1)), card("01:00.0"), card("01:02.1", ari_next=0))
    assert str(FAR) not in twin.list("sys/bus/pci/devices")


def virtual(index: int, number: int, physical: FunctionSpec) -> FunctionSpec:
    return card(f"01:{number >> 3:02x}.{number & 7}", physfn=physical.address, vf_index=index)


@pytest.mark.parametrize(("offset", "place"), [(1, "01:00.1"), (0x101, "02:00.1")])
def test_no_bit_stands_for_virtual_functions_on_further_buses(offset: int, place: str) -> None:
    physical = card(
        "01:00.0", acs=AcsFlag.RR | AcsFlag.EC, egress_bits=32, vf_total=1, vf_bar=1 << 16, vf_offset=offset
    )
    one = card(place, physfn=physical.address)
    twin = small(bridge("00:01.0", PortType.ROOT_PORT, (1, 2)), physical, one)
    control(twin, EC | RR, 1 << 1)
    assert twin.attack(FIRST, one.address).reached is (one.address.bus == 2)


@pytest.mark.parametrize(("vector", "expected"), [(1 << 1, False), (1 << 17, True)])
def test_in_a_root_complex_bits_stand_for_function_numbers_of_3_bits(vector: int, expected: bool) -> None:
    """ARI is not for what is there (6.13), virtual functions or not."""
    words: dict[str, Any] = {"acs": AcsFlag.RR | AcsFlag.EC, "egress_bits": 32, "vf_total": 1, "vf_bar": 1 << 16}
    physical = card("00:02.0", PortType.ROOT_INTEGRATED, **words)
    one = card("00:02.1", PortType.ROOT_INTEGRATED, physfn=physical.address)
    twin = small(physical, one)
    control(twin, EC, vector, physical.address)
    assert twin.attack(physical.address, one.address).reached is expected


def test_virtual_functions_of_two_physical_ones_interleave() -> None:
    words: dict[str, Any] = {"multifunction": True, "vf_total": 3, "vf_bar": 1 << 16, "vf_offset": 7, "vf_stride": 2}
    one, other = card("01:00.0", ari_next=1, **words), card("01:00.1", ari_next=0, **words)
    twin = small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 1)),
        one,
        other,
        *(virtual(index, 7 + 2 * index, one) for index in range(3)),
        *(virtual(index, 8 + 2 * index, other) for index in range(3)),
    )
    here = f"sys/bus/pci/devices/{FIRST}"
    assert (twin.read(f"{here}/sriov_offset"), twin.read(f"{here}/sriov_stride")) == (b"7\n", b"2\n")
    assert twin.peek(FIRST, "config", 0x280 + 0x14) == 7 | 2 << 16
    assert twin.readlink(f"{here}/virtfn1").endswith("0000:01:01.1")
    assert twin.readlink("sys/bus/pci/devices/0000:01:00.1/virtfn1").endswith("0000:01:01.2")
    places = {twin.kernel.hardware.bars(twin.kernel.hardware.functions[at(f"0000:01:01.{n}")]) for n in (1, 2)}
    assert len(places) == 2
