"""Resilience: how many events of one trigger it takes to open a path between clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from atoll.events.effect import after
from atoll.events.event import Event
from atoll.events.trigger import Trigger
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.pci.address import Address

__all__ = ["Weakness", "least_events", "relevant_functions", "resilience"]

Weakness = tuple[Event, ...]


def resilience(
    topology: Topology,
    settings: Settings,
    events: Sequence[Event],
    violated: Callable[[Settings], bool],
    relevant: AbstractSet[Address],
) -> dict[Trigger, Weakness | None]:
    """Return, by trigger, a shortest sequence of its events whose effect is violated; None if there is none.

    An empty sequence: it is violated already. ``relevant`` are the functions and ports whose settings can matter.
    """
    return {
        trigger: least_events(topology, settings, [e for e in events if e.trigger is trigger], violated, relevant)
        for trigger in Trigger
    }


def relevant_functions(topology: Topology, functions: Iterable[Address]) -> frozenset[Address]:
    """Return what decides about the reach of functions: they, the ports above them, and what links join to them."""
    found: set[Address] = set()
    for address in functions:
        found |= {address, *topology.up(address)}
        physical = topology.functions[address].physical_function
        if physical is not None:
            found.add(physical)
        for link in topology.links.get(address, ()):
            found |= {end.function for end in (link.a, link.b) if end.function is not None}
    return frozenset(found)


def least_events(
    topology: Topology,
    settings: Settings,
    events: Sequence[Event],
    violated: Callable[[Settings], bool],
    relevant: AbstractSet[Address],
) -> Weakness | None:
    """Search breadth first over the settings that events lead to; settings already seen are not searched again.

    Every event leads to one of finitely many settings, so the search ends.
    """
    if violated(settings):
        return ()
    events = [event for event in events if not relevant.isdisjoint(event.scope)]
    seen = {_key(settings, relevant)}
    frontier: list[tuple[Settings, Weakness]] = [(settings, ())]
    while frontier:
        following: list[tuple[Settings, Weakness]] = []
        for before, path in frontier:
            for event in events:
                reached = after(topology, before, event)
                key = _key(reached, relevant)
                if key in seen:
                    continue
                seen.add(key)
                if violated(reached):
                    return (*path, event)
                following.append((reached, (*path, event)))
        frontier = following
    return None


def _key(settings: Settings, relevant: AbstractSet[Address]) -> tuple[object, ...]:
    """What events change of what matters: ACS and link cuts."""
    acs = tuple(item for item in settings.acs.items() if item[0] in relevant)
    return (acs, tuple(item for item in settings.cut.items() if item[0] in relevant))
