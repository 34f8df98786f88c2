"""Traffic: what reaches what, before and after each control, one control at a time."""

from __future__ import annotations

import pytest

from atoll.pci.address import Address
from atoll.twin import Attack, Attempt, Twin
from twin.bench import at, cut, get_acs, give, set_acs, set_command

RED, BLUE = at("0004:04:00.0"), at("0004:05:00.0")
RED_PORT, BLUE_PORT = at("0004:02:0a.0"), at("0004:02:0b.0")
SWITCH_PORTS = tuple(at(f"0004:02:{slot}.0") for slot in ("02", "0a", "0b", "0c"))
SV, TB, RR, CR, UF, DT = 0x01, 0x02, 0x04, 0x08, 0x10, 0x40


def delivered(attack: Attack) -> set[str]:
    """The kinds that arrived."""
    return {attempt.kind for attempt in attack.attempts if attempt.delivered}


def tried(attack: Attack, kind: str) -> list[Attempt]:
    found = [attempt for attempt in attack.attempts if attempt.kind == kind]
    assert found, f"{kind} was never tried"
    return found


def tenants(*, kernel: str | None = None) -> Twin:
    """Two tenants on one socket, each with one GPU of its own."""
    twin = Twin.new("ac922-4gpu", kernel=kernel)
    give(twin, RED, BLUE)
    for address, holder in ((RED, "red"), (BLUE, "blue")):
        twin.lease_vfio(address, holder=holder)
        set_command(twin, address, on=0x6)
    return twin


def isolate(twin: Twin, *, red: bool = True, blue: bool = True, acs: int = SV | RR | CR | UF) -> None:
    for port in SWITCH_PORTS:
        set_acs(twin, port, acs)
    for gpu, wanted in ((RED, red), (BLUE, blue)):
        if wanted:
            cut(twin, gpu)


def test_fresh_machine_is_wide_open() -> None:
    attack = Twin.new("ac922-4gpu").attack(RED, BLUE)
    assert attack.reached
    assert {"write", "read", "nvlink-write", "nvlink-read"} <= delivered(attack)
    assert [hop.at for hop in attack.path] == [str(RED), str(RED_PORT), str(BLUE_PORT), str(BLUE)]
    assert attack.completions_delivered


@pytest.mark.parametrize(("source", "victim"), [(RED, BLUE), (BLUE, RED)])
def test_all_controls_together_isolate(source: Address, victim: Address) -> None:
    twin = tenants()
    isolate(twin)
    attack = twin.attack(source, victim)
    assert not attack.reached
    assert attack.path == ()
    assert all(attempt.stopped for attempt in attack.attempts if not attempt.delivered)
    tried(attack, "nvlink-write"), tried(attack, "spoofed-write"), tried(attack, "write"), tried(attack, "npu-write")


@pytest.mark.parametrize(("red", "blue"), [(True, False), (False, True)])
def test_one_end_cuts_a_link_for_both(red: bool, blue: bool) -> None:
    twin = tenants()
    isolate(twin, red=red, blue=blue)
    assert not twin.attack(RED, BLUE).reached
    assert not twin.attack(BLUE, RED).reached


def test_reset_of_one_end_matters_only_where_the_other_is_open() -> None:
    twin = tenants()
    isolate(twin)
    for address, reached in ((RED, False), (BLUE, True)):
        twin.event("close", [address])
        set_command(twin, address, on=0x6)
        twin.write(f"sys/bus/pci/devices/{address}/driver_override", b"vfio-pci")
        twin.lease_vfio(address, holder="red" if address == RED else "blue")
        assert twin.attack(RED, BLUE).reached is reached
    assert delivered(twin.attack(RED, BLUE)) >= {"nvlink-write"}


def test_parallel_links_must_all_be_cut() -> None:
    twin = tenants()
    isolate(twin, red=False, blue=False)
    cut(twin, RED, 0x050000)
    attack = twin.attack(RED, BLUE)
    assert delivered(attack) >= {"nvlink-write"}
    assert [attempt.delivered for attempt in tried(attack, "nvlink-write")] == [False, False, True]
    cut(twin, BLUE, 0x100000)
    assert not twin.attack(RED, BLUE).reached


def test_links_do_not_care_about_pci_commands() -> None:
    twin = Twin.new("ac922-4gpu")
    for gpu in (RED, BLUE):
        set_command(twin, gpu, off=0x6)
    assert delivered(twin.attack(RED, BLUE)) >= {"nvlink-write", "nvlink-read"}
    assert "write" not in delivered(twin.attack(RED, BLUE))


def test_without_request_redirect_the_switch_connects_its_ports() -> None:
    twin = tenants()
    isolate(twin, acs=SV | CR | UF)
    assert delivered(twin.attack(RED, BLUE)) >= {"write", "read"}
    set_acs(twin, RED_PORT, SV | RR | CR | UF)
    assert not twin.attack(RED, BLUE).reached, "controls act where a packet enters"
    assert twin.attack(BLUE, RED).reached


def test_without_source_validation_anyone_can_be_anyone() -> None:
    twin = tenants()
    isolate(twin, acs=RR | CR | UF)
    attack = twin.attack(RED, BLUE)
    assert delivered(attack) >= {"spoofed-write"}
    assert "write" not in delivered(attack)
    arrived = [attempt for attempt in attack.attempts if attempt.delivered and attempt.kind == "spoofed-write"]
    assert any("blue maps memory of blue" in hop.because for attempt in arrived for hop in attempt.path)
    assert any("bypass" in hop.because for hop in attack.path), "as the host's disk, which nothing translates"
    set_acs(twin, RED_PORT, SV | RR | CR | UF)
    assert not twin.attack(RED, BLUE).reached


def test_completions_are_reported_apart() -> None:
    twin = tenants()
    isolate(twin, acs=SV | RR | UF)
    attack = twin.attack(RED, BLUE)
    assert not attack.reached
    assert attack.completions_delivered
    set_acs(twin, RED_PORT, SV | RR | CR | UF)
    attack = twin.attack(RED, BLUE)
    assert attack.completions_delivered, "relaxed completions are not redirected"
    assert not tried(attack, "completion")[0].delivered
    assert tried(attack, "completion-relaxed")[0].delivered
    set_command(twin, RED, off=0x4)
    assert twin.attack(RED, BLUE).completions_delivered, "bus mastering does not gate completions"


@pytest.mark.parametrize("bridge", [RED, RED_PORT])
def test_bus_mastering_gates_requests_on_the_way_up(bridge: Address) -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, RED)
    assert twin.attack(RED, BLUE).reached
    set_command(twin, bridge, off=0x4)
    assert not twin.attack(RED, BLUE).reached


def test_bus_mastering_above_the_switch_leaves_what_is_inside() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, RED)
    set_command(twin, at("0004:01:00.0"), off=0x4)
    assert twin.attack(RED, BLUE).reached
    assert not twin.attack(RED, at("0035:03:00.0")).reached


@pytest.mark.parametrize("decoder", [BLUE, BLUE_PORT])
def test_memory_decoding_gates_delivery(decoder: Address) -> None:
    twin = tenants()
    isolate(twin, acs=SV)
    assert twin.attack(RED, BLUE).reached
    set_command(twin, decoder, off=0x2)
    assert not twin.attack(RED, BLUE).reached


def test_power_state_gates_both_ways() -> None:
    twin = tenants()
    isolate(twin, acs=SV)
    twin.poke(BLUE, "config", 0x64, 3)
    assert not twin.attack(RED, BLUE).reached
    twin.poke(BLUE, "config", 0x64, 0)
    twin.poke(RED, "config", 0x64, 3)
    assert not twin.attack(RED, BLUE).reached
    twin.poke(RED, "config", 0x64, 0)
    assert twin.attack(RED, BLUE).reached


def test_host_in_bypass_reaches_across_sockets_and_a_tenant_does_not_reach_the_host() -> None:
    twin = tenants()
    isolate(twin)
    far = at("0035:03:00.0")
    assert twin.attack(far, RED).reached, "a host device in bypass reaches its tenants"
    assert not twin.attack(RED, far).reached


def test_missing_upstream_forwarding_blocks_what_is_sent_to_oneself() -> None:
    twin = tenants()
    isolate(twin, acs=SV | RR | CR)
    assert not twin.attack(RED, BLUE).reached


def test_same_holder_shares_an_address_space() -> None:
    twin = Twin.new("ac922-4gpu")
    give(twin, RED, BLUE)
    for address in (RED, BLUE):
        twin.lease_vfio(address, holder="red")
        set_command(twin, address, on=0x6)
    isolate(twin)
    attack = twin.attack(RED, BLUE)
    assert attack.reached
    assert any("red maps" in hop.because for hop in attack.path)


def test_attack_changes_nothing() -> None:
    twin = tenants()
    before = [bytes(f.config) for f in twin.kernel.hardware.functions.values()]
    registers = [dict(f.registers) for f in twin.kernel.hardware.functions.values()]
    twin.attack(RED, BLUE)
    assert before == [bytes(f.config) for f in twin.kernel.hardware.functions.values()]
    assert registers == [dict(f.registers) for f in twin.kernel.hardware.functions.values()]


def test_no_attack_on_oneself_or_on_nobody() -> None:
    twin = Twin.new("ac922-4gpu")
    with pytest.raises(ValueError, match="itself"):
        twin.attack(RED, RED)
    with pytest.raises(OSError, match="No such device"):
        twin.attack(RED, at("0004:7f:00.0"))


# -- CPU-facing links


def test_npu_in_bypass_reaches_everything_under_an_old_kernel() -> None:
    twin = Twin.new("ac922-4gpu", kernel="5.4")
    for address in (RED, BLUE):
        cut(twin, address)
        set_command(twin, address, off=0x6)
    attack = twin.attack(RED, BLUE)
    assert delivered(attack) == {"npu-write", "completion", "completion-relaxed"}
    set_command(twin, RED, on=0x2)
    cut(twin, RED, 0x3F0000)
    assert not twin.attack(RED, BLUE).reached, "the disable register can cut CPU-facing links too"


def test_npu_follows_the_owner_of_its_group() -> None:
    twin = tenants(kernel="5.4-isolate")
    isolate(twin)
    assert not twin.attack(RED, BLUE).reached
    own = tried(twin.attack(RED, BLUE), "npu-write")
    assert all("maps nothing" in attempt.stopped for attempt in own)
    assert not twin.attack(at("0006:00:00.0"), BLUE).reached
    twin.event("close", [RED])
    assert any(attempt.delivered for attempt in tried(twin.attack(RED, BLUE), "npu-write"))


def test_npu_is_dead_without_kernel_code() -> None:
    stops = {attempt.stopped for attempt in tried(Twin.new("ac922-4gpu").attack(RED, BLUE), "npu-write")}
    assert len(stops) == 1
    assert "no kernel code" in stops.pop()


def test_isolating_kernel_cuts_after_each_secondary_bus_reset() -> None:
    twin = Twin.new("ac922-4gpu", kernel="5.4-isolate")
    assert "nvlink-write" in delivered(twin.attack(RED, BLUE)), "not before the first reset"
    twin.reset(RED, "bus")
    assert twin.peek(RED, "bar0", 0xA00148) == 0x150000
    assert "nvlink-write" not in delivered(twin.attack(RED, BLUE))


def test_sequoia_third_gpu_does_not_forward() -> None:
    twin = Twin.new("ac922-6gpu")
    first, second, third = at("0035:03:00.0"), at("0035:04:00.0"), at("0035:05:00.0")
    for source, victim, count in ((first, second, 2), (first, third, 2), (second, third, 2)):
        assert len(tried(twin.attack(source, victim), "nvlink-write")) == count
    cut(twin, first, 0x110000)
    assert "nvlink-write" not in delivered(twin.attack(first, second))
    assert "nvlink-write" in delivered(twin.attack(first, third))
    cut(twin, first, 0x1D0000)
    assert "nvlink-write" not in delivered(twin.attack(first, third))


def test_state_of_acs_can_be_read_back() -> None:
    twin = Twin.new("ac922-4gpu")
    assert [get_acs(twin, port) for port in SWITCH_PORTS] == [0, 0, 0, 0]
    set_acs(twin, RED_PORT, 0xFFFF)
    assert get_acs(twin, RED_PORT) == SV | TB | RR | CR | UF | DT
    twin.reset(at("0004:01:00.0"), "subordinate")
    assert get_acs(twin, RED_PORT) == 0, "PowerNV asks for no ACS"
