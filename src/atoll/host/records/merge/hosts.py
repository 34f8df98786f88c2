"""Several records of one machine as one host: what one lacks, the other may have; where they disagree, neither counts.

Design rule 1: two sources that disagree make a fact unknown. The disagreement is a gap that names both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from atoll.host.coverage import coverage
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.gap import Gap, GapKind
from atoll.host.interrupt_remapping import doubt_remapping
from atoll.host.links.boards import board_gaps
from atoll.host.links.told import CONTRADICTED, ToldLinks, doubted_in
from atoll.host.links.told import merge as merge_links
from atoll.host.model import UNTOLD_CLASS, Function, Group, Host, IommuUnit, Platform
from atoll.host.records.excerpt import is_excerpt
from atoll.host.records.group_facts import ToldGroups, join
from atoll.host.records.merge.bricks import merge_bricks
from atoll.host.records.merge.disagreement import Disagreements, agreed, agreed_by_key, is_disagreement, is_disputed
from atoll.host.records.merge.function import merge_function
from atoll.host.records.multifunction import ALONE, SHARED
from atoll.host.records.platform import both_platforms
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass

__all__ = ["merge"]


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
    doubts = Disagreements(one.name, other.name, earlier=earlier)
    told = join(_groups(one), _groups(other))
    functions = {a: replace(f, group=told.of(a)) for a, f in _functions(one, other, doubts).items()}
    for address, why in sorted(told.doubted.items()):
        doubts.gaps.append(Gap(f"group of {address}", why, CONTRADICTED, GapKind.GROUP, (address,)))
    groups = _group_fact(one, other, told, doubts)
    links = merge_links([_told_links(host) for host in (one, other) if _tells_links(host)])
    platform = _platform(one, other, doubts)
    command_line = agreed("kernel command line", one.command_line, other.command_line, doubts)
    units = _units(one, other, doubts)
    remapping = agreed("interrupt remapping", one.interrupt_remapping, other.interrupt_remapping, doubts)
    if isinstance(remapping, Known):
        remapping = doubt_remapping(remapping, command_line, units)
    merged = Host(
        name=f"{one.name} + {other.name}",
        functions=functions,
        groups=groups,
        platform=platform,
        virtual=one.virtual or other.virtual,
        kernel=agreed("kernel release", one.kernel, other.kernel, doubts),
        command_line=command_line,
        overrides_acs=agreed("override of ACS", one.overrides_acs, other.overrides_acs, doubts),
        iommu_units=units,
        interrupt_remapping=remapping,
        smmu_aborts=agreed("disable_bypass of the SMMU", one.smmu_aborts, other.smmu_aborts, doubts),
        firmware_aliases=agreed("ids by firmware", one.firmware_aliases, other.firmware_aliases, doubts),
        passthrough=agreed("default domain type", one.passthrough, other.passthrough, doubts),
        holders=agreed("who holds devices open", one.holders, other.holders, doubts),
        vfio_devices=one.vfio_devices | other.vfio_devices,
        opened=one.opened | other.opened,
        links=links.links,
        links_told=links.told,
        registers=agreed_by_key("register {0[1].offset:#x} of {0[0]}", one.registers, other.registers, doubts),
        root_routing=agreed_by_key("routing of {0}", one.root_routing, other.root_routing, doubts),
        npu_bricks=merge_bricks(one.npu_bricks, other.npu_bricks, doubts),
        unread=tuple(sorted({*one.unread, *other.unread} - functions.keys())),
        essential={**other.essential, **one.essential},
        refused=one.refused | other.refused,
        firmware_maps={
            a: tuple(sorted({*one.firmware_maps.get(a, ()), *other.firmware_maps.get(a, ())}))
            for a in sorted({*one.firmware_maps, *other.firmware_maps})
        },
        complaints=tuple(dict.fromkeys((*one.complaints, *other.complaints))),
        excerpt=_left_out(one, other, functions, told),
        provenance=(*one.provenance, *other.provenance),
    )
    return replace(merged, gaps=_gaps(one, other, merged, doubts.gaps, links))


def _functions(one: Host, other: Host, doubts: Disagreements) -> dict[Address, Function]:
    found = {**one.functions, **other.functions}
    for address in sorted(one.functions.keys() & other.functions.keys()):
        found[address] = merge_function(one.functions[address], other.functions[address], doubts=doubts)
    return _settled(dict(sorted(found.items())))


def _left_out(one: Host, other: Host, functions: Mapping[Address, Function], told: ToldGroups) -> bool:
    """Whether both together may show a part of the machine: a record of GPUs alone makes no excerpt whole."""
    if one.excerpt and other.excerpt:
        return True
    return (one.excerpt or other.excerpt) and is_excerpt(functions, told.number.keys())


def _told_links(host: Host) -> ToldLinks:
    return ToldLinks(host.name, host.links, host.links_told, doubted=doubted_in(host.gaps))


def _tells_links(host: Host) -> bool:
    return bool(host.links or host.links_told or doubted_in(host.gaps))


_GPUS = (BaseClass.DISPLAY, BaseClass.ACCELERATOR, UNTOLD_CLASS >> 16)
"""Base classes of what a record of GPUs shows."""


def _gaps(one: Host, other: Host, merged: Host, disagreements: Sequence[Gap], links: ToldLinks) -> tuple[Gap, ...]:
    """Return what the two do not show together: what one of them filled is none, what they disagree about is one."""
    told = (*one.gaps, *other.gaps)
    partial = {gap for host in (one, other) for gap in coverage(host.functions, host.groups)}
    kept = [gap for gap in told if gap not in partial and not _filled(gap, merged.functions)]
    shown = {gap.what for gap in told}
    new = [gap for gap in links.gaps if gap.what not in shown]
    odd = board_gaps(merged.functions, links, powernv=merged.platform is Platform.POWERNV)
    return tuple(dict.fromkeys((*kept, *disagreements, *new, *odd, *coverage(merged.functions, merged.groups))))


def _filled(gap: Gap, functions: Mapping[Address, Function]) -> bool:
    """Whether the merge filled a gap about ids or bridges, or asks anew whether the links are those of a board."""
    match gap.kind:
        case GapKind.BOARD:
            return True
        case GapKind.GPUS_ONLY:
            return any(function.base_class not in _GPUS for function in functions.values())
        case GapKind.FUNCTION | GapKind.IDS:
            return all(address in functions and functions[address].ids_told for address in gap.of)
        case GapKind.ABOVE:
            return all(address in functions and functions[address].parent_told for address in gap.of)
    return False


def _platform(one: Host, other: Host, doubts: Disagreements) -> Platform:
    platform = both_platforms(one.platform, other.platform)
    if platform is not None:
        return platform
    doubts.add("platform", Known(one.platform.value, doubts.one), Known(other.platform.value, doubts.other))
    return Platform.UNKNOWN


def _units(one: Host, other: Host, doubts: Disagreements) -> tuple[IommuUnit, ...]:
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
        found[unit.name] = unit._replace(kind=kind, attributes=tuple(sorted(told.items())))
    for name, unit in found.items():
        kept = tuple(pair for pair in unit.attributes if f"{pair[0]} of {name}" not in doubts.earlier)
        found[name] = unit._replace(attributes=kept)
    numbered = {(name, unit.kind) for name, unit in found.items()}
    return tuple(found[name] for name in sorted(found) if not _said_at_boot(found[name], numbered))


def _said_at_boot(unit: IommuUnit, shown: Set[tuple[str, str]]) -> bool:
    """Whether it is what a boot log tells of units that another record shows by their names: dmar0, ivhd1."""
    return not unit.attributes and any(
        name != unit.name and name.startswith(unit.name) and kind == unit.kind for name, kind in shown
    )


def _settled(functions: dict[Address, Function]) -> dict[Address, Function]:
    """What is known only of all functions together: slots that more than one record shows functions of."""
    slots = Counter(a.slot for a, function in functions.items() if function.physical_function is None)
    for a, function in functions.items():
        alone = isinstance(function.multifunction, Known) and function.multifunction.source == ALONE
        if alone and slots[a.slot] > 1:
            functions[a] = replace(function, multifunction=Known(True, SHARED))
        above = functions.get(function.parent) if function.parent is not None else None
        # A bridge of which records tell different buses: what is below it is told by these alone.
        if function.parent is not None and (above is None or is_disputed(above.bridge)):
            functions[a] = replace(functions[a], parent=None, parent_told=False)
    return functions


def _groups(host: Host) -> ToldGroups:
    number: dict[Address, int] = {}
    if isinstance(host.groups, Known):
        number = {address: group.number for group in host.groups.value.values() for address in group.members}
    none = {a for a, f in host.functions.items() if isinstance(f.group, Known) and f.group.value is None}
    doubted = {address: gap.why for gap in host.gaps if gap.kind is GapKind.GROUP for address in gap.of}
    source = host.groups.source if isinstance(host.groups, Known) else ""
    name = source if host.name in source else f"{host.name} ({source})" if source else host.name
    return ToldGroups(name, number, frozenset(none), doubted)


def _group_fact(one: Host, other: Host, told: ToldGroups, doubts: Disagreements) -> Fact[Mapping[int, Group]]:
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


def _of_both(one: Group, other: Group, doubts: Disagreements) -> Group:
    """A group of which two records tell the same members, be it under other numbers."""
    kind = agreed(f"type of group {one.number}", one.type, other.type, doubts)
    regions = agreed(f"reserved regions of group {one.number}", one.reserved_regions, other.reserved_regions, doubts)
    others = tuple(sorted({*one.others, *other.others}))
    return replace(one, type=kind, reserved_regions=regions, name=one.name or other.name, others=others)
