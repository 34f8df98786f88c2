"""What is so now of held devices: as their keepers see it, and unknown where these do not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from act_bench import host_of
from guard_bench import BLUE, RED, RED2, Bench

from atoll.act.pace import Pace
from atoll.controls.nvlink_mask import VOLTA
from atoll.guard import standing
from atoll.guard.keepers import Keepers
from atoll.guard.keeping import PATIENCE, Order
from atoll.guard.standing import cut_now, read_now, with_held
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Host, Register
from atoll.host.trees.memory import MemoryTree
from atoll.pci.address import Address
from atoll.twin import Twin, v100
from atoll.vfio.device import Device

MASK = Register(0, v100.DISABLE)
TREE = MemoryTree("bench")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Three V100: of red one is watched and one is not, blue's is nobody's."""
    gpu = next(f for f in host_of(Twin.new("ac922-4gpu")).functions.values() if VOLTA.applies(f.vendor, f.device))
    host = Host("bench", {a: replace(gpu, address=a) for a in (RED, RED2, BLUE)}, Known({}))
    monkeypatch.setattr(standing, "read_host", lambda tree, registers: host)
    with Bench() as found:
        for address in (RED, RED2):
            found.keepers.lease(address, holder="atoll-hold:red")
        found.keepers.by_holder["atoll-hold:red"].leases[RED].watch(VOLTA, [1], interval=0.001)
        yield found


def masks(bench: Bench) -> dict[Address, Fact[int] | None]:
    now = read_now(TREE, bench.keepers)
    return {address: now.registers.get((address, MASK)) for address in (RED, RED2, BLUE)}


def test_a_watched_device_is_as_it_was_seen_and_another_one_is_read(bench: Bench) -> None:
    assert masks(bench) == {RED: Known(1 << 17, "seen by its keeper"), RED2: Known(0, "read by its keeper"), BLUE: None}
    assert cut_now(read_now(TREE, bench.keepers), bench.keepers) == {RED: frozenset({1})}


def test_what_a_keeper_does_not_see_is_unknown(bench: Bench) -> None:
    bench.poke(0, v100.DISABLE, 0xFFFFFFFF)
    bench.poke(1, v100.DISABLE, 0xFFFFFFFF)
    keeping = bench.keepers.by_holder["atoll-hold:red"]
    assert Pace().until(lambda: keeping.order("looks")["devices"][str(RED)]["sight"] == "unknown", seconds=20)
    found = masks(bench)
    for address, words in ((RED, "its keeper does not see it: it reads as all ones"), (RED2, "reads as all ones")):
        fact = found[address]
        assert isinstance(fact, Unknown)
        assert words in fact.reason
    assert cut_now(read_now(TREE, bench.keepers), bench.keepers) == {}


def test_of_a_keeper_that_has_ended_nothing_is_known(bench: Bench) -> None:
    bench.keepers.by_holder["atoll-hold:red"].orders.shutdown(2)
    found = masks(bench)
    assert all(isinstance(found[address], Unknown) for address in (RED, RED2))
    assert cut_now(read_now(TREE, bench.keepers), bench.keepers) == {}


def test_a_keeper_that_does_not_answer_is_waited_for_once(bench: Bench) -> None:
    """Whoever asks for a proof waits meanwhile, and everybody else: not for each register as for a reset."""
    keeping = bench.keepers.by_holder["atoll-hold:red"]
    keeping.under_way.append(Order(time.monotonic() - PATIENCE + 20, "then"))
    began = time.monotonic()
    now = with_held(read_now(TREE, Keepers()), bench.keepers, patience=0.2)
    assert time.monotonic() - began < 10
    for address in (RED, RED2):
        fact = now.registers[address, MASK]
        assert isinstance(fact, Unknown)
        assert "does not answer since then" in fact.reason
    keeping.under_way.clear()
    assert isinstance(masks(bench)[RED2], Known)


def test_a_device_whose_owner_has_decoding_off_is_left_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever switches it on for a look and off again undoes it where the owner switches it on in between."""
    device = bench.keepers.by_holder["atoll-hold:red"]
    switched: list[bool] = []
    decode = Device.decode

    def noted(self: Device, on: bool) -> None:
        if self.address == RED2:
            switched.append(on)
        decode(self, on)

    monkeypatch.setattr(Device, "decode", noted)
    bench.kernel.machine.devices[1].config[4] &= ~2
    fact = masks(bench)[RED2]
    assert isinstance(fact, Unknown)
    assert "its keeper cannot read it" in fact.reason
    assert switched == []
    assert device.leases[RED2].read32(0, v100.DISABLE) == 0
    assert switched == [True, False]
