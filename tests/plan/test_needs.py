"""What a set of clusters needs: which controls are used for that, and how far each."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, acs, at, clusters, endpoint, gpu, links, machine, port, scene, slots

from atoll.fabric.answer import Policy
from atoll.host.fact import value_of
from atoll.pci.acs import AcsFlag
from atoll.plan.needs import cuts, needs

P100 = 0x15F9


@pytest.mark.parametrize("allowed", [True, False])
def test_what_is_only_assumed_to_cut_is_used_when_the_file_allows_it(allowed: bool) -> None:
    cards = [replace(gpu(f"0{n}:00.0", f"00:0{n}.0"), device=P100) for n in (1, 2)]
    found = scene(machine(*slots(CLOSED, CLOSED)[::2], *cards, links=links("01:00.0", "02:00.0", (0, 3))))
    named = replace(clusters(found.host, red="01:00.0", blue="02:00.0"), allow_assumed=allowed)
    wanted = {at("01:00.0"): frozenset({0}), at("02:00.0"): frozenset({3})}
    assert cuts(found.topology, named) == (wanted if allowed else {})


@pytest.mark.parametrize("capability", ["SV TB RR CR UF", "SV RR CR UF", "RR CR", ""])
def test_no_bit_is_asked_for_that_a_port_does_not_have(capability: str) -> None:
    """Translated requests pass all that redirects: where nothing blocks them, that stays open, and is told."""
    ports = [port(f"00:0{n}.0", n, acs=acs("", capability)) for n in (1, 2)]
    cards = [endpoint(f"0{n}:00.0", f"00:0{n}.0", ats=True) for n in (1, 2)]
    found = scene(machine(*ports, *cards))
    named = clusters(found.host, red="01:00.0", blue="02:00.0")
    wanted = needs(found.topology, found.settings, named, Policy.STRICT)
    for address, word in wanted.acs.items():
        had = value_of(found.topology.functions[address].acs, None)
        assert had is not None
        assert word in had.capability
    blocks = AcsFlag.TB.name in capability
    assert all((AcsFlag.TB in word) is blocks for word in wanted.acs.values())
    assert bool(wanted.acs) is ("SV" in capability)
    assert bool(wanted.left.unknown or wanted.left.violations) is not blocks
