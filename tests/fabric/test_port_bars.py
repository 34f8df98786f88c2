"""What ports answer to themselves, and what becomes of requests for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, OFF, Scene, change, endpoint, machine, peer, port, scene, switch

from atoll.fabric.answer import Answer, Policy, Question
from atoll.host.fact import Known, Unknown
from atoll.pci.acs import Acs, AcsEnhanced
from atoll.pci.bar import Bar
from atoll.pci.header import PortType

DIRECT, POSSIBLE, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.BLOCKED
TRUSTED = Policy.TRUSTED


def bars(word: Acs | Unknown | None, *, root: Acs | None = CLOSED) -> Scene:
    upstream = port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None, memory=True)
    functions = switch(word, CLOSED, root=root, up=upstream)
    return scene(machine(*change(functions, "00:01.0", bars=upstream.bars)))


def test_bars_of_the_ports_above() -> None:
    """Whether a port that redirects also redirects what is for its own BARs is left open."""
    assert peer(bars(OFF), "03:00.0", "01:00.0").answer is DIRECT
    assert peer(bars(CLOSED), "03:00.0", "01:00.0").answer is POSSIBLE
    assert peer(bars(Unknown("cut")), "03:00.0", "01:00.0").answer is POSSIBLE
    trusted = peer(bars(CLOSED), "03:00.0", "01:00.0", TRUSTED)
    assert (trusted.answer, set(trusted.assumptions)) == (BLOCKED, {Question.PORT_BAR.value})
    assert peer(bars(CLOSED), "03:00.0", "02:00.0").answer is BLOCKED, "it has none"


@pytest.mark.parametrize("kind", [PortType.PCIE_TO_PCI, PortType.CONVENTIONAL, PortType.PCI_TO_PCIE])
def test_whether_a_bridge_answers_from_below_is_open(kind: PortType) -> None:
    bars: Known[tuple[Bar, ...]] = Known((Bar(0, 0x80000000, 0x1000, memory=True),))
    bridge = replace(port("01:00.0", 2, "00:01.0", kind, acs=None), bars=bars)
    functions = [port("00:01.0", 1), bridge, endpoint("02:00.0", "01:00.0")]
    assert peer(scene(machine(*functions)), "02:00.0", "01:00.0").answer is POSSIBLE


@pytest.mark.parametrize(("root", "expected"), [(OFF, DIRECT), (CLOSED, POSSIBLE)])
def test_a_root_ports_own_redirection_counts_for_its_bars(root: Acs, expected: Answer) -> None:
    assert peer(bars(CLOSED, root=root), "03:00.0", "00:01.0").answer is expected
    closed = peer(bars(CLOSED, root=root), "03:00.0", "00:01.0", TRUSTED)
    assert closed.answer is (DIRECT if root is OFF else BLOCKED)


@pytest.mark.parametrize(
    ("control", "upstream", "own"),
    [
        (AcsEnhanced(0), DIRECT, DIRECT),
        (AcsEnhanced.UP_BLOCK, BLOCKED, DIRECT),
        (AcsEnhanced.UP_REDIRECT, BLOCKED, DIRECT),
        (AcsEnhanced.OWN_REDIRECT, DIRECT, BLOCKED),
        (AcsEnhanced.OWN_BLOCK | AcsEnhanced.UP_REDIRECT, BLOCKED, BLOCKED),
        (AcsEnhanced.UP_BLOCK | AcsEnhanced.UP_REDIRECT, POSSIBLE, DIRECT),
        (AcsEnhanced.IO_BLOCK | AcsEnhanced.UNCLAIMED_REDIRECT, DIRECT, DIRECT),
    ],
)
def test_enhanced_acs_settles_what_becomes_of_ports_bars(control: AcsEnhanced, upstream: Answer, own: Answer) -> None:
    """Requests for the upstream port's BARs are the downstream port's to decide, as are those for its own."""
    up = port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None, memory=True)
    functions = switch(replace(CLOSED, enhanced=control), CLOSED, up=up)
    found = scene(machine(*change(functions, "02:00.0", bars=up.bars)))
    assert peer(found, "03:00.0", "01:00.0").answer is upstream
    assert peer(found, "03:00.0", "02:00.0").answer is own
