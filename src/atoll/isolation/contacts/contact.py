"""Who touches whom in a host: contacts between all functions, found for many of them at once.

Pairs are never looked at one by one: what leaves a bus towards another branch of the tree is decided by what stands
on that bus and is the same for all below (see ``crossing``); whose ids a function can send is decided by the first port
above it that validates (see ``impersonation``). A contact tells all pairs that one such decision joins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from atoll.fabric.answer import Answer, Finding
from atoll.pci.address import Address

__all__ = ["Contact"]


@dataclass(frozen=True, slots=True)
class Contact:
    """Functions that reach others without going through the IOMMU, or under their identity, in one and the same way.

    Each source reaches each target that stands at another place.
    """

    sources: tuple[Address, ...]
    targets: tuple[Address, ...]
    answer: Answer
    identity: bool
    """The sources can send requests as the targets, rather than reach them."""
    find: Callable[[Address, Address], Finding] = field(compare=False)
    """What shows it of one pair."""
    places: Mapping[Address, Address] | None = field(default=None, compare=False)
    """Where functions stand: the branch of the tree, from the bus where the ways meet. None: each on its own."""

    def place(self, address: Address) -> Address:
        """Return where a function stands, as far as this contact is concerned."""
        return address if self.places is None else self.places[address]

    def pairs(self) -> Iterator[tuple[Address, Address]]:
        """Yield every pair; there may be very many."""
        for source in self.sources:
            place = self.place(source)
            for target in self.targets:
                if self.place(target) != place:
                    yield source, target

    def example(self, address: Address) -> tuple[Address, Address] | None:
        """Return a pair with this function in it; None where there is none."""
        place = self.place(address)
        if address in self.sources:
            for target in self.targets:
                if self.place(target) != place:
                    return address, target
        if address in self.targets:
            for source in self.sources:
                if self.place(source) != place:
                    return source, address
        return None

    def joined(self) -> Iterator[tuple[Address, Address]]:
        """Yield pairs whose closure is that of all pairs, about as many as there are functions."""
        sources, targets = self._by_place(self.sources), self._by_place(self.targets)
        places = sources.keys() | targets.keys()
        if not sources or not targets or len(places) == 1:
            return
        if len(sources) == 1:
            (alone,) = sources
            yield from _star((*sources[alone], *_others(targets, alone)))
        elif len(targets) == 1:
            (alone,) = targets
            yield from _star((*targets[alone], *_others(sources, alone)))
        elif len(places) == 2:
            # Both at both: what can be sent from one meets what can be hit at the other, and nothing else.
            one, other = places
            yield from _star((*sources[one], *targets[other]))
            yield from _star((*sources[other], *targets[one]))
        else:
            yield from _star((*self.sources, *self.targets))

    def _by_place(self, functions: Iterable[Address]) -> dict[Address, list[Address]]:
        found: dict[Address, list[Address]] = {}
        for address in functions:
            found.setdefault(self.place(address), []).append(address)
        return found


def _others(by_place: Mapping[Address, list[Address]], place: Address) -> Iterator[Address]:
    return (address for other, members in by_place.items() if other != place for address in members)


def _star(members: tuple[Address, ...]) -> Iterator[tuple[Address, Address]]:
    return ((members[0], member) for member in members[1:])
