"""Several records of one machine as one host: what one lacks, the other may have; where they disagree, neither counts.

Design rule 1: two sources that disagree make a fact unknown. The disagreement is a gap that names both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from atoll.host.coverage import coverage
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.kernel import doubt_remapping
from atoll.host.links.boards import board_gaps, is_board_gap
from atoll.host.model import UNTOLD_CLASS, Function, Gap, Group, Host, IommuUnit, Platform
from atoll.host.records.arrange import ALONE, SHARED
from atoll.host.records.fuller import fuller
from atoll.host.records.group_facts import ToldGroups, join
from atoll.host.records.smi_gpus import GPUS_ONLY
from atoll.host.told import ToldLinks, doubted_in
from atoll.host.told import merge as merge_links
from atoll.pci.acs import Acs
from atoll.pci.address import Address

__all__ = ["is_disagreement", "merge", "merge_function"]

_FACTS = (
    *(
        "header",
        "port_type",
        "command",
        "acs",
        "ats",
        "pasid",
        "sriov",
        "flr",
        "pending",
        "port_number",
        "link",
        "slot",
    ),
    *("power_state", "bridge", "bars", "rom", "revision", "subsystem", "driver", "driver_override", "reset_methods"),
    *("numa_node", "iommu", "serial", "ari"),
)
_ASSUMED = (ALONE, SHARED)
_HINT = "find out which record is of this machine as it is now"
_GROUP_OF = "group of "
_DISAGREE = "records disagree: "
"""How the reason begins of what two records contradict each other about: no third one settles it."""


@dataclass(slots=True)
class _Doubts:
    one: str = "one record"
    other: str = "another"
    """What to call the records where a fact does not say where it is from."""
    gaps: list[Gap] = field(default_factory=list)
    earlier: frozenset[str] = frozenset()
    """What records that were merged before contradict each other about."""

    def add(self, what: str, one: Known[Any], other: Known[Any]) -> Unknown:
        if one.source == other.source:
            # The same file of two trees.
            one, other = _of(self.one, one), _of(self.other, other)
        why = f"{_said(one)}, but {_said(other)}"
        self.gaps.append(Gap(what, why, _HINT))
        return Unknown(f"{_DISAGREE}{why}")


def _of(name: str, fact: Known[Any]) -> Known[Any]:
    return replace(fact, source=f"{name}: {fact.source}" if fact.source else name)


def _said(fact: Known[Any]) -> str:
    return f"{fact.source or 'one record'} says {_words(fact.value)}"


def _words(value: Any) -> str:
    if isinstance(value, Acs):
        return f"ACS {value.control.lspci}"
    if value is None:
        return "none"
    name = getattr(value, "label", None) or getattr(value, "text", None) or str(value)
    return name if len(name) < 120 else name[:117] + "…"


def is_disagreement(gap: Gap) -> bool:
    """Whether a gap is one that ``merge`` found: what records contradict each other about."""
    return gap.hint == _HINT


def merge(hosts: Sequence[Host]) -> Host:
    """Return what records of one machine show together. The first names it.

    What was merged can be merged again: what two records contradict each other about stays unknown, whatever a third
    one says.
    """
    result = hosts[0]
    for host in hosts[1:]:
        result = _two(result, host)
    return result


def _two(one: Host, other: Host) -> Host:
    earlier = frozenset(gap.what for gap in (*one.gaps, *other.gaps) if is_disagreement(gap))
    doubts = _Doubts(one.name, other.name, earlier=earlier)
    functions: dict[Address, Function] = {}
    for address in sorted(one.functions.keys() | other.functions.keys()):
        here, there = one.functions.get(address), other.functions.get(address)
        if here is None or there is None:
            found = here or there
            assert found is not None
            functions[address] = found
        else:
            functions[address] = merge_function(here, there, doubts=doubts)
    functions = _settled(functions)
    told = join(_groups(one), _groups(other))
    doubts.gaps += [Gap(f"{_GROUP_OF}{a}", why, _HINT) for a, why in sorted(told.doubted.items())]
    functions = {address: replace(function, group=told.of(address)) for address, function in functions.items()}
    groups = _group_fact(one, other, told, doubts)
    links = merge_links(
        [
            ToldLinks(host.name, host.links, host.links_told, doubted=doubted_in(host.gaps))
            for host in (one, other)
            if host.links or host.links_told or doubted_in(host.gaps)
        ]
    )
    shown = {gap.what for gap in (*one.gaps, *other.gaps)}
    partial = set(coverage(one.functions, one.groups)) | set(coverage(other.functions, other.groups))
    kept = [gap for gap in dict.fromkeys((*one.gaps, *other.gaps)) if not (gap in partial or _filled(gap, functions))]
    platform = _platform(one, other, doubts)
    command_line = _fact("kernel command line", one.command_line, other.command_line, doubts)
    units = _units(one, other, doubts)
    remapping = _fact("interrupt remapping", one.interrupt_remapping, other.interrupt_remapping, doubts)
    if isinstance(remapping, Known):
        remapping = doubt_remapping(remapping, command_line, units)
    odd = board_gaps(functions, links, powernv=platform is Platform.POWERNV)
    new = [gap for gap in (*doubts.gaps, *links.gaps) if gap.what not in shown]
    return Host(
        name=f"{one.name} + {other.name}",
        functions=functions,
        groups=groups,
        platform=platform,
        kernel=_fact("kernel release", one.kernel, other.kernel, doubts),
        command_line=command_line,
        iommu_units=units,
        interrupt_remapping=remapping,
        holders=_fact("who holds devices open", one.holders, other.holders, doubts),
        links=links.links,
        links_told=links.told,
        registers=_facts("register {0[1].offset:#x} of {0[0]}", one.registers, other.registers, doubts),
        root_routing=_facts("routing of {0}", one.root_routing, other.root_routing, doubts),
        npu_bricks=one.npu_bricks or other.npu_bricks,
        unread=tuple(sorted({*one.unread, *other.unread} - functions.keys())),
        essential={**other.essential, **one.essential},
        gaps=tuple(dict.fromkeys((*kept, *new, *doubts.gaps, *odd, *coverage(functions, groups)))),
        provenance=(*one.provenance, *other.provenance),
    )


_GPUS = (0x03, 0x12, UNTOLD_CLASS >> 16)
"""Base classes of what a record of GPUs shows."""


def _filled(gap: Gap, functions: Mapping[Address, Function]) -> bool:
    """Whether the merge filled a gap about ids or bridges, or asks anew whether the links are those of a board."""
    if is_board_gap(gap):
        return True
    if gap.what == GPUS_ONLY.what:
        return any(function.class_code >> 16 not in _GPUS for function in functions.values())
    if gap.what.startswith("ids of "):
        return all(function.ids_told for function in functions.values())
    return gap.what.startswith("what stands above ") and all(function.parent_told for function in functions.values())


def _platform(one: Host, other: Host, doubts: _Doubts) -> Platform:
    if one.platform is other.platform or other.platform is Platform.UNKNOWN:
        return one.platform
    if one.platform is Platform.UNKNOWN:
        return other.platform
    doubts.add("platform", Known(one.platform.value, doubts.one), Known(other.platform.value, doubts.other))
    return Platform.UNKNOWN


def _units(one: Host, other: Host, doubts: _Doubts) -> tuple[IommuUnit, ...]:
    """The IOMMUs that either shows, without what the two tell otherwise of them."""
    found = {unit.name: unit for unit in other.iommu_units}
    for unit in one.iommu_units:
        there = found.get(unit.name, unit)
        told = {**dict(there.attributes), **dict(unit.attributes)}
        for name, value in there.attributes:
            if told[name] != value:
                here, its = (
                    Known(v, f"{n}: {unit.name}") for v, n in ((told[name], doubts.one), (value, doubts.other))
                )
                doubts.add(f"{name} of {unit.name}", here, its)
                del told[name]
        kind = unit.kind or there.kind
        if there.kind and there.kind != kind:
            doubts.add(f"kind of {unit.name}", Known(kind, doubts.one), Known(there.kind, doubts.other))
            kind = ""
        found[unit.name] = replace(unit, kind=kind, attributes=tuple(sorted(told.items())))
    for name, unit in found.items():
        kept = tuple(pair for pair in unit.attributes if f"{pair[0]} of {name}" not in doubts.earlier)
        found[name] = replace(unit, attributes=kept)
    return tuple(found[name] for name in sorted(found))


def _facts(what: str, one: Mapping[Any, Any], other: Mapping[Any, Any], doubts: _Doubts) -> dict[Any, Any]:
    """Return the facts of both by key; ``what`` is formatted with it."""
    found = {**other, **one}
    for key in one.keys() & other.keys():
        found[key] = _fact(what.format(key), one[key], other[key], doubts)
    return found


def _is_doubted(fact: Any) -> bool:
    return isinstance(fact, Unknown) and fact.reason.startswith(_DISAGREE)


def _fact(what: str, one: Any, other: Any, doubts: _Doubts) -> Any:
    for fact in (one, other):
        if _is_doubted(fact):
            return fact
    if isinstance(one, Unknown):
        return other if isinstance(other, Known) else one
    if isinstance(other, Unknown):
        return one
    if one.value == other.value:
        return one
    better = fuller(one.value, other.value)
    if better is not None:
        return Known(better, one.source) if better is not other.value else other
    return doubts.add(what, one, other)


def merge_function(one: Function, other: Function, *, doubts: _Doubts | None = None) -> Function:
    """Return what two records tell of one function."""
    doubts = doubts or _Doubts()
    changes: dict[str, Any] = {
        name: _fact(f"{name.replace('_', ' ')} of {one.address}", getattr(one, name), getattr(other, name), doubts)
        for name in _FACTS
    }
    changes["multifunction"] = _multifunction(one, other, doubts)
    changes |= _identity(one, other, doubts)
    changes |= _place(one, other, doubts)
    changes["virtual_functions"] = tuple(sorted({*one.virtual_functions, *other.virtual_functions}))
    changes["device_tree_path"] = one.device_tree_path or other.device_tree_path
    return replace(one, **changes)


def _multifunction(one: Function, other: Function, doubts: _Doubts) -> Any:
    """What a text assumes from the slot gives way to what another record read."""
    here, there = one.multifunction, other.multifunction
    for assumed, read in ((here, there), (there, here)):
        if isinstance(assumed, Known) and assumed.source in _ASSUMED and isinstance(read, Known):
            if read.source in _ASSUMED:
                return here if value_of(here, False) else there
            return read
    return _fact(f"multifunction bit of {one.address}", here, there, doubts)


def _identity(one: Function, other: Function, doubts: _Doubts) -> dict[str, Any]:
    """Ids and class: told by either, or what both leave possible."""
    changes: dict[str, Any] = {"class_code": _class(one, other, doubts)}
    first = one.possible_ids or ((one.vendor, one.device),)
    second = other.possible_ids or ((other.vendor, other.device),)
    common = tuple(dict.fromkeys(pair for a in first for b in second if (pair := _meet(a, b)) is not None))
    label = one.label or other.label
    if not common:
        here, there = Known(_ids(one), doubts.one), Known(_ids(other), doubts.other)
        label = doubts.add(f"ids of {one.address}", here, there).reason
    if not common or label.startswith(_DISAGREE):
        common = tuple(dict.fromkeys((*first, *second)))
    if len(common) == 1 and None not in common[0]:
        changes |= {"vendor": common[0][0], "device": common[0][1], "possible_ids": (), "label": ""}
    else:
        changes |= {"vendor": 0xFFFF, "device": 0xFFFF, "possible_ids": common, "label": label}
    return changes


def _class(one: Function, other: Function, doubts: _Doubts) -> int:
    here, there = one.class_code, other.class_code
    if f"class of {one.address}" in doubts.earlier:
        return UNTOLD_CLASS
    if not one.class_told or not other.class_told:
        return here if one.class_told else there
    if here >> 8 == there >> 8:
        # Some records do not show the interface.
        return max(here, there)
    doubts.add(f"class of {one.address}", Known(f"{here:06x}", doubts.one), Known(f"{there:06x}", doubts.other))
    return UNTOLD_CLASS


def _ids(function: Function) -> str:
    return f"{function.vendor:04x}:{function.device:04x}" if function.ids_told else "another device by name"


def _meet(a: tuple[int | None, int | None], b: tuple[int | None, int | None]) -> tuple[int | None, int | None] | None:
    found = []
    for one, other in zip(a, b, strict=True):
        if one is not None and other is not None and one != other:
            return None
        found.append(one if one is not None else other)
    return found[0], found[1]


def _place(one: Function, other: Function, doubts: _Doubts) -> dict[str, Any]:
    """Parent and root bus: what one record does not show, the other may."""
    first = one if one.parent_told or not other.parent_told else other
    parent, told = first.parent, first.parent_told
    if one.parent_told and other.parent_told and one.parent != other.parent:
        what = f"bridge above {one.address}"
        doubts.add(what, Known(one.parent, doubts.one), Known(other.parent, doubts.other))
        parent, told = None, False
    owners = one.physical_function, other.physical_function
    if None not in owners and owners[0] != owners[1]:
        doubts.add(f"physical function of {one.address}", Known(owners[0], doubts.one), Known(owners[1], doubts.other))
    return {
        "parent": parent,
        "parent_told": told,
        "host_bridge": first.host_bridge,
        "behind": first.behind or one.behind or other.behind,
        "physical_function": owners[0] or owners[1],
    }


def _settled(functions: dict[Address, Function]) -> dict[Address, Function]:
    """What is known only of all functions together: slots that more than one record shows functions of."""
    slots: dict[tuple[int, int, int], int] = {}
    for a, function in functions.items():
        if function.physical_function is None:
            slots[a.domain, a.bus, a.device] = slots.get((a.domain, a.bus, a.device), 0) + 1
    for a, function in functions.items():
        alone = isinstance(function.multifunction, Known) and function.multifunction.source == ALONE
        if alone and slots.get((a.domain, a.bus, a.device), 0) > 1:
            functions[a] = replace(function, multifunction=Known(True, SHARED))
        above = functions.get(function.parent) if function.parent is not None else None
        # A bridge of which records tell different buses: what is below it is told by these alone.
        if function.parent is not None and (above is None or _is_doubted(above.bridge)):
            functions[a] = replace(functions[a], parent=None, parent_told=False)
    return functions


def _groups(host: Host) -> ToldGroups:
    number: dict[Address, int] = {}
    if isinstance(host.groups, Known):
        number = {address: group.number for group in host.groups.value.values() for address in group.members}
    none = {a for a, f in host.functions.items() if isinstance(f.group, Known) and f.group.value is None}
    doubted = {
        a: f.group.reason
        for a, f in host.functions.items()
        if isinstance(f.group, Unknown) and f.group.reason.startswith(_GROUP_OF)
    }
    # A list of groups names functions that no record shows.
    for gap in host.gaps:
        if gap.what.startswith(_GROUP_OF) and gap.what.count(" ") == 2:
            doubted.setdefault(Address.parse(gap.what.removeprefix(_GROUP_OF)), gap.why)
    source = host.groups.source if isinstance(host.groups, Known) else ""
    name = source if host.name in source else f"{host.name} ({source})" if source else host.name
    return ToldGroups(name, number, frozenset(none), doubted)


def _group_fact(one: Host, other: Host, told: ToldGroups, doubts: _Doubts) -> Any:
    known = [host.groups for host in (one, other) if isinstance(host.groups, Known)]
    if not known:
        return one.groups
    if not told.number and len(known) == 2 and not told.doubted:
        return known[0]
    formed = {number: group for fact in reversed(known) for number, group in fact.value.items()}
    if len(known) == 2:
        first, second = (fact.value for fact in known)
        alike = {group.members: group for group in second.values()}
        formed |= {n: _of_both(g, alike[g.members], doubts) for n, g in first.items() if g.members in alike}
    found = told.fact(reason="the records disagree about every group")
    if isinstance(found, Unknown):
        return known[0] if not told.doubted else found
    kept: dict[int, Group] = {}
    for number, group in found.value.items():
        old = formed.get(number)
        same = old is not None and old.members == group.members
        kept[number] = old if old is not None and same else group
    return Known(kept, told.source)


def _of_both(one: Group, other: Group, doubts: _Doubts) -> Group:
    """A group of which two records tell the same members, be it under other numbers."""
    kind = _fact(f"type of group {one.number}", one.type, other.type, doubts)
    regions = _fact(f"reserved regions of group {one.number}", one.reserved_regions, other.reserved_regions, doubts)
    return replace(one, type=kind, reserved_regions=regions, name=one.name or other.name)
