"""Reach against packets on random fabrics: the twin's traffic shares no code with the fabric.

The same for what ``iova`` calls clean (``clean.py``).
Run as a program it goes on until so many packets were sent: ``python tests/laws/packets.py --packets 1000000``.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from awake import awake, switched_on
from clean import try_clean

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Answer, Finding
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.identity import INTEGRATED_IDENTITY, SIBLING_IDENTITY
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.twin import Twin
from atoll.twin.attack import FORWARDING, Attempt
from atoll.twin.machines.random import PREFIX, MachineKind
from atoll.twin.packet import Kind
from atoll.twin.spec import DomainKind, Model, Platform

__all__ = ["DISABLE", "SEQUENCE", "Tally", "disturb", "rests_on_honesty", "retranslate", "try_fabric"]

V100 = 0x1DB1
SEQUENCE = ((0x12004C, 0x4), (0x122204, 0x2), (0x200, 1 << 25))
"""What a V100 wants written before it takes a mask (the patch that atoll.controls.nvlink_mask cites)."""
DISABLE = 0xA00148
WANTED = "mapped for its firmware"
"""How the twin tells that a request is translated by a mapping that the firmware wants."""
HONEST = {INTEGRATED_IDENTITY, SIBLING_IDENTITY}
"""What every proof assumes: who sends its own ids although no port above could tell."""


@dataclass(slots=True)
class Tally:
    """What was sent and what came of it."""

    fabrics: int = 0
    pairs: int = 0
    packets: int = 0
    delivered: int = 0
    directs: int = 0
    requests: int = 0
    """To addresses that are clean or taken for a cluster."""
    answered: int = 0
    """Of these, what never came to a translation."""
    woken: int = 0
    """Of the pairs that are direct, those that a packet shows once everything is awake."""
    atomics: int = 0
    """AtomicOps that were delivered."""
    forwarded: int = 0
    """What switches of links, and others of a hive, passed on and was delivered."""
    messages: int = 0
    """Sent where no request arrives."""
    taken: int = 0
    """Ranges that are surely taken, each shown by a packet."""
    known: int = 0
    """What is known to be told wrongly, and harmless: less arrives where registers are past all sense."""
    wrong: list[str] = field(default_factory=list)
    """Deliveries that reach denies, and ``direct`` answers that no packet shows."""

    def __iadd__(self, other: Tally) -> Tally:
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.wrong += other.wrong
        return self


COUNTED = tuple(each.name for each in fields(Tally) if each.name != "wrong")


def disturb(twin: Twin, host: Host, dice: random.Random, *, commands: bool = True) -> None:
    """Change ACS words, command registers (where wanted) and masks behind everyone's back."""
    for address, function in host.functions.items():
        acs = value_of(function.acs, None)
        if acs is not None and dice.random() < 0.4:
            control = dice.choice((0, 0x1D, 0x1D, 0x0D, 0x04, 0x5D, 0x1F, dice.randrange(0x80))) & acs.capability
            offset, shift = acs.control_offset & ~3, 8 * (acs.control_offset & 3)
            word = twin.peek(address, "config", offset) & ~(0xFFFF << shift)
            twin.poke(address, "config", offset, word | control << shift)
        if acs is not None and dice.random() < 0.7:
            for place in range((acs.egress_bits + 31) // 32):
                twin.poke(
                    address, "config", acs.offset + 8 + 4 * place, dice.choice((0, 0xFFFFFFFF, dice.getrandbits(32)))
                )
        if acs is not None and _wide(twin, address) and acs.egress_bits and dice.random() < 0.5:
            word = twin.peek(address, "config", acs.offset + 4) & 0xFFFF
            twin.poke(address, "config", acs.offset + 4, word | dice.choice((0x20, 0x24, 0x2C, 0x6C)) << 16)
        if acs is not None and acs.enhanced is not None and dice.random() < 0.4:
            word = twin.peek(address, "config", acs.offset + 4)
            twin.poke(address, "config", acs.offset + 4, word | dice.getrandbits(13) << 16 & 0x1F800000)
        if commands and dice.random() < 0.1:
            twin.poke(address, "config", 4, dice.choice((0, 2, 4, 6)))
        if function.device == V100 and dice.random() < 0.5 and twin.peek(address, "config", 4) & 2:
            for register, value in SEQUENCE:
                twin.poke(address, "bar0", register, value)
            twin.poke(address, "bar0", DISABLE, dice.randrange(64) << 16)


def _wide(twin: Twin, address: Address) -> bool:
    """Whether a function is of a device whose functions have numbers of 8 bits, without being virtual."""
    return twin.kernel.hardware.functions[address].spec.ari_next is not None


def retranslate(twin: Twin, dice: random.Random) -> None:
    """Give groups default domains of their own kinds, and switch ATS, as an administrator may.

    On PowerNV what passes as it is goes through a window of its own: addresses there look like nobody's from below.
    """
    passing = DomainKind.BYPASS if twin.blueprint.platform is Platform.POWERNV else DomainKind.IDENTITY
    for group in twin.kernel.groups.values():
        if dice.random() < 0.4:
            group.kind = dice.choice((passing, DomainKind.DMA, DomainKind.DMA_FQ))
    for function in twin.kernel.hardware.functions.values():
        if dice.random() < 0.3:
            function.set_ats(dice.random() < 0.5)


def renumber(twin: Twin, dice: random.Random) -> None:
    """Let bridges take other buses for their own side than those that are below them."""
    for function in twin.kernel.hardware.functions.values():
        if function.spec.is_bridge and dice.random() < 0.25:
            first, last = function.buses.start, function.buses.stop - 1
            ranges = ((first, 0xFF), (first, min(last + 3, 0xFF)), (max(first - 2, 0), last), (0, 0xFF), (0, 0))
            first, last = dice.choice(ranges)
            twin.poke(function.address, "config", 0x18, function.address.bus | first << 8 | last << 16)


def try_fabric(name: str, dice: random.Random, *, pairs: int, clusters: int = 2) -> Tally:
    """Attack between random pairs of a disturbed machine, and hold every packet against what reach says."""
    twin = Twin.new(name, links=dice.random() < 0.8)
    disturb(twin, read_host(twin, registers=registers), dice)
    further = random.Random(f"further {name}")
    if further.random() < 0.5:
        retranslate(twin, further)
    renumbered = further.random() < 0.25
    if renumbered:
        renumber(twin, further)
    host = read_host(twin, registers=registers)
    topology = Topology(host)
    settings = present(host)
    reach = Reach(topology, settings)
    tally = Tally(fabrics=1)
    if len(topology.endpoints) < 2:
        return tally
    for _ in range(pairs):
        one, other = _joined(twin, further) or _pair(topology, dice)
        attack = twin.attack(one, other)
        answer = reach.answer(one, other)
        tally.pairs += 1
        tally.packets += len(attack.attempts)
        delivered = [attempt for attempt in attack.attempts if attempt.delivered]
        tally.delivered += len(delivered)
        tally.atomics += sum(attempt.kind.endswith("atomic") for attempt in delivered)
        tally.forwarded += sum(attempt.kind.startswith("nvlink") and len(attempt.path) > 2 for attempt in delivered)
        for attempt in delivered:
            if not any(_told(reach, one, other, attempt)):
                tally.wrong.append(f"{name}: {one} to {other}: {attempt} against {answer}")
        if answer.answer <= Answer.IOMMU and one.domain == other.domain and _has_memory(twin, other):
            outcome = twin.send(one, other.requester_id, kind=Kind.MESSAGE, wanted=other)
            tally.messages += 1
            # That these set nothing up is an assumption of every proof; they go where requests would, were all on.
            if outcome.function == other and _if_switched_on(twin, one, other) <= Answer.IOMMU:
                tally.wrong.append(f"{name}: {one} to {other}: a message arrives where no request would: {outcome}")
        if answer.answer is Answer.DIRECT:
            tally.directs += 1
            if any(_shows(attempt, answer) for attempt in delivered):
                continue
            with awake(twin) as slept:
                woken = twin.attack(one, other).attempts if slept else ()
            if any(_shows(attempt, answer) for attempt in woken if attempt.delivered):
                tally.woken += 1
                continue
            if renumbered or ((twin.blueprint.stray or twin.blueprint.setup) and _sent_down(answer)):
                tally.known += 1
            else:
                tally.wrong.append(f"{name}: {one} to {other}: no packet shows {answer}")
    clean = try_clean(twin, topology, settings, random.Random(f"clean {name}"), clusters=clusters, name=name)
    tally += Tally(requests=clean.sent, answered=clean.answered, taken=clean.taken, known=clean.known)
    tally.wrong += clean.wrong
    return tally


def _has_memory(twin: Twin, address: Address) -> bool:
    """Whether a function can answer to any request at all: AMD's IOMMU, which is one, cannot."""
    with switched_on(twin):
        hardware = twin.kernel.hardware
        return bool(hardware.claimed(hardware.functions[address]))


def _if_switched_on(twin: Twin, one: Address, other: Address) -> Answer:
    """What reach answers once every function sends and answers."""
    with switched_on(twin):
        host = read_host(twin, registers=registers)
        return Reach(Topology(host), present(host)).answer(one, other).answer


def _sent_down(answer: Finding) -> bool:
    """Whether reach says that something comes down from a root complex.

    It does not look at windows that lead down from there, nor at who else answers to the same addresses: ``direct`` is
    more than there is, never less, where registers were written past the kernel.
    """
    return answer.path[-1].because == "the root complex sends it down again"


def _joined(twin: Twin, dice: random.Random) -> tuple[Address, Address] | None:
    """Two GPUs with links, mostly, on machines where links are passed on: few pairs are, of all that there are."""
    models = {each.address: each.model for each in twin.blueprint.functions}
    ends = {end for link in twin.blueprint.links for end in (link.a, link.b)}
    gpus = sorted(each for each in ends if models[each] is not Model.NVSWITCH)
    forwarding = any(models[each] in FORWARDING for each in ends)
    if not forwarding or len(gpus) < 2 or dice.random() < 0.4:
        return None
    one, other = dice.sample(gpus, 2)
    return one, other


def _pair(topology: Topology, dice: random.Random) -> tuple[Address, Address]:
    """Two functions, rather from the same neighbourhood."""
    one = dice.choice(topology.endpoints)
    others = [each for each in topology.endpoints if each != one]
    up = topology.up(one)
    near = [each for each in others if up and topology.up(each) and topology.up(each)[-1] == up[-1]]
    return one, dice.choice(near if near and dice.random() < 0.5 else others)


def _told(reach: Reach, one: Address, other: Address, attempt: Attempt) -> Iterator[bool]:
    """Yield for each way in which reach may have told of a delivery whether it did."""
    to_memory = attempt.path[-1].at == "system memory"
    if to_memory:
        yield reach.memory(one).answer > Answer.IOMMU
    else:
        yield reach.answer(one, other).answer > Answer.IOMMU
    if any(hop.because.endswith(WANTED) for hop in attempt.path):
        # A mapping like others: who is in the group shares it, and a proof tells that it is there.
        yield True
    if attempt.kind == "completion-relaxed":
        # Such completions pass CR: that nobody takes one it did not ask for is an assumption of every proof.
        yield True
    if attempt.kind.startswith("spoofed-"):
        for address in _borne(reach, one, attempt):
            yield address in reach.topology.endpoints and reach.identity(one, address).answer > Answer.IOMMU
        yield rests_on_honesty(reach, one, attempt)


def _borne(reach: Reach, one: Address, attempt: Attempt) -> Iterator[Address]:
    """Yield whose id a request bears that is under a false one."""
    requester = int(attempt.target.rpartition(" ")[2], 16)
    for address in reach.topology.functions:
        if address.domain == one.domain and address.requester_id == requester and address != one:
            yield address


def rests_on_honesty(reach: Reach, one: Address, attempt: Attempt) -> bool:
    """Whether a request bears an id that, as every proof assumes, its sender does not send."""
    return any(not reach.identity(one, a).assumptions.isdisjoint(HONEST) for a in _borne(reach, one, attempt))


def _shows(attempt: Attempt, answer: Finding) -> bool:
    """Whether a delivery shows that packets arrive at a function: under the sender's name if not told otherwise."""
    told = any(hop.via == "requester id" for hop in answer.path)
    return attempt.path[-1].at != "system memory" and (told or not attempt.kind.startswith("spoofed-"))


def main() -> int:
    """Try fabric after fabric until the packets are sent; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="the first fabric's")
    parser.add_argument("--pairs", type=int, default=60, help="pairs tried on each fabric")
    parser.add_argument("--kind", choices=tuple(MachineKind), default=MachineKind.PLAIN, help="how their names end")
    options = parser.parse_args()
    started, tally, seed = time.monotonic(), Tally(), options.seed
    while tally.packets < options.packets:
        tally += try_fabric(f"{PREFIX}{seed}{options.kind}", random.Random(seed), pairs=options.pairs)
        seed += 1
    for wrong in tally.wrong[:10]:
        print(wrong, file=sys.stderr)
    print(
        f"{tally.fabrics} fabrics, {tally.pairs} pairs, {tally.packets} packets, {tally.delivered} delivered, "
        f"{tally.atomics} of them AtomicOps, {tally.forwarded} passed on over links, "
        f"{tally.directs} pairs direct, {tally.woken} of them once all is awake, "
        f"{tally.messages} messages where no request arrives; {tally.requests} requests to what iova tells of, "
        f"{tally.answered} of them never translated, {tally.taken} ranges surely taken; {tally.known} known, "
        f"{len(tally.wrong)} wrong, {time.monotonic() - started:.0f} s"
    )
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
