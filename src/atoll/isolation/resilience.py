"""Resilience: how many events of one trigger it takes to open a path between clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from atoll.events.effect import after
from atoll.events.event import Event
from atoll.events.trigger import Trigger
from atoll.fabric.links import far_end
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.model import EndKind
from atoll.pci.address import Address

__all__ = ["Weakness", "least_events", "relevant_functions", "resilience"]

Weakness = tuple[Event, ...]


def resilience(
    topology: Topology,
    settings: Settings,
    events: Sequence[Event],
    sources: Iterable[Address],
    violated: Callable[[Settings, Address], bool],
) -> dict[Trigger, Weakness | None]:
    """Return, by trigger, a shortest sequence of its events whose effect is violated; None if there is none.

    An empty sequence: it is violated already. ``violated`` says whether some function of ``sources`` breaks out in
    given settings. A sequence that makes it break out has a part that touches what decides about its reach, and
    this part does, too: so functions are looked at one by one, each with the few settings that matter to it.
    """
    functions = sorted(sources)
    if any(violated(settings, source) for source in functions):
        return dict.fromkeys(Trigger, ())
    found: dict[Trigger, Weakness | None] = dict.fromkeys(Trigger)
    for trigger in Trigger:
        mine = [event for event in events if event.trigger is trigger]
        best: Weakness | None = None
        for source in functions:
            relevant = relevant_functions(topology, source)
            breaks_out = _of(violated, source)
            at_most = None if best is None else len(best) - 1
            weakness = least_events(topology, settings, mine, breaks_out, relevant, at_most=at_most)
            best = weakness if weakness is not None else best
        found[trigger] = best
    return found


def _of(violated: Callable[[Settings, Address], bool], source: Address) -> Callable[[Settings], bool]:
    return lambda reached: violated(reached, source)


def relevant_functions(topology: Topology, address: Address) -> frozenset[Address]:
    """Return what decides about the reach of a function: it, the ports above it, and what links lead to.

    All that hangs on a switch chip can be led to, over whichever chips are in between.
    """
    found = {address, *topology.up(address)}
    physical = topology.functions[address].physical_function
    if physical is not None:
        found.add(physical)
    for link in topology.links.get(address, ()):
        found |= {end.function for end in (link.a, link.b) if end.function is not None}
        if far_end(link, address).kind not in (EndKind.FUNCTION, EndKind.CPU):
            found |= topology.links.keys()
    return frozenset(found)


def least_events(
    topology: Topology,
    settings: Settings,
    events: Sequence[Event],
    violated: Callable[[Settings], bool],
    relevant: AbstractSet[Address],
    *,
    at_most: int | None = None,
) -> Weakness | None:
    """Search breadth first over the settings that events lead to; settings already seen are not searched again.

    ``relevant`` are the functions and ports whose settings can matter; ``settings`` themselves are not violated.
    Every event leads to one of finitely many settings, so the search ends; with ``at_most``, after so many events.
    """
    events = [event for event in events if not relevant.isdisjoint(event.scope)]
    seen = {_key(settings, relevant)}
    frontier: list[tuple[Settings, Weakness]] = [(settings, ())]
    while frontier and (at_most is None or len(frontier[0][1]) < at_most):
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
    """What events change of what matters: ACS, its enhanced bits too, and link cuts."""
    changed = (settings.acs, settings.enhanced, settings.cut)
    return tuple(tuple(item for item in one.items() if item[0] in relevant) for one in changed)
