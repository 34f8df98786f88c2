"""Resilience: how many events of one trigger it takes to open a path between clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from atoll.events.effect import after
from atoll.events.event import Event, EventKind
from atoll.events.trigger import Trigger
from atoll.fabric.links import far_end
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.model import EndKind
from atoll.isolation.handover import switched_on
from atoll.pci.address import Address

__all__ = ["Weakness", "least_events", "relevant_functions", "resilience", "unused"]

Weakness = tuple[Event, ...]

_BINDING = (EventKind.REMOVE_RESCAN, EventKind.POWER_LOSS)
"""After these the kernel finds devices anew, and the host's drivers switch them on."""


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

    ``sources`` are what tenants own. They switch decoding and bus mastering of these on when they open them, and
    that this opens a path is an event of theirs (or one after which the host's drivers do). Where it does not, what
    else it takes is counted with all of it on.
    """
    functions = sorted(sources)
    if any(violated(settings, source) for source in functions):
        return dict.fromkeys(Trigger, ())
    opening = _by_opening(topology, settings, functions, violated)
    found: dict[Trigger, Weakness | None] = dict.fromkeys(Trigger)
    in_use = settings if opening is not None else switched_on(topology, settings, functions)
    for trigger in Trigger:
        mine = [event for event in events if event.trigger is trigger]
        if opening is not None:
            found[trigger] = opening if trigger is Trigger.TENANT else _by_drivers(mine, opening)
            if found[trigger] is not None:
                continue
        best: Weakness | None = None
        for source in functions:
            relevant = relevant_functions(topology, source)
            breaks_out = _of(violated, source)
            at_most = None if best is None else len(best) - 1
            weakness = least_events(topology, in_use, mine, breaks_out, relevant, at_most=at_most)
            best = weakness if weakness is not None else best
        found[trigger] = best
    return found


def _by_opening(
    topology: Topology,
    settings: Settings,
    functions: Sequence[Address],
    violated: Callable[[Settings, Address], bool],
) -> Weakness | None:
    """Return the fewest functions that tenants have to open for one to break out; None if opening does not do it.

    It takes a function that sends and one that answers: at most the two of them.
    """
    closed = [address for address in functions if _is_off(topology, settings, address)]
    on = switched_on(topology, settings, closed)
    best: Weakness | None = None
    for source in functions if closed else ():
        if not violated(on, source):
            continue
        own = [source] if source in closed else []
        if own and violated(switched_on(topology, settings, own), source):
            return tuple(map(_opening, own))
        # The more are on, the more is open: the last of the fewest first ones that it takes is the one that answers.
        others = [address for address in closed if address != source]
        few, many = 0, len(others)
        while few < many:
            half = (few + many) // 2
            if violated(switched_on(topology, settings, [*own, *others[:half]]), source):
                many = half
            else:
                few = half + 1
        weakness = tuple(map(_opening, [*own, others[few - 1]]))
        if len(weakness) == 1:
            return weakness
        best = best or weakness
    return best


def _by_drivers(events: Sequence[Event], opening: Weakness) -> Weakness | None:
    """Return the fewest events after which drivers have switched on what it takes to be opened; None without any."""
    binding = [event for event in events if event.kind in _BINDING]
    wanted = sorted(address for event in opening for address in event.scope)
    at_once = next((event for event in binding if set(wanted).issubset(event.scope)), None)
    if at_once is not None:
        return (at_once,)
    each = [next((event for event in binding if address in event.scope), None) for address in wanted]
    found = tuple(event for event in each if event is not None)
    return found if len(found) == len(each) else None


def _is_off(topology: Topology, settings: Settings, address: Address) -> bool:
    """Whether a function or a port above it is not known to have bus mastering and memory decoding on."""
    way = (address, *topology.up(address))
    return not all(settings.can_master(one) and settings.decodes_memory(one) for one in way)


def unused(topology: Topology, settings: Settings, functions: Iterable[Address]) -> bool:
    """Whether some of these functions are not switched on yet, as far as is known."""
    return any(_is_off(topology, settings, address) for address in functions)


def _opening(address: Address) -> Event:
    return Event(EventKind.VFIO_OPEN, Trigger.TENANT, (address,), address, None)


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
