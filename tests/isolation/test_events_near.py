"""What events leave of a few functions' settings is the same, worked out with these alone or with the whole host."""

from __future__ import annotations

from random import Random

import pytest
from shaken import gpus_of
from wild_hosts import some_scene, wild_scene

from atoll.events.catalogue import events
from atoll.events.effect import after
from atoll.fabric.meeting import Meetings, meeting_turn
from atoll.fabric.turn import Traffic
from atoll.isolation.resilience import Effects, least_events, what_decides


@pytest.mark.parametrize("seed", range(24))
def test_the_settings_nearby_are_those_of_the_whole_host(seed: int) -> None:
    """All settings of what decides about a function that three events lead to are met, by as few of them."""
    rng = Random(31000 + seed)
    found = some_scene(rng, wild=seed % 3 != 0)
    topology = found.topology
    ends = topology.endpoints
    mine = gpus_of(found)[:3] or rng.sample(ends, min(3, len(ends)))
    catalogue = events(topology, {"red": mine[:2], "blue": mine[2:]})
    some = rng.sample(catalogue, min(len(catalogue), 40))
    relevant = rng.choice(what_decides(topology, found.settings, rng.choice(mine)))

    def near(settings: object) -> list[object]:
        fields = ("acs", "enhanced", "cut", "domain", "cpu_links", "command")
        return [(name, one, getattr(settings, name).get(one)) for name in fields for one in sorted(relevant)]

    expected = {repr(near(found.settings)): 0}
    frontier = [found.settings]
    for length in (1, 2, 3):
        reached = [after(topology, before, event) for before in frontier for event in some if relevant & {*event.scope}]
        frontier = []
        for settings in reached:
            if repr(near(settings)) not in expected:
                expected[repr(near(settings))] = length
                frontier.append(settings)
    met: dict[str, None] = {repr(near(found.settings)): None}

    def look(settings: object) -> bool:
        assert repr(near(settings)) not in met
        met[repr(near(settings))] = None
        return False

    effects = Effects(topology, found.settings, some)
    assert least_events(effects, look, relevant, at_most=3) is None
    assert list(met) == list(expected)


@pytest.mark.parametrize("seed", range(24))
def test_meetings_are_told_as_each_by_itself(seed: int) -> None:
    """What is found out once for all peers of one key is what each of them would get, to the word."""
    found = wild_scene(Random(32000 + seed))
    topology, settings = found.topology, found.settings
    meetings = Meetings(topology, settings)
    for source in topology.functions:
        for target in topology.functions:
            branches = topology.meeting(source, target)
            if branches.source != branches.target:
                alone = tuple((t, meeting_turn(topology, settings, branches, t)) for t in Traffic)
                assert meetings.at(branches) == alone, (source, target)
