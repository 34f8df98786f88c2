"""Functions that a record shows one by one, with what it says of their place, as a host.

For records of programs that read sysfs themselves (udev, libvirt, hwloc, rdma_topo): they tell what stands above a
function, and not what lspci or a kernel's own files would tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise

from atoll.errors import InputError
from atoll.host.coverage import coverage
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.gap import Gap, GapKind
from atoll.host.links.told import CONTRADICTED
from atoll.host.model import Function, Host, IommuUnit, Platform
from atoll.host.place import addresses_in, standing
from atoll.host.records.bare import placed_function
from atoll.host.records.excerpt import is_excerpt
from atoll.host.records.group_facts import ToldGroups
from atoll.host.records.merge.disagreement import Disagreements, is_disagreement
from atoll.host.records.merge.function import merge_function
from atoll.host.records.multifunction import ALONE, SHARED
from atoll.host.records.platform import platform_by_bridges
from atoll.host.records.virtual import virtual_of
from atoll.pci.address import Address

__all__ = ["Shown", "Standing", "host_of_shown", "standing_of_path"]

_EXCERPT = "the record seems to show a part of the machine, and perhaps not all functions of its slot"
_HINT = "record the host with atoll capture"
_DEEPEST = 300
"""More bridges above one another than a domain has buses."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a record says that a function stands."""

    parent: Address | None = None
    told: bool = False
    """Whether the record tells what stands above: a bridge, or with ``parent`` None a root bus."""
    host_bridge: str = ""
    """The root bus as in sysfs, empty where the record does not tell it."""
    above: tuple[Address, ...] = ()
    """The bridges that the function's path names, root first."""


@dataclass(slots=True)
class Shown:
    """What a record shows, as far as it was read."""

    name: str
    """What to call the record in messages."""
    functions: dict[Address, Function] = field(default_factory=dict)
    standings: dict[Address, Standing] = field(default_factory=dict)
    physical: dict[Address, Address] = field(default_factory=dict)
    """Physical functions by virtual one, as far as the record tells."""
    forwarding: dict[Address, Fact[bool]] = field(default_factory=dict)
    """By port: whether ARI forwarding is on."""
    group: dict[Address, int] = field(default_factory=dict)
    ungrouped: set[Address] = field(default_factory=set)
    """Functions that the record shows without a group."""
    doubted: dict[Address, str] = field(default_factory=dict)
    """Functions of whose group the record tells two things, with what."""
    units: tuple[IommuUnit, ...] = ()
    gaps: list[Gap] = field(default_factory=list)

    @classmethod
    def of(cls, path: str) -> Shown:
        """Return what the record at a path shows before it was read: nothing, under the file's name."""
        return cls(path.rstrip("/").rpartition("/")[2] or path)

    def add(self, function: Function, standing: Standing) -> None:
        """Take a function. Of another at the same address, what the two contradict each other about is unknown."""
        address = function.address
        known = self.functions.get(address)
        if known is None:
            self.functions[address], self.standings[address] = function, standing
            return
        if known != function:
            self.functions[address] = self._merged(known, function)
        if self.standings[address] != standing:
            what = f"bridge above {address}"
            self.gaps.append(Gap(what, f"{self.name} shows it in two places", CONTRADICTED))
            self.standings[address] = Standing()

    def _merged(self, one: Function, other: Function) -> Function:
        earlier = frozenset(gap.what for gap in self.gaps if is_disagreement(gap))
        doubts = Disagreements(f"{self.name} first", f"{self.name} then", earlier=earlier)
        merged = merge_function(one, other, doubts=doubts)
        self.gaps += doubts.gaps
        return merged

    def put(self, address: Address, group: int | None) -> None:
        """Take the group that a record names beside a function, or that it is in none; of two, neither counts."""
        if address in self.group or address in self.ungrouped:
            here = self.group.get(address)
            if here != group:
                one, other = ("none" if number is None else str(number) for number in (here, group))
                why = f"{self.name} tells {one} and {other}"
                self.doubted[address] = f"group of {address}: {why}"
                self.gaps.append(Gap(f"group of {address}", why, CONTRADICTED, GapKind.GROUP, (address,)))
        elif group is None:
            self.ungrouped.add(address)
        else:
            self.group[address] = group


def standing_of_path(path: str) -> Standing:
    """Return what a function's folder below ``/sys/devices`` tells of its place."""
    folder = path.rstrip("/").rpartition("/")[0]
    host_bridge, parent = standing(folder)
    named = addresses_in(folder.rpartition(f"{host_bridge}/")[2]) if parent is not None else []
    return Standing(parent, bool(host_bridge), host_bridge, tuple(named))


def host_of_shown(
    shown: Shown,
    *,
    path: str,
    lone: str = "",
    left_out: Sequence[Gap] = (),
    no_groups: str = "it shows no IOMMU groups",
) -> Host:
    """Return the host that a record shows; ``path`` is the record's.

    ``lone`` says why a function that stands alone in its slot cannot be taken for a single one; empty: the record
    lists all functions, where it does not look like an excerpt. ``left_out`` is what records of this kind never
    show. Raises InputError for no function.
    """
    if not shown.functions:
        raise InputError(
            f"{path}: it shows no PCI function", hint="record the host with atoll capture, or use lspci -vvv"
        )
    named = _add_named_bridges(shown)
    # What leaves functions out by itself says so, and shows no 00:00.0 of a whole machine either.
    excerpt = not left_out and is_excerpt(shown.functions, shown.group)
    lone = lone or (_EXCERPT if excerpt else "")
    slots = Counter(a.slot for a in shown.functions if a not in shown.physical)
    virtual = virtual_of(shown.physical)
    number = {address: group for address, group in shown.group.items() if address not in shown.doubted}
    told = ToldGroups(shown.name, number, frozenset(shown.ungrouped - shown.doubted.keys()), shown.doubted)
    functions = {}
    for a in sorted(shown.functions):
        function = shown.functions[a]
        parent, is_told = _parent(shown, a)
        functions[a] = replace(
            function,
            parent=parent,
            parent_told=is_told,
            host_bridge=shown.standings[a].host_bridge or _root(shown, a),
            multifunction=_multifunction(function, slots[a.slot] if a not in shown.physical else 0, lone),
            physical_function=shown.physical.get(a),
            virtual_functions=virtual.get(a, ()),
            group=told.of(a) if told.number or told.none or told.doubted else Unknown(f"{shown.name}: {no_groups}"),
            ari=_ari(shown, parent, is_told),
        )
    groups = told.fact(reason=f"{shown.name}: {no_groups}")
    return Host(
        name=shown.name,
        functions=functions,
        groups=groups,
        platform=_platform(functions, shown.units),
        iommu_units=shown.units,
        gaps=(*shown.gaps, *_missing(shown, functions, named), *left_out, *coverage(functions, groups)),
        excerpt=excerpt,
        provenance=(path,),
    )


def _add_named_bridges(shown: Shown) -> frozenset[Address]:
    """Take the bridges that are shown only as a part of the path of what stands below them, and return them."""
    found: dict[Address, Standing] = {}
    for place in shown.standings.values():
        for parent, address in pairwise((None, *place.above)):
            assert address is not None
            if address not in shown.functions:
                found.setdefault(address, Standing(parent, True, place.host_bridge))
    for address, place in found.items():
        shown.add(placed_function(address, bridge=True, source=f"{shown.name}: a path"), place)
    return frozenset(found)


def _parent(shown: Shown, address: Address) -> tuple[Address | None, bool]:
    place = shown.standings[address]
    if place.parent is None:
        return None, place.told
    # A bus that is not above its bridge's own leads round in circles.
    usable = place.parent in shown.functions and place.parent.bus < address.bus and place.parent[0] == address[0]
    return (place.parent, True) if usable else (None, False)


def _root(shown: Shown, address: Address) -> str:
    here = address
    for _ in range(_DEEPEST):
        parent, _told = _parent(shown, here)
        if parent is None:
            break
        here = parent
    return f"pci{here.domain:04x}:{here.bus:02x}"


def _multifunction(function: Function, beside: int, lone: str) -> Fact[bool]:
    if not beside:
        return Known(False, "virtual function")
    if isinstance(function.multifunction, Known) and (function.multifunction.value or beside == 1):
        return function.multifunction
    if beside > 1:
        return Known(True, SHARED)
    return Unknown(lone) if lone else Known(False, ALONE)


def _ari(shown: Shown, parent: Address | None, told: bool) -> Fact[bool]:
    if parent is None:
        return Known(False, "on a root bus") if told else Unknown("what stands above it is not shown")
    return shown.forwarding.get(parent, Unknown(f"{shown.name} does not show whether ARI forwarding is on"))


def _platform(functions: Mapping[Address, Function], units: tuple[IommuUnit, ...]) -> Platform:
    kinds = {unit.kind for unit in units}
    if kinds & {"intel", "amd"}:
        return Platform.X86
    return Platform.ARM if "smmu" in kinds else platform_by_bridges(functions)


def _missing(shown: Shown, functions: Mapping[Address, Function], above: Set[Address]) -> list[Gap]:
    gaps = []
    named = sorted((shown.group.keys() | set(shown.physical.values())) - functions.keys() | above)
    if named:
        why = f"{shown.name} names them and does not show them"
        gaps.append(Gap(_several("function", named), why, _HINT, GapKind.FUNCTION, tuple(named)))
    loose = sorted(address for address, function in functions.items() if not function.parent_told)
    if loose:
        buses = sorted({f"{a.domain:04x}:{a.bus:02x}" for a in loose})
        which = ", ".join(buses[:8]) + (", …" if len(buses) > 8 else "")
        why = f"{shown.name} does not show the bridge"
        gaps.append(Gap(f"what stands above bus {which}", why, _HINT, GapKind.ABOVE, tuple(loose)))
    return gaps


def _several(what: str, addresses: Sequence[Address]) -> str:
    listed = ", ".join(map(str, addresses[:3])) + (f" and {len(addresses) - 3} more" if len(addresses) > 3 else "")
    return f"{what} {listed}" if len(addresses) == 1 else f"{what}s {listed}"
