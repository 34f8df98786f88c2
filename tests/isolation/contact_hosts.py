"""Random hosts whose contacts are many: of classes, of pairs, under shared ids. And what the contacts of a host are."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from hypothesis import strategies as st
from reach_hosts import ALL, CLOSED, OFF, Scene, acs, change, endpoint, gpu, links, machine, port, scene, switch

from atoll.fabric.answer import Answer, worst
from atoll.fabric.links import across_links
from atoll.fabric.pcie import peer_to_peer
from atoll.host.fact import Known, Unknown
from atoll.host.model import EndKind, RootRouting
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.pci.multicast import Multicast

__all__ = ["Pairs", "by_pair", "hosts"]

Pairs = dict[tuple[Address, Address, bool], Answer]
"""By source, target, and whether the one can send as the other."""

_WORDS = (
    *(CLOSED, OFF, None, Unknown("cut"), acs("RR CR UF"), acs("", ""), acs("DT SV")),
    acs("RR EC CR SV", ALL, vector=0b101),
    acs("SV CR UF", "SV CR UF EC"),
    acs("SV CR UF", "SV CR UF"),
    acs("SV UF", "SV UF"),
)
_words = st.sampled_from(_WORDS)


def by_pair(reach: Reach) -> Pairs:
    """Return the contacts of a host, asked pair by pair."""
    found: Pairs = {}
    for one, other in permutations(reach.topology.endpoints, 2):
        answer = worst(
            across_links(reach.topology, reach.settings, one, other),
            peer_to_peer(reach.topology, reach.settings, reach.policy, one, other),
        ).answer
        if one in reach.topology.bricks:
            answer = Answer.BLOCKED
        identity = reach.identity(one, other).answer
        found |= {(one, other, False): answer} if answer >= Answer.POSSIBLE else {}
        found |= {(one, other, True): identity} if identity >= Answer.POSSIBLE else {}
    return found


@st.composite
def hosts(draw: st.DrawFn) -> Scene:
    """A switch, root ports, devices of many functions, a PCI bus, a hidden port, integrated endpoints."""
    functions = switch(draw(_words), draw(_words), root=draw(_words))
    functions += [port("00:02.0", 0x10, acs=draw(_words))]
    ari = Known(draw(st.booleans()))
    for n in range(draw(st.integers(1, 5))):
        ids = draw(st.sampled_from(((0x1AF4, 0x1000), (0x1B4B, 0x9172), (0x8086, 0x10C9))))
        ats = draw(st.sampled_from((None, True)))
        one = endpoint(f"10:00.{n}", "00:02.0", multifunction=True, acs=draw(_words), ids=ids, ats=ats)
        functions.append(replace(one, ari=ari))
    for n in range(draw(st.integers(0, 3))):
        functions.append(endpoint(f"10:01.{n}", "00:02.0", physical="10:00.0", memory=False))
    functions.append(port("00:03.0", 0x20, acs=draw(_words)))
    functions.append(port("20:00.0", 0x21, "00:03.0", PortType.PCIE_TO_PCI, acs=None))
    functions += [endpoint(f"21:0{n}.0", "20:00.0", port_type=PortType.CONVENTIONAL) for n in range(2)]
    functions += [endpoint(f"00:0a.{n}", port_type=PortType.ROOT_INTEGRATED) for n in range(2)]
    if draw(st.booleans()):
        functions.append(endpoint("30:00.0", "00:1f.0"))
    functions += [port("0001:00:01.0", 1, acs=draw(_words)), endpoint("0001:01:00.0", "0001:00:01.0")]
    functions += [gpu("40:00.0"), gpu("41:00.0")]
    for place in ("02:00.0", "00:02.0"):
        copying = draw(st.sampled_from((Known(None), Known(Multicast(True, 0x1000, 0x1000)), Unknown("cut"))))
        functions = change(functions, place, multicast=copying)
    told = draw(st.sampled_from(((), ("40:00.0",), ("40:00.0", "41:00.0"))))
    wires = draw(st.sampled_from(((), links("40:00.0", "41:00.0", (0, 0)), links("40:00.0", EndKind.SWITCH, (0, 0)))))
    routing = draw(st.sampled_from((None, *RootRouting)))
    return scene(machine(*functions, links=wires, told=told, routing=routing))
