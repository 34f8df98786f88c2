"""Groups from one telling or several: a group's number is no identity, what it holds is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Group
from atoll.pci.address import Address

__all__ = ["ToldGroups", "join", "members_of"]


@dataclass(frozen=True, slots=True)
class ToldGroups:
    """Group numbers by function, as one source or several in agreement tell them."""

    source: str
    number: Mapping[Address, int]
    none: frozenset[Address] = frozenset()
    """Functions that have no group, as the source tells."""
    doubted: Mapping[Address, str] = field(default_factory=dict)
    """Functions about which sources disagree, with what they say."""

    def fact(self, *, reason: str) -> Fact[Mapping[int, Group]]:
        """Return the groups, unknown for this reason where there are none."""
        if not self.number:
            return Unknown(reason)
        members = members_of(self.number)
        return Known({number: Group(number, members[number]) for number in sorted(members)}, self.source)

    def of(self, address: Address) -> Fact[int | None]:
        """Return a function's group."""
        if address in self.doubted:
            return Unknown(self.doubted[address])
        if address in self.number:
            return Known(self.number[address], self.source)
        if address in self.none:
            return Known(None, self.source)
        return Unknown(f"{self.source or 'the record'} tells no group of it")


def members_of(number: Mapping[Address, int]) -> dict[int, tuple[Address, ...]]:
    """Return the functions by group number."""
    members: dict[int, list[Address]] = {}
    for address in sorted(number):
        members.setdefault(number[address], []).append(address)
    return {group: tuple(found) for group, found in members.items()}


def join(one: ToldGroups, other: ToldGroups) -> ToldGroups:
    """Return what two sources tell together. Where they put a function together with different ones, it is doubted.

    Compared are only functions that both list: one list may be shorter. Numbers are those of the first.
    """
    if not (one.number or one.none):
        return _without_doubted(other, one.doubted)
    if not (other.number or other.none):
        return _without_doubted(one, other.doubted)
    doubted = {**one.doubted, **other.doubted}
    both = one.number.keys() & other.number.keys()
    here, there = _company(one.number, both), _company(other.number, both)
    for address in sorted(both):
        if here[address] != there[address]:
            doubted.setdefault(
                address,
                f"group of {address}: {one.source} puts it {_with(address, here[address])}, "
                f"{other.source} {_with(address, there[address])}",
            )
    for first, second in ((one, other), (other, one)):
        for address in sorted(first.none & second.number.keys()):
            doubted.setdefault(
                address,
                f"group of {address}: {first.source} shows none, {second.source} shows group {second.number[address]}",
            )
    number = {address: group for address, group in one.number.items() if address not in doubted}
    # The others' numbers in terms of the first's, through a function that both list.
    names = {other.number[address]: one.number[address] for address in sorted(both) if address not in doubted}
    taken = set(one.number.values())
    free = max([*taken, *other.number.values()], default=-1)
    for address in sorted(other.number):
        if address in number or address in doubted:
            continue
        group = other.number[address]
        if group not in names:
            if group in taken:
                free += 1
                names[group] = free
            else:
                names[group] = group
            taken.add(names[group])
        number[address] = names[group]
    none = frozenset((one.none | other.none) - number.keys() - doubted.keys())
    return ToldGroups(f"{one.source} and {other.source}", dict(sorted(number.items())), none, doubted)


def _without_doubted(told: ToldGroups, doubted: Mapping[Address, str]) -> ToldGroups:
    both = {**told.doubted, **doubted}
    number = {address: group for address, group in told.number.items() if address not in both}
    return ToldGroups(told.source, number, told.none - both.keys(), both)


def _company(
    number: Mapping[Address, int], among: frozenset[Address] | set[Address]
) -> dict[Address, frozenset[Address]]:
    members: dict[int, set[Address]] = {}
    for address in among:
        members.setdefault(number[address], set()).add(address)
    sets = {group: frozenset(found) for group, found in members.items()}
    return {address: sets[number[address]] for address in among}


def _with(address: Address, company: frozenset[Address]) -> str:
    others = sorted(company - {address})
    if not others:
        return "alone"
    return "with " + ", ".join(map(str, others[:4])) + (", …" if len(others) > 4 else "")
