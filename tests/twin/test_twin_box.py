"""Traffic in the box: every rule of PCI Express isolation that has no NVLink in it."""

from __future__ import annotations

import pytest

from atoll.pci.address import Address
from atoll.twin import Attack, Twin
from twin.bench import at, get_acs, give, set_acs, set_command

FIRST, ATS, BARE, OTHER = at("0000:03:00.0"), at("0000:04:00.0"), at("0000:05:00.0"), at("0000:06:00.0")
ATS_PORT = at("0000:02:01.0")
NO_ACS, WITH_ACS = at("0000:07:00.0"), at("0000:0f:00.0")
SV, TB, RR, CR, UF, DT = 0x01, 0x02, 0x04, 0x08, 0x10, 0x40


def delivered(attack: Attack) -> set[str]:
    return {attempt.kind for attempt in attack.attempts if attempt.delivered}


def tenants(*addresses: Address) -> Twin:
    twin = Twin.new("pcie-box")
    give(twin, *addresses)
    for address in addresses:
        twin.lease_vfio(address, holder=f"owner-of-{address}")
        set_command(twin, address, on=0x6)
    return twin


def test_clean_ports_isolate() -> None:
    twin = Twin.new("pcie-box")
    for source, victim in ((FIRST, WITH_ACS), (WITH_ACS, FIRST), (FIRST, OTHER)):
        attack = twin.attack(source, victim)
        assert not attack.reached
        assert not any(attempt.delivered for attempt in attack.attempts if attempt.kind == "completion")


def test_downstream_port_without_acs_lets_its_side_into_the_others() -> None:
    twin = Twin.new("pcie-box")
    assert twin.attack(BARE, OTHER).reached
    assert twin.attack(BARE, FIRST).reached, "controls of the victim's port do not help"
    assert not twin.attack(FIRST, BARE).reached


def test_root_port_without_acs_reaches_others_and_spoofs() -> None:
    twin = Twin.new("pcie-box")
    attack = twin.attack(NO_ACS, WITH_ACS)
    assert "write" in delivered(attack)
    assert any(hop.via == "across the root complex" for hop in attack.path)
    assert not twin.attack(WITH_ACS, NO_ACS).reached
    set_acs(twin, at("0000:00:09.0"), SV | CR | UF)
    assert twin.attack(WITH_ACS, NO_ACS).reached


def test_root_complex_is_declared() -> None:
    record = Twin.new("pcie-box").read("records/root-complex.json").decode()
    assert '"schema": "atoll.root-complex/1"' in record
    assert '"pci0000:00": "direct"' in record
    assert '"pci0004:00": "translated"' in Twin.new("ac922-4gpu").read("records/root-complex.json").decode()


def test_device_with_ats_reaches_everything_until_translation_is_blocked() -> None:
    twin = tenants(ATS, FIRST)
    attack = twin.attack(ATS, FIRST)
    assert "translated-write" in delivered(attack)
    assert "write" not in delivered(attack)
    set_acs(twin, ATS_PORT, get_acs(twin, ATS_PORT) | TB)
    assert not twin.attack(ATS, FIRST).reached
    set_acs(twin, ATS_PORT, SV | RR | CR | UF)
    ats = next(offset for offset in range(0x100, 0x300, 4) if twin.peek(ATS, "config", offset) & 0xFFFF == 0x000F)
    twin.poke(ATS, "config", ats + 4, 0)
    assert not twin.attack(ATS, FIRST).reached
    twin.reset(ATS, "flr")
    assert "translated-write" in delivered(twin.attack(ATS, FIRST)), "the kernel enables it again"


def test_direct_translated_shortens_the_way() -> None:
    twin = tenants(ATS, FIRST)
    through = twin.attack(ATS, FIRST).path
    set_acs(twin, ATS_PORT, SV | RR | CR | UF | DT)
    direct = twin.attack(ATS, FIRST).path
    assert any(hop.via == "translation" for hop in through)
    assert any(hop.because == "DirectTrans" for hop in direct)


def test_functions_of_one_device() -> None:
    twin = Twin.new("pcie-box")
    assert twin.attack(at("0000:08:00.0"), at("0000:08:00.1")).reached, "no ACS: loopback inside"
    first, second = at("0000:09:00.0"), at("0000:09:00.1")
    assert not twin.attack(first, second).reached
    set_acs(twin, first, 0)
    attack = twin.attack(first, second)
    assert attack.reached
    assert any(hop.via == "inside the device" for hop in attack.path)


def test_conventional_bus_is_shared() -> None:
    twin = Twin.new("pcie-box")
    sound, serial = at("0000:0b:01.0"), at("0000:0b:00.0")
    attack = twin.attack(sound, serial)
    assert any(hop.via == "shared bus" for hop in attack.path)
    assert not twin.attack(sound, WITH_ACS).reached
    assert any(
        hop.because == "takes requester id 0b00"
        for attempt in twin.attack(sound, WITH_ACS).attempts
        for hop in attempt.path
    )


def test_devices_behind_a_pci_bridge_share_their_owner_s_mappings() -> None:
    twin = Twin.new("pcie-box")
    give(twin, at("0000:0b:00.0"), at("0000:0b:01.0"))
    twin.lease_vfio(at("0000:0b:00.0"), holder="owner")
    set_command(twin, at("0000:0b:01.0"), on=0x6)
    attack = twin.attack(at("0000:0b:01.0"), at("0000:0b:00.0"))
    owner = [attempt for attempt in attack.attempts if attempt.delivered and "memory of owner" in attempt.target]
    assert owner


def test_virtual_functions_do_not_reach_each_other() -> None:
    twin = Twin.new("pcie-box")
    first, second, physical = at("0000:0c:00.1"), at("0000:0c:00.2"), at("0000:0c:00.0")
    for source, victim in ((first, second), (first, physical), (physical, first)):
        assert not twin.attack(source, victim).reached
    set_acs(twin, at("0000:00:06.0"), 0)
    assert twin.attack(first, WITH_ACS).reached, "a root port that does not redirect"
    assert not twin.attack(first, second).reached, "it does not send back what is below itself"


def test_identity_domain_reaches_everything_by_way_of_the_translation() -> None:
    twin = Twin.new("dgx1v")
    first, far = at("0000:06:00.0"), at("0000:8a:00.0")
    attack = twin.attack(first, far)
    assert attack.reached
    assert any("identity" in hop.because for hop in attack.path)
    give(twin, first)
    twin.lease_vfio(first, holder="red")
    set_command(twin, first, on=0x6)
    assert not twin.attack(first, far).reached
    assert delivered(twin.attack(first, at("0000:85:00.0"))) >= {"nvlink-write"}


def test_spoofing_an_identity_domain_needs_a_port_that_does_not_validate() -> None:
    twin = Twin.new("dgx1v")
    red, victim = at("0000:06:00.0"), at("0000:8a:00.0")
    give(twin, red)
    twin.lease_vfio(red, holder="red")
    set_command(twin, red, on=0x6)
    assert not twin.attack(red, victim).reached
    set_acs(twin, at("0000:04:08.0"), RR | CR | UF)
    assert delivered(twin.attack(red, victim)) >= {"spoofed-write"}, "within the switch's own buses"
    set_acs(twin, at("0000:00:02.0"), RR | CR | UF)
    assert delivered(twin.attack(red, victim)) >= {"spoofed-write"}


@pytest.mark.parametrize("kernel", ["6.12", "6.1"])
def test_kernels_have_the_same_traffic(kernel: str) -> None:
    twin = Twin.new("pcie-box", kernel=kernel)
    assert twin.attack(BARE, FIRST).reached
    assert not twin.attack(FIRST, BARE).reached


def test_every_outcome_has_a_reason() -> None:
    twin = Twin.new("pcie-box")
    functions = [f.address for f in twin.kernel.hardware.functions.values() if not f.spec.is_bridge]
    for source in functions:
        for victim in functions:
            if source == victim:
                continue
            attack = twin.attack(source, victim)
            assert attack.reached == bool(attack.path)
            for attempt in attack.attempts:
                assert attempt.delivered != bool(attempt.stopped), attempt
                assert len({hop.at for hop in attempt.path}) <= len(attempt.path)
