"""Closing something opens nothing: redirection and validation that are switched on, links that are cut."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from reach_hosts import acs, at, endpoint, machine, scene
from wild_hosts import some_scene

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.settings import Settings
from atoll.host.fact import value_of
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag

_CLOSING = (AcsFlag.SV, AcsFlag.RR, AcsFlag.CR, AcsFlag.UF)
_OPENING = AcsFlag.DT | AcsFlag.EC


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("seed", range(40))
def test_what_is_closed_opens_nothing(seed: int, policy: Policy) -> None:
    """No answer, no shared identity and no memory is worse after one bit more of ACS, or one link less."""
    rng = Random(33000 + seed)
    found = some_scene(rng, wild=seed % 4 != 0)
    topology, settings = found.topology, found.settings
    ends = rng.sample(topology.endpoints, min(8, len(topology.endpoints)))
    before = Reach(topology, settings, policy)
    closed: list[tuple[object, Settings]] = []
    for address, control in settings.acs.items():
        acs = value_of(topology.functions[address].acs, None)
        if control is None or acs is None or control & _OPENING:
            continue
        for flag in _CLOSING:
            if flag in acs.capability and flag not in control:
                closed.append(((str(address), flag), settings.with_acs(address, control | flag)))
    for address, numbers in settings.cut.items():
        for link in topology.links.get(address, ()):
            for end in (link.a, link.b):
                if end.function == address and end.number is not None and numbers is not None:
                    more = replace(settings, cut={**settings.cut, address: numbers | {end.number}})
                    closed.append(((str(address), end.number), more))
    for what, less in rng.sample(closed, min(8, len(closed))):
        after = Reach(topology, less, policy)
        for one in ends:
            assert after.memory(one).answer <= before.memory(one).answer, (what, one)
            for other in ends:
                if one != other:
                    assert after.answer(one, other).answer <= before.answer(one, other).answer, (what, one, other)
                    assert after.identity(one, other).answer <= before.identity(one, other).answer, (what, one, other)


@pytest.mark.parametrize("control", ["RR", ""])
def test_a_port_that_is_not_shown_is_no_root_complex(control: str) -> None:
    """That root complexes are trusted says nothing of the port above an endpoint that seems to stand on a root bus."""
    words = acs(control, "RR")
    found = scene(machine(endpoint("00:01.0", None, acs=words), endpoint("00:02.0", None), routing=None))
    reach = Reach(found.topology, found.settings, Policy.TRUSTED)
    assert reach.answer(at("00:01.0"), at("00:02.0")).answer is Answer.POSSIBLE
