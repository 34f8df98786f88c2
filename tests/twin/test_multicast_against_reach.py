"""Reach and IOVA ranges against copies that Multicast makes, one machine for each way in which it decides.

Each was found on random fabrics (``make law LAW_ARGS=--kind=-multicast``), and is the smallest that shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.isolation.clusters import Cluster, Clusters
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.survey import survey
from atoll.isolation.reach import Reach
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.machines.records import root_complex
from atoll.twin.spec import DomainKind, FunctionSpec, Routing
from twin.bench import at, set_acs, set_command
from twin.groups import (
    BASE,
    EVERYTHING,
    FAR,
    FIRST,
    GROUPS,
    INDEX,
    OTHER_ROOT,
    PORTS,
    ROOT_PORT,
    SECOND,
    UPSTREAM,
    control,
    parts,
    receive,
    store,
    switched_on,
)
from twin.small import bridge, card, small

GROUP = 2
ENGINE = at("0000:01:00.1")
SIBLING = at("0000:03:00.1")
INSIDE = at("0000:00:05.0")
DEVICE_ACS = AcsFlag.RR | AcsFlag.CR

Case = tuple[Twin, Address, Address]
"""A machine, who sends, and to whom."""


def closed(twin: Twin) -> Twin:
    """All ACS controls that close are on: what is reached is reached past them."""
    for function in twin.kernel.hardware.functions.values():
        function.set_acs(function.acs | (REDIRECTING | AcsFlag.TB if function.spec.is_bridge else DEVICE_ACS))
    return twin


def told(routing: Routing, *functions: FunctionSpec) -> Twin:
    """A machine whose records tell how its root complex routes."""
    plan = small(*functions).blueprint
    bridges = (replace(plan.bridges[0], routing=routing),)
    twin = Twin(replace(plan, bridges=bridges, files=(root_complex(bridges, "declared"),)))
    twin.kernel.boot()
    return twin


def switch(twin: Twin | None = None) -> Case:
    """All functions of the switch agree, and its second port forwards a group."""
    twin = closed(switched_on(UPSTREAM, *PORTS, twin=twin))
    receive(twin, PORTS[1], GROUP, onto=SECOND)
    return twin, FIRST, SECOND


def below_a_root_complex(routing: Routing) -> Case:
    """What a root complex does with requests is nothing to a switch below it."""
    return switch(told(routing, *parts()))


def ingress_off() -> Case:
    """Its functions differ: what it does then is indeterminate (6.14.1)."""
    case = switch()
    control(case[0], PORTS[0], 0)
    return case


def only_another_port_on() -> Case:
    case = switch()
    for address in (UPSTREAM, *PORTS[:2]):
        control(case[0], address, 0)
    return case


def ingress_without() -> Case:
    """A component uses the values of any one of its functions (6.14.1)."""
    functions = [each for each in parts() if each.address != PORTS[0]]
    plain = bridge("02:01.0", PortType.DOWNSTREAM, (3, 3), EVERYTHING, egress_bits=8)
    twin = closed(switched_on(UPSTREAM, *PORTS[1:], twin=small(*functions, plain)))
    receive(twin, PORTS[1], GROUP, onto=SECOND)
    return twin, FIRST, SECOND


def egress_closed() -> Case:
    """Windows do not matter: copies are not routed by their address (6.14.1)."""
    twin, one, other = switch()
    twin.poke(PORTS[1], "config", 0x20, 0x0000FFF0)
    twin.poke(PORTS[1], "config", 0x24, 0x0000FFF0)
    return twin, one, other


def egress_not_decoding() -> Case:
    """Nothing says whether a port that decodes no memory (7.5.1.1.3) forwards copies: the twin's do."""
    twin, one, other = switch()
    set_command(twin, PORTS[1], off=2)
    return twin, one, other


def overlaid_onto_its_own_side() -> Case:
    """A copy has another address above (6.14.5): what the port below would end for its own side comes back."""
    both = (card(f"03:00.{number}", multifunction=True, acs=DEVICE_ACS) for number in (0, 1))
    functions = (*(each for each in parts() if each.address != FIRST), *both)
    twin = closed(switched_on(UPSTREAM, *PORTS, twin=small(*functions, domain=DomainKind.IDENTITY)))
    set_acs(twin, PORTS[0], int(REDIRECTING & ~AcsFlag.UF | AcsFlag.TB))
    receive(twin, UPSTREAM, GROUP, onto=SIBLING)
    return twin, FIRST, SIBLING


def with_engine(groups: int) -> Twin:
    functions = [each for each in parts() if each.address != UPSTREAM]
    upstream = bridge("01:00.0", PortType.UPSTREAM, (2, 5), DEVICE_ACS, multicast_groups=GROUPS, multifunction=True)
    return small(*functions, upstream, card("01:00.1", multifunction=True, acs=DEVICE_ACS, multicast_groups=groups))


def from_engine() -> Case:
    """What a function beside the upstream port sends comes into the switch there."""
    return switch(with_engine(0))[0], ENGINE, SECOND


def to_engine() -> Case:
    """A function beside the upstream port receives a group."""
    twin = closed(switched_on(twin=with_engine(GROUPS)))
    receive(twin, ENGINE, GROUP)
    return twin, FIRST, ENGINE


def inside_a_device() -> Case:
    """Neither redirection nor egress control of a device's functions applies (6.14.1)."""
    both = [card(f"01:00.{number}", multifunction=True, acs=DEVICE_ACS, multicast_groups=GROUPS) for number in (0, 1)]
    twin = closed(switched_on(twin=small(bridge("00:01.0", PortType.ROOT_PORT, (1, 1), EVERYTHING), *both)))
    receive(twin, both[1].address, GROUP)
    return twin, both[0].address, both[1].address


def over_the_root() -> Case:
    twin = closed(switched_on(ROOT_PORT, OTHER_ROOT, twin=told(Routing.DIRECT, *parts())))
    receive(twin, ROOT_PORT, GROUP, onto=FIRST)
    return twin, FAR, FIRST


def ingress_root_port_off() -> Case:
    case = over_the_root()
    control(case[0], OTHER_ROOT, 0)
    return case


def integrated_sends() -> Case:
    inside = card("00:05.0", PortType.ROOT_INTEGRATED, multicast_groups=GROUPS)
    twin = closed(switched_on(ROOT_PORT, OTHER_ROOT, INSIDE, twin=told(Routing.DIRECT, *parts(), inside)))
    receive(twin, OTHER_ROOT, GROUP, onto=FAR)
    return twin, INSIDE, FAR


def integrated_receives() -> Case:
    inside = card("00:05.0", PortType.ROOT_INTEGRATED, multicast_groups=GROUPS)
    twin = closed(switched_on(ROOT_PORT, OTHER_ROOT, INSIDE, twin=told(Routing.DIRECT, *parts(), inside)))
    receive(twin, INSIDE, GROUP)
    return twin, FAR, INSIDE


def up_and_over_the_root() -> Case:
    twin = closed(switched_on(twin=told(Routing.DIRECT, *parts())))
    receive(twin, UPSTREAM, GROUP)
    receive(twin, OTHER_ROOT, GROUP, onto=FAR)
    return twin, FIRST, FAR


def conventional_sends() -> Case:
    sender, victim = at("0000:02:00.0"), at("0000:07:00.0")
    functions = [
        bridge("00:01.0", PortType.ROOT_PORT, (1, 6), EVERYTHING, multicast_groups=GROUPS),
        bridge("01:00.0", PortType.PCIE_TO_PCI, (2, 2)),
        card("02:00.0", PortType.CONVENTIONAL),
        bridge("00:02.0", PortType.ROOT_PORT, (7, 7), EVERYTHING, multicast_groups=GROUPS),
        card("07:00.0"),
    ]
    twin = closed(switched_on(twin=told(Routing.DIRECT, *functions)))
    receive(twin, OTHER_ROOT, GROUP, onto=victim)
    return twin, sender, victim


def sender_blocks() -> Case:
    """What a sender blocks never leaves it."""
    twin = closed(switched_on(FIRST, twin=small(*parts(groups=0, cards=GROUPS))))
    store(twin, FIRST, 0x18, 1 << GROUP)
    return twin, FIRST, SECOND


def translated() -> Case:
    return below_a_root_complex(Routing.TRANSLATED)


def direct() -> Case:
    return below_a_root_complex(Routing.DIRECT)


def nothing() -> Case:
    return below_a_root_complex(Routing.NONE)


TOLD = (
    *(switch, translated, direct, nothing, ingress_off, only_another_port_on, ingress_without, from_engine, to_engine),
    *(inside_a_device, over_the_root, ingress_root_port_off, integrated_sends, integrated_receives),
    *(up_and_over_the_root, conventional_sends),
)
"""What reach and IOVA ranges both tell of."""


def arrives(twin: Twin, one: Address, other: Address) -> bool:
    """Whether any request comes to a function; an identity domain lets all come to memory."""
    requests = (each for each in twin.attack(one, other).attempts if not each.kind.startswith("completion"))
    return any(each.delivered and each.path[-1].at != "system memory" for each in requests)


@pytest.mark.parametrize("make", [*TOLD, egress_closed, egress_not_decoding, overlaid_onto_its_own_side])
def test_reach_tells_of_what_arrives(make: Callable[[], Case]) -> None:
    twin, one, other = make()
    host = read_host(twin, registers=registers)
    assert arrives(twin, one, other)
    assert Reach(Topology(host), present(host)).answer(one, other).answer > Answer.IOMMU


@pytest.mark.parametrize("make", [egress_not_decoding, overlaid_onto_its_own_side])
def test_the_same_without_multicast_is_closed(make: Callable[[], Case]) -> None:
    twin, one, other = make()
    for function in (UPSTREAM, *PORTS):
        control(twin, function, 0)
    host = read_host(twin, registers=registers)
    assert not arrives(twin, one, other)
    assert Reach(Topology(host), present(host)).answer(one, other).answer <= Answer.IOMMU


@pytest.mark.parametrize("make", [*TOLD, sender_blocks])
def test_no_address_of_a_group_is_clean(make: Callable[[], Case]) -> None:
    twin, one, other = make()
    host = read_host(twin, registers=registers)
    polluter = Polluter(Topology(host), present(host), Policy.STRICT)
    (found,) = survey(polluter, Clusters((Cluster("one", (one,)),)))
    address = BASE + (GROUP << INDEX) + 0x40
    assert not twin.send(one, address, wanted=other).asked
    assert not any(part.start <= address <= part.end for part in found.usable.parts)


def test_port_that_closes_all_is_what_it_seems() -> None:
    """The same machine without Multicast: nothing arrives, and nothing is said to."""
    twin = closed(small(*parts()))
    set_acs(twin, ROOT_PORT, int(REDIRECTING | AcsFlag.TB))
    host = read_host(twin, registers=registers)
    assert not twin.attack(FIRST, SECOND).reached
    assert Reach(Topology(host), present(host)).answer(FIRST, SECOND).answer <= Answer.IOMMU
