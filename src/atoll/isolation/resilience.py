"""Resilience: how many events of one trigger it takes to open a path between clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TypeVar

from atoll.events.effect import FOUND_AGAIN, after
from atoll.events.event import Event, EventKind
from atoll.events.trigger import Trigger
from atoll.fabric.links import leads_on, near_end
from atoll.fabric.settings import Settings
from atoll.fabric.switching import is_off, switched_on
from atoll.fabric.topology import Topology
from atoll.host.model import EndKind
from atoll.pci.address import Address

__all__ = ["Effects", "Weakness", "least_events", "resilience", "unused", "what_decides"]

Weakness = tuple[Event, ...]

_State = TypeVar("_State")

_BINDING = (EventKind.DRIVER_BIND, *FOUND_AGAIN)
"""After these the host's drivers have switched devices on."""


def resilience(
    topology: Topology,
    settings: Settings,
    events: Sequence[Event],
    sources: Iterable[Address],
    violated: Callable[[Settings, Address], bool],
    *,
    opened: Callable[[Settings, Sequence[Address]], Settings] | None = None,
    exposed: Callable[[Settings], Address | None] = lambda settings: None,
    already: bool | None = None,
) -> dict[Trigger, Weakness | None]:
    """Return, by trigger, a shortest sequence of its events whose effect is violated; None if there is none.

    An empty sequence: it is violated already. ``violated`` says whether some function of ``sources`` breaks out in
    given settings. A sequence that makes it break out has a part that touches what decides about the path it takes,
    and this part does, too: so functions and paths are looked at one by one, each with the few settings that matter.

    ``sources`` are what tenants own. They switch decoding and bus mastering of these on when they open them (``opened``
    says what else that changes), and that this opens a path is an event of theirs (or one after which the host's
    drivers do). Where it does not, what else it takes is counted with all of it on. ``exposed`` returns a function of
    the host that is off and would be reached if it were not. ``already``: whether ``settings`` are violated, where a
    proof has shown that.
    """
    functions = sorted(sources)
    if any(violated(settings, source) for source in functions) if already is None else already:
        return dict.fromkeys(Trigger, ())
    use = opened or (lambda before, addresses: switched_on(topology, before, addresses))
    closed = [address for address in functions if is_off(topology, settings, address)]
    opening = _by_opening(use, settings, functions, closed, violated)
    in_use = settings if opening is not None else use(settings, closed)
    target = exposed(in_use)
    found: dict[Trigger, Weakness | None] = {}
    for trigger in Trigger:
        mine = [event for event in events if event.trigger is trigger]
        if trigger is Trigger.TENANT and opening is not None:
            found[trigger] = opening
            continue
        effects = Effects(topology, in_use, mine)
        best = None if trigger is Trigger.TENANT else _by_drivers_of_host(mine, target, opening)
        for source in functions:
            best = _of_one(effects, violated, source, best)
        found[trigger] = best
    return found


def _of_one(
    effects: Effects, violated: Callable[[Settings, Address], bool], source: Address, best: Weakness | None
) -> Weakness | None:
    """Return fewer events than ``best`` after which a function breaks out, or ``best`` if there are none."""
    breaks_out = _of(violated, source)
    for relevant in what_decides(effects.topology, effects.start, source):
        at_most = None if best is None else len(best) - 1
        weakness = least_events(effects, breaks_out, relevant, at_most=at_most)
        best = weakness if weakness is not None else best
    return best


def _by_drivers_of_host(events: Sequence[Event], target: Address | None, opening: Weakness | None) -> Weakness | None:
    """Return the fewest events after which drivers of the host have switched on what breaks it.

    That is a ``target`` of the host's that would be reached, or all whose ``opening`` by their owners does the same.
    """
    switched = [[target]] if target is not None else []
    switched += [[address for event in opening for address in event.scope]] if opening else []
    paths = (_by_drivers(events, addresses) for addresses in switched)
    return min((path for path in paths if path is not None), key=len, default=None)


def _by_opening(
    use: Callable[[Settings, Sequence[Address]], Settings],
    settings: Settings,
    functions: Sequence[Address],
    closed: Sequence[Address],
    violated: Callable[[Settings, Address], bool],
) -> Weakness | None:
    """Return the fewest functions that tenants have to open for one to break out; None if opening does not do it.

    It takes a function that sends and one that answers: at most the two of them.
    """
    on = use(settings, closed)
    best: Weakness | None = None
    for source in functions if closed else ():
        if not violated(on, source):
            continue
        own = [source] if source in closed else []
        if own and violated(use(settings, own), source):
            return tuple(map(_opening, own))
        # The more are on, the more is open: the last of the fewest first ones that it takes is the one that answers.
        others = [address for address in closed if address != source]
        few, many = 0, len(others)
        while few < many:
            half = (few + many) // 2
            if violated(use(settings, [*own, *others[:half]]), source):
                many = half
            else:
                few = half + 1
        weakness = tuple(map(_opening, [*own, others[few - 1]]))
        if len(weakness) == 1:
            return weakness
        best = best or weakness
    return best


def _by_drivers(events: Sequence[Event], functions: Iterable[Address]) -> Weakness | None:
    """Return the fewest events after which drivers have switched on what it takes; None without any."""
    # Of those that do it the one that hits the least; a slot to pull something from is not everywhere.
    binding = [event for event in events if event.kind in _BINDING]
    binding.sort(key=lambda event: (event.kind is EventKind.HOT_PLUG, len(event.scope)))
    wanted = sorted(functions)
    at_once = next((event for event in binding if set(wanted).issubset(event.scope)), None)
    if at_once is not None:
        return (at_once,)
    each = [next((event for event in binding if address in event.scope), None) for address in wanted]
    found = tuple(event for event in each if event is not None)
    return found if len(found) == len(each) else None


def unused(topology: Topology, settings: Settings, functions: Iterable[Address]) -> bool:
    """Whether some of these functions are not switched on yet, as far as is known."""
    return any(is_off(topology, settings, address) for address in functions)


def _opening(address: Address) -> Event:
    return Event(EventKind.VFIO_OPEN, Trigger.TENANT, (address,), address, None)


def _of(violated: Callable[[Settings, Address], bool], source: Address) -> Callable[[Settings], bool]:
    return lambda reached: violated(reached, source)


def what_decides(topology: Topology, settings: Settings, address: Address) -> list[frozenset[Address]]:
    """Return what decides about the reach of a function: it and the ports above it, and with each function that links
    may lead to, for itself, that one too, since a path over links has two ends.

    All that hangs on a switch chip can be led to, over whichever chips are in between; one that can cut is on the way.
    """
    origin = topology.functions[address].physical_function or address
    own = {address, origin, *topology.up(address)}
    links = topology.links.get(origin, ())
    ends = {end.function for link in links for end in (link.a, link.b) if end.function is not None}
    if any(leads_on(link, origin) for link in links):
        ends |= topology.links.keys()
        own |= {one for one in settings.cut if _is_chip(topology, one)}
    return [frozenset({*own, end}) for end in sorted(ends - own)] or [frozenset(own)]


def _is_chip(topology: Topology, address: Address) -> bool:
    return any(near_end(link, address).kind is EndKind.SWITCH for link in topology.links.get(address, ()))


class Effects:
    """What events lead to, and which of them hit what: found out once for all functions that are looked at."""

    def __init__(self, topology: Topology, start: Settings, events: Sequence[Event]) -> None:
        self.topology = topology
        self.start = start
        self._events = events
        self._kept = {id(start): start}
        """Settings that wide events alone lead to, by identity."""
        self._known: dict[tuple[int, int], tuple[Event, Settings]] = {}
        self._hitting: dict[Address, list[int]] = {}
        """The events in whose scope a function or port is, by their place."""
        self._enabling: dict[Address, list[int]] = {}
        """The events that switch a port on for what is below it."""
        for place, event in enumerate(events):
            for address in event.scope:
                self._hitting.setdefault(address, []).append(place)
            if event.kind in _BINDING:
                for port in {port for address in event.scope for port in topology.up(address)}:
                    self._enabling.setdefault(port, []).append(place)

    def on(self, relevant: AbstractSet[Address]) -> list[tuple[Event, Event, tuple[Address, ...]]]:
        """Return the events that hit one of these: each whole, as far as it hits these, and what of these it switches
        on beside."""
        hit: dict[int, list[Address]] = {}
        enabled: dict[int, list[Address]] = {}
        for address in sorted(relevant):
            for place in self._hitting.get(address, ()):
                hit.setdefault(place, []).append(address)
            for place in self._enabling.get(address, ()):
                enabled.setdefault(place, []).append(address)
        whole = ((self._events[place], place, tuple(scope)) for place, scope in sorted(hit.items()))
        return [(event, replace(event, scope=scope), tuple(enabled.get(place, ()))) for event, place, scope in whole]

    def after(self, before: Settings, event: Event) -> Settings:
        """Return the settings after an event, as ``events.effect.after`` does."""
        if len(event.scope) < _WIDE or id(before) not in self._kept:
            return after(self.topology, before, event)
        key = id(before), id(event)
        if key not in self._known:
            self._known[key] = event, after(self.topology, before, event)
            reached = self._known[key][1]
            if len(self._kept) < _MOST_KEPT:
                self._kept[id(reached)] = reached
        return self._known[key][1]


_WIDE = 32
"""Functions that an event hits of which the effect is kept."""
_MOST_KEPT = 64


def least_events(
    effects: Effects,
    violated: Callable[[Settings], bool],
    relevant: AbstractSet[Address],
    *,
    at_most: int | None = None,
) -> Weakness | None:
    """Search breadth first over the settings that events lead to; settings already seen are not searched again.

    ``relevant`` are the functions and ports whose settings can matter; what they start from is not violated.
    Every event leads to one of finitely many settings, so the search ends; with ``at_most``, after so many events.
    What an event makes of a function's settings depends on these alone: whether they were seen is found out with those
    of ``relevant`` alone, the settings of the whole host are made of new ones only.
    """
    topology, events = effects.topology, effects.on(relevant)
    own = _limited(effects.start, relevant)
    seen = {_key(own, relevant)}
    frontier: list[tuple[Settings, Settings, Weakness]] = [(effects.start, own, ())]
    while frontier and (at_most is None or len(frontier[0][2]) < at_most):
        following: list[tuple[Settings, Settings, Weakness]] = []
        for before, near, path in frontier:
            for event, hitting, enabling in events:
                left = switched_on(topology, after(topology, near, hitting), enabling)
                key = _key(left, relevant)
                if key in seen:
                    continue
                seen.add(key)
                reached = effects.after(before, event)
                if violated(reached):
                    return (*path, event)
                following.append((reached, left, (*path, event)))
        frontier = following
    return None


def _limited(settings: Settings, relevant: AbstractSet[Address]) -> Settings:
    """Return what events change of the settings of these functions and ports."""

    def of(state: Mapping[Address, _State]) -> dict[Address, _State]:
        return {address: state[address] for address in relevant if address in state}

    return Settings(
        acs=of(settings.acs),
        enhanced=of(settings.enhanced),
        command=of(settings.command),
        cut=of(settings.cut),
        domain=of(settings.domain),
        cpu_links=of(settings.cpu_links),
    )


def _key(settings: Settings, relevant: AbstractSet[Address]) -> tuple[object, ...]:
    """What events change of what matters: ACS, its enhanced bits too, link cuts, address spaces, what is on."""
    changed: tuple[Mapping[Address, object], ...] = (
        *(settings.acs, settings.enhanced, settings.cut),
        *(settings.domain, settings.cpu_links, settings.command),
    )
    return tuple(one.get(address) for one in changed for address in relevant)
