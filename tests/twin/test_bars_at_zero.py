"""Base address registers that hold 0 while memory is decoded: whether IOVA ranges count who answers there.

Found on random fabrics (``make law LAW_ARGS='--seed 910126 --packets 1'``). No kernel leaves one so, and no
specification says that a function does not answer there.
"""

from __future__ import annotations

import pytest

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.isolation.clusters import Cluster, Clusters
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.survey import survey
from atoll.pci.acs import AcsFlag
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.spec import Bar
from twin.bench import at, set_command
from twin.small import bridge, card, small

ONE, OTHER = at("0000:01:00.0"), at("0000:01:00.1")
NARROW, WIDE = Bar(0, 1 << 16), Bar(2, 1 << 20, wide=True, prefetchable=True)
ADDRESS = 0x8000


def machine(*bars: Bar) -> Twin:
    """Two functions of one device, which reach each other inside it; the registers of one hold 0."""
    both = (card(str(address), multifunction=True, bars=bars) for address in (ONE, OTHER))
    twin = small(bridge("00:01.0", PortType.ROOT_PORT, (1, 1), AcsFlag(0x7F)), *both)
    for offset in range(0x10, 0x28, 4):
        twin.poke(OTHER, "config", offset, 0)
    return twin


def clean(twin: Twin) -> bool:
    host = read_host(twin, registers=registers)
    polluter = Polluter(Topology(host), present(host), Policy.STRICT)
    (found,) = survey(polluter, Clusters((Cluster("one", (ONE,)),)))
    return any(part.start <= ADDRESS <= part.end for part in found.usable.parts)


@pytest.mark.parametrize("bars", [(NARROW,), (NARROW, WIDE)])
def test_what_is_not_decoded_is_clean(bars: tuple[Bar, ...]) -> None:
    twin = machine(*bars)
    assert twin.send(ONE, ADDRESS).function == OTHER
    set_command(twin, OTHER, off=2)
    assert twin.send(ONE, ADDRESS).asked
    assert clean(twin)


@pytest.mark.parametrize("bars", [(NARROW,), (WIDE,), (NARROW, WIDE)])
def test_what_is_decoded_at_zero_is_not(bars: tuple[Bar, ...]) -> None:
    twin = machine(*bars)
    assert not twin.send(ONE, ADDRESS).asked
    assert not clean(twin)
