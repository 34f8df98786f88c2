"""What ``atoll iova`` calls clean, and what it calls taken, against packets on random fabrics.

A request of a cluster's device to a usable address must come to the root complex's translation: nobody may answer it
before, and nothing may end it on the way. A request to an address that is surely taken must not come there.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from awake import awake

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Unknown, value_of
from atoll.isolation.clusters import Cluster, Clusters
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.ranges import Ranges
from atoll.isolation.iova.survey import ClusterIova, survey
from atoll.pci.address import Address
from atoll.twin import Twin
from atoll.twin.decoding import forwarded
from atoll.twin.iommu import Iommu
from atoll.twin.multicast import multicast
from atoll.twin.packet import Kind, Outcome, Packet
from atoll.twin.traffic import Router

__all__ = ["Clean", "try_clean"]

ANYWHERE = (0x1234000, 0x40000000, 0x1_2345_6000, 0x77_0000_0000)
"""Addresses in which nothing of a machine is, mostly."""
MOST_DEVICES, MOST_ADDRESSES = 4, 60


@dataclass(slots=True)
class Clean:
    """What was sent, and what came of it."""

    sent: int = 0
    answered: int = 0
    """Requests that were answered, or ended, before any translation: all where this was told."""
    taken: int = 0
    """Ranges that are surely taken."""
    known: int = 0
    """What is known to be told wrongly."""
    wrong: list[str] = field(default_factory=list)


def try_clean(
    twin: Twin, topology: Topology, settings: Settings, dice: random.Random, *, clusters: int, name: str
) -> Clean:
    """Send requests of the devices of random clusters to addresses where something begins or ends, or nothing is."""
    tally = Clean()
    edges = {domain: sorted(set(_edges(twin, domain))) for domain in {each.domain for each in topology.functions}}
    router = Router(twin.kernel.hardware, Iommu(twin.kernel, twin.vfio))
    polluter = Polluter(topology, settings, Policy.STRICT)
    for _ in range(clusters):
        devices = dice.sample(topology.endpoints, min(len(topology.endpoints), dice.choice((1, 1, 2, MOST_DEVICES))))
        (found,) = survey(polluter, Clusters((Cluster("one", tuple(sorted(devices))),)))
        for device in devices:
            if value_of(topology.functions[device].group, None) is None and topology.host.iommu_units:
                continue  # Nobody can have it: no address space is asked for.
            if any(twin.send(device, address).asked for address in ANYWHERE):
                _try_device(router, topology, device, found, edges[device.domain], dice, tally, name)
                with awake(twin):
                    _try_taken(router, device, found, tally, name)
    return tally


def _try_device(
    router: Router,
    topology: Topology,
    device: Address,
    found: ClusterIova,
    edges: list[int],
    dice: random.Random,
    tally: Clean,
    name: str,
) -> None:
    router.claims.begin()
    addresses = {*ANYWHERE, *dice.sample(edges, min(len(edges), MOST_ADDRESSES))}
    for address in sorted(addresses):
        usable = _holds(found.usable, address)
        for outcome in _outcomes(router, device, address):
            tally.sent += 1
            if outcome.asked:
                continue
            tally.answered += 1
            if usable and (
                _is_left_over(router, outcome) or (found.unknown and _is_past_silence(topology, device, outcome))
            ):
                tally.known += 1
            elif usable:
                end = outcome.path[-1].at if outcome.function else outcome.stopped
                tally.wrong.append(f"{name}: {address:#x} is clean for {device}, and ends at {end}")


def _try_taken(router: Router, device: Address, found: ClusterIova, tally: Clean, name: str) -> None:
    """Send requests to what is surely taken once everything is awake."""
    router.claims.begin()
    for claim in found.claims:
        if claim.device != device or claim.answer is not Answer.DIRECT:
            continue
        for part in claim.ranges.parts:
            tally.taken += 1
            tally.sent += 1
            if all(outcome.asked for outcome in _outcomes(router, device, part.start)):
                tally.wrong.append(f"{name}: {part.start:#x} of {device} comes to the translation, against {claim}")


def _outcomes(router: Router, device: Address, address: int) -> Iterator[Outcome]:
    """Yield what becomes of a request, whoever gets what several answer to."""
    functions = router.hardware.functions
    packet = Packet(Kind.WRITE, address, device.requester_id)
    takers = [
        each.address
        for each in functions.values()
        if each.address.domain == device.domain and each.address != device
        if any(first <= address <= last for first, last in router.claims.claimed(each))
    ]
    for wanted in (None, *takers):
        router.claims.wanted = wanted
        yield router.send(functions[device], packet)


def _edges(twin: Twin, domain: int) -> Iterator[int]:
    """Yield where in a domain something begins, ends, and goes on behind it."""
    hardware = twin.kernel.hardware
    for function in hardware.functions.values():
        if function.address.domain == domain:
            spans: Iterable[tuple[int, int]] = (
                *((first, last) for _, first, last in hardware.claimed(function)),
                *forwarded(function, io=False),
            )
            for first, last in spans:
                yield from (first, last - 3, (first + last) // 2 & ~3, last + 1)
                if first:
                    yield first - 4
            found = multicast(function)
            if found is not None and found.enabled:
                starts = (found.base + (group << found.index) for group in range(found.groups + 1))
                yield from (edge for start in starts for edge in (max(start - 4, 0), start))


def _is_left_over(router: Router, outcome: Outcome) -> bool:
    """Whether a bridge of subtractive decoding on a root bus took what nobody claims, and nobody answered behind it.

    That a root complex which routes between its ports sends such requests there is the twin's declaration.
    """
    functions = {str(each.address): each for each in router.hardware.functions.values()}
    taken = [functions[hop.at] for hop in outcome.path if hop.because == "nobody else takes it" and hop.at in functions]
    return outcome.function is None and any(router.hardware.parent(each) is None for each in taken)


def _is_past_silence(topology: Topology, device: Address, outcome: Outcome) -> bool:
    """Whether a port let it through, or is above, whose configuration space does not answer: that no record shows.

    The cluster's addresses are then told as unknown, and the kernel's windows are all that there is to tell.
    """
    functions = {str(address): function for address, function in topology.functions.items()}
    above = (topology.functions[port] for port in topology.up(device))
    ports = (*above, *(functions[hop.at] for hop in outcome.path[1:] if hop.at in functions))
    return any(port.is_port and isinstance(port.header, Unknown) for port in ports)


def _holds(ranges: Ranges, address: int) -> bool:
    return any(part.start <= address <= part.end for part in ranges.parts)
