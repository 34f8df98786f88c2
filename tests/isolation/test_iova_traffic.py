"""Pollution on twins, against what becomes of their traffic."""

from __future__ import annotations

import random
from itertools import takewhile

import pytest

from atoll.controls.present import present
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Known
from atoll.host.model import Host
from atoll.isolation.iova.claim import Claim, Fate
from atoll.isolation.iova.pollution import Polluter
from atoll.pci.address import Address
from atoll.twin import Attempt, Twin
from atoll.twin.attack import Attacker
from atoll.twin.iommu import Iommu
from atoll.twin.packet import Kind, Packet
from atoll.twin.traffic import Router

_AT_THE_IOMMU = ("maps nothing", "maps its own buffers", "no context", "its endpoint maps")
"""What the twin's IOMMU says where it translates nothing."""


def attacker_on(twin: Twin) -> Attacker:
    iommu = Iommu(twin.kernel, twin.vfio)
    return Attacker(Router(twin.kernel.hardware, iommu), iommu)


def tried(attacker: Attacker, source: Address, victim: Address) -> list[tuple[int, Attempt]]:
    """Untranslated requests of the source's own id to BARs, by the address that was sent: an attack's first."""
    sender, target = (attacker.hardware.functions[address] for address in (source, victim))
    attacker.router.claims.begin(victim)
    attempts = attacker.requests(sender, target, list(attacker.aims.targets(sender, target)))
    return [
        (int(attempt.target.rpartition(" ")[2], 16), attempt)
        for attempt in takewhile(lambda attempt: attempt.kind in ("write", "read"), attempts)
        if attempt.target.startswith("BAR")
    ]


def at_the_iommu(attempt: Attempt) -> bool:
    """Whether a request came to the IOMMU."""
    return any(hop.via == "translation" for hop in attempt.path) or any(
        word in attempt.stopped for word in _AT_THE_IOMMU
    )


def verdict(claims: tuple[Claim, ...], address: int) -> set[tuple[Fate, Answer]]:
    return {(claim.fate, claim.answer) for claim in claims if address in claim.ranges}


def shaken(name: str, seed: int) -> Twin:
    """A machine where all functions decode and send, and whose ACS is set at random."""
    twin = Twin.new(name)
    choice = random.Random(seed)
    functions = twin.kernel.hardware.functions
    for address in functions:
        twin.poke(address, "config", 4, twin.peek(address, "config", 4) & 0xFFFF | 0x6)
    machine = read_host(twin)
    for address, told_function in machine.functions.items():
        acs = told_function.acs
        if isinstance(acs, Known) and acs.value is not None and seed:
            twin.poke(address, "config", acs.value.offset + 4, choice.randrange(0x80) << 16)
    return twin


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["pcie-box", "ac922-4gpu"])
def test_as_the_twins_traffic_goes(name: str, seed: int) -> None:
    twin = shaken(name, seed)
    machine = read_host(twin)
    polluter = Polluter(Topology(machine), present(machine), Policy.STRICT)
    endpoints = [f.address for f in machine.functions.values() if not f.is_port]
    endpoints = [address for address in endpoints if address not in polluter.topology.bricks]
    seen = {"direct": 0, "lost": 0, "up": 0}
    attacker = attacker_on(twin)
    for source in endpoints:
        claims = polluter.of(source).claims
        for victim in endpoints:
            if victim == source:
                continue
            for address, attempt in tried(attacker, source, victim):
                found = verdict(claims, address)
                what = (str(source), hex(address), attempt.delivered, attempt.stopped, found)
                if at_the_iommu(attempt):
                    seen["up"] += 1
                    assert not any(answer is Answer.DIRECT for _, answer in found), what
                elif attempt.delivered:
                    seen["direct"] += 1
                    assert any(fate is Fate.CLAIMED for fate, _ in found), what
                else:
                    seen["lost"] += 1
                    assert found, what
                if (Fate.CLAIMED, Answer.DIRECT) in found:
                    assert attempt.delivered or attempt.stopped.startswith("arrives at"), what
    assert seen["up"] > 0
    if name == "pcie-box":
        assert seen["direct"] > 0


def edges(machine: Host) -> list[int]:
    """The first and last address of every window and BAR, and their neighbours."""
    found: set[int] = set()
    for told_function in machine.functions.values():
        assert isinstance(told_function.bars, Known)
        assert isinstance(told_function.bridge, Known)
        ranges = [(bar.start, bar.start + bar.size - 1) for bar in told_function.bars.value if bar.memory]
        bridge = told_function.bridge.value
        ranges += [] if bridge is None else [(w.start, w.end) for w in bridge.windows if w.memory]
        for start, end in ranges:
            found |= {start - 1, start, end, end + 1}
    return sorted(address for address in found if address >= 0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["pcie-box", "ac922-4gpu", "dgx1v"])
def test_exactly_what_never_comes_to_the_iommu(name: str, seed: int) -> None:
    twin = shaken(name, seed)
    machine = read_host(twin)
    polluter = Polluter(Topology(machine), present(machine), Policy.STRICT)
    router = Router(twin.kernel.hardware, Iommu(twin.kernel, twin.vfio))
    router.claims.begin()
    addresses = edges(machine)
    polluted = 0
    for source, sender in twin.kernel.hardware.functions.items():
        if source not in machine.functions or sender.spec.is_bridge or source in polluter.topology.bricks:
            continue
        claims = polluter.of(source).claims
        for address in addresses:
            outcome = router.send(sender, Packet(Kind.WRITE, address, source.requester_id))
            found = verdict(claims, address)
            what = (str(source), hex(address), outcome.stopped, found)
            assert "SrcValid" not in outcome.stopped, what
            up = any(hop.via == "translation" for hop in outcome.path) or any(
                word in outcome.stopped for word in _AT_THE_IOMMU
            )
            if up:
                assert not any(answer is Answer.DIRECT for _, answer in found), what
            else:
                assert found, what
                polluted += 1
            if found == {(Fate.CLAIMED, Answer.DIRECT)} and outcome.function is None:
                assert "answers to" in outcome.stopped, what
            if found == {(Fate.LOST, Answer.DIRECT)}:
                assert outcome.function is None, what
    assert polluted


@pytest.mark.parametrize("seed", range(3))
def test_no_address_surely_ends_twice(seed: int) -> None:
    machine = read_host(shaken("pcie-box", seed))
    polluter = Polluter(Topology(machine), present(machine), Policy.STRICT)
    for source in polluter.topology.endpoints:
        sure = [claim.ranges for claim in polluter.of(source).claims if claim.answer is Answer.DIRECT]
        assert sum(ranges.size for ranges in sure) == polluter.of(source).ranges(Answer.DIRECT).size
