"""A pasted text as a host: whatever of lspci output, group lists and boot log it holds, found by its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

from atoll.errors import InputError
from atoll.host.coverage import coverage
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.kernel import doubt_remapping
from atoll.host.model import Function, Gap, Group, Host, IommuUnit, KernelRelease, Platform
from atoll.host.records.arrange import arranged
from atoll.host.records.boot_log import BootLog, release_of
from atoll.host.records.configured import from_dump
from atoll.host.records.drawn import drawn_function
from atoll.host.records.group_facts import ToldGroups, join
from atoll.host.records.group_list import GroupList
from atoll.host.records.lines import text_lines
from atoll.host.records.lspci_blocks import Block, blocks
from atoll.host.records.lspci_text import Habits, habits, read_block
from atoll.host.records.lspci_tree import LspciTree
from atoll.host.records.machine_form import MachineForm
from atoll.host.records.merge_function import merge_function
from atoll.host.records.platform import platform_by_bridges
from atoll.host.records.printed import Printed
from atoll.host.records.unread import instead
from atoll.host.records.virtual import VirtualFunctions
from atoll.pci.address import Address
from atoll.pci.header import HeaderType

__all__ = ["read_text"]

T = TypeVar("T")

_HINT = "give the output of lspci -vvv (as root), a list of IOMMU groups or a boot log, and sys/ where you can"
_NO_LOG = "no boot log in the text"
_NAMED = 4
_NUMBERS = "lspci prints names only: add -nn"


@dataclass(slots=True)
class _Found:
    """What was found so far about functions."""

    name: str
    functions: dict[Address, Function] = field(default_factory=dict)
    above: dict[Address, Address] = field(default_factory=dict)
    forwarding: dict[Address, Fact[bool]] = field(default_factory=dict)
    virtual: dict[Address, VirtualFunctions] = field(default_factory=dict)
    virtual_unread: set[Address] = field(default_factory=set)
    named_virtual: set[Address] = field(default_factory=set)
    cut: Address | None = None
    """The function in the middle of which the text ends."""
    group: dict[Address, int] = field(default_factory=dict)
    regrouped: dict[Address, tuple[int, int]] = field(default_factory=dict)
    """Functions that it shows twice, in two groups."""
    gaps: list[Gap] = field(default_factory=list)
    paths: dict[tuple[int, tuple[str, ...]], Address] = field(default_factory=dict)
    lost: int = 0
    """Functions of which the text does not tell the bus."""
    undrawn: int = 0
    """Functions that a drawing does not show below anything."""


_MOST_BLOCKS = 1 << 15
"""Functions told of, each time counted: lists of groups, trees and dumps of 10,000 functions may stand in one text."""


def read_text(data: bytes, *, name: str) -> Host:
    """Return the host that a pasted text shows. Raises InputError where it shows none."""
    path, name = name, name.rstrip("/").rpartition("/")[2] or name
    log, printed, listed, machine, tree = BootLog(), Printed(), GroupList(), MachineForm(), LspciTree()
    numbered: list[tuple[int, str]] = []
    number = 0
    for number, line in enumerate(text_lines(data, name=path), 1):
        if not (tree.take(line, number) or log.take(line) or printed.take(line)):
            numbered += [(number, listed.take(plain)) for plain in machine.take(line)]
    numbered += [(number, listed.take(plain)) for plain in machine.end()]
    unsure = listed.end()
    found = _Found(name)
    pages = list(islice(blocks(numbered), _MOST_BLOCKS + 1))
    if len(pages) > _MOST_BLOCKS:
        why = f"tells of functions more than {_MOST_BLOCKS} times, which no machine's record does"
        raise InputError(f"{path}: {why}", hint="cut it, or name the records of one machine alone")
    custom = habits(pages)
    for block in pages:
        _add(found, block, custom)
    _add_drawn(found, tree)
    _add_logged(found, log)
    others = tuple(dict.fromkeys((*listed.others, *log.others)))
    unfound = listed.unfound and not (listed.members or log.members or found.group)
    if not (found.functions or listed.members or log.members or log.release or others or unfound):
        known = instead(data)
        if known is not None:
            raise InputError(f"{path}: {known[0]}", hint=known[1])
        raise InputError(f"{path}: no folder, archive or text that tells of PCI functions or groups", hint=_HINT)
    why = _no_groups(log, others, asked=listed.asked)
    functions = arranged(
        found.functions,
        above=found.above,
        forwarding=found.forwarding,
        virtual=found.virtual,
        unread=frozenset(found.virtual_unread - found.virtual.keys()),
        named=frozenset(found.named_virtual),
        cut=found.cut,
        roots=tree.roots | log.roots,
    )
    told = _groups(found, functions, listed, log)
    if unfound:
        source = f"{found.name}: the loop over /sys/kernel/iommu_groups found none"
        functions = {address: replace(function, group=Known(None, source)) for address, function in functions.items()}
    elif told.number or told.none or told.doubted:
        functions = {address: replace(function, group=told.of(address)) for address, function in functions.items()}
    else:
        unread = Unknown(why)
        functions = {address: replace(function, group=unread) for address, function in functions.items()}
    groups: Fact[Mapping[int, Group]] = Known({}, source) if unfound else told.fact(reason=why)
    groups = _with_types(groups, log)
    command_line = _command_line(log, printed, name)
    units = tuple(IommuUnit(unit, kind) for unit, kind in sorted(log.units.items()))
    remapping = _known(log.remapping, f"{name}: boot log", "no boot log in the text tells it")
    if isinstance(remapping, Known):
        remapping = doubt_remapping(remapping, command_line, units)
    return Host(
        name=name,
        functions=functions,
        groups=groups,
        platform=_platform(functions, log),
        kernel=_release(log, printed, name),
        command_line=command_line,
        iommu_units=units,
        interrupt_remapping=remapping,
        holders=Unknown("a text does not show who holds devices open"),
        gaps=(
            *_gaps(found, functions, told),
            *_unread_groups(found, listed),
            *_unsure(found, [a for a in unsure if a not in told.number]),
            *coverage(functions, groups),
        ),
        provenance=(path,),
    )


def _known(value: T | None, source: str, reason: str) -> Fact[T]:
    return Unknown(reason) if value is None else Known(value, source)


def _add(found: _Found, block: Block, custom: Habits) -> None:
    slot = block.slot
    address = slot.address
    above = slot.above
    if address is None:
        # -P numbers no buses: the bridge above, printed before, says which one is below it.
        above = found.paths.get((slot.domain, slot.path[:-1]))
        bridge = found.functions[above].bridge if above in found.functions else None
        if above is None or not isinstance(bridge, Known) or bridge.value is None or not bridge.value.secondary:
            found.lost += 1
            return
        address = Address(slot.domain, bridge.value.secondary, *slot.place)
    if above is not None:
        found.above[address] = above
    found.paths[slot.domain, slot.path] = address
    text = read_block(block, address, name=found.name, custom=custom)
    function, forwarding, virtual = text.function, text.ari_forwarding, text.virtual
    for group in text.groups:
        first = found.group.setdefault(address, group)
        if first != group:
            found.regrouped[address] = first, group
    dump = from_dump(address, bytes(block.dump), source=f"{found.name} line {block.line}: dump") if block.dump else None
    if dump is not None:
        function = _filled(dump.function, function)
        forwarding = dump.ari_forwarding if isinstance(dump.ari_forwarding, Known) else forwarding
        virtual = dump.virtual or virtual
    known = found.functions.get(address)
    if known is not None:
        # Twice in one text: a short listing and a long one, or before and after.
        if _bare(known) != _bare(function):
            function = _filled(known, function) if _bare(function) else _filled(function, known)
        else:
            function = merge_function(known, function)
        forwarding = found.forwarding[address] if isinstance(forwarding, Unknown) else forwarding
    found.functions[address] = function
    found.forwarding[address] = forwarding
    if virtual is not None:
        found.virtual[address] = virtual
    if text.virtual_unread:
        found.virtual_unread.add(address)
    if text.named_virtual:
        found.named_virtual.add(address)
    if block.cut:
        found.cut = address


def _bare(function: Function) -> bool:
    """Whether nothing but its first line was read."""
    return isinstance(function.header, Unknown) and isinstance(function.port_type, Unknown)


_FACTS = (
    *("header", "multifunction", "port_type", "command", "acs", "ats", "pasid", "sriov", "flr", "pending"),
    *(
        "port_number",
        "link",
        "slot",
        "power_state",
        "bridge",
        "bars",
        "rom",
        "revision",
        "subsystem",
        "group",
        "driver",
        "numa_node",
        "serial",
    ),
)


def _filled(one: Function, other: Function) -> Function:
    """Return the first with what it lacks taken from the second: a dump and its text are one reading."""
    changes: dict[str, Any] = {
        name: getattr(other, name)
        for name in _FACTS
        if isinstance(getattr(one, name), Unknown) and isinstance(getattr(other, name), Known)
    }
    if isinstance(one.bars, Known) and isinstance(other.bars, Known):
        sizes = {(bar.index, bar.start): bar.size for bar in other.bars.value}
        bars = [replace(bar, size=bar.size or sizes.get((bar.index, bar.start), 0)) for bar in one.bars.value]
        # What the kernel has a place for and the register does not hold yet ("[virtual]") will answer there.
        shown = {bar.index for bar in bars}
        bars += [bar for bar in other.bars.value if bar.index not in shown]
        changes["bars"] = Known(tuple(sorted(bars, key=lambda bar: bar.index)), one.bars.source)
    rom, placed = value_of(one.rom, None), value_of(other.rom, None)
    if isinstance(one.rom, Known) and placed is not None:
        if rom is None:
            changes["rom"] = other.rom
        elif rom.start == placed.start:
            changes["rom"] = Known(replace(rom, size=rom.size or placed.size), one.rom.source)
    if not one.ids_told and other.ids_told:
        changes |= {"vendor": other.vendor, "device": other.device, "possible_ids": (), "label": ""}
    if not one.class_told:
        changes["class_code"] = other.class_code
    return replace(one, **changes)


def _add_drawn(found: _Found, tree: LspciTree) -> None:
    """Take what ``lspci -t`` draws: bridges, what they stand above, and names."""
    found.undrawn = tree.lost
    for address, drawn in tree.functions.items():
        source = f"{found.name} line {drawn.line}: lspci -t"
        function = drawn_function(drawn, source=source)
        known = found.functions.get(address)
        found.functions[address] = function if known is None else merge_function(known, function)
        found.forwarding.setdefault(address, Unknown("not shown"))
        if drawn.above is not None:
            found.above.setdefault(address, drawn.above)


def _add_logged(found: _Found, log: BootLog) -> None:
    """Take ids, class and header type from the boot log, where the text has none."""
    for address, (vendor, device, class_code, layout) in log.found.items():
        header: Fact[HeaderType] = Unknown("the boot log shows another header type")
        if layout in tuple(HeaderType):
            header = Known(HeaderType(layout), f"{found.name}: boot log")
        unread = Unknown("only the boot log shows it")
        logged = Function(
            address, vendor, device, class_code, None, "", header=header, port_type=unread, acs=unread, bridge=unread
        )
        function = found.functions.get(address)
        if function is None:
            found.functions[address] = logged
            continue
        possible = not function.ids_told and any(
            pair[0] in (None, vendor) and pair[1] in (None, device) for pair in function.possible_ids
        )
        if possible or not function.class_told:
            found.functions[address] = _filled(function, logged)
    for address, kind in log.types.items():
        function = found.functions.get(address)
        if function is not None and isinstance(function.port_type, Unknown):
            found.functions[address] = replace(function, port_type=Known(kind, f"{found.name}: boot log"))
    for address, done in log.chipset_acs.items():
        if address in found.functions:
            told = Known(done, f"{found.name}: boot log")
            found.functions[address] = replace(found.functions[address], chipset_acs=told)
    for address in found.functions:
        bridge = log.bridges.get((address.domain, address.bus))
        if bridge is not None:
            found.above.setdefault(address, bridge)


def _groups(found: _Found, functions: dict[Address, Function], listed: GroupList, log: BootLog) -> ToldGroups:
    none = frozenset(a for a, f in functions.items() if isinstance(f.group, Known) and f.group.value is None)
    doubted = {
        address: f"group of {address}: {found.name} lists it in group {one} and in group {other}"
        for address, (one, other) in listed.conflicts.items()
    }
    number = {address: group for address, group in listed.members.items() if address not in doubted}
    told = ToldGroups(f"{found.name}: list of groups", number, frozenset(listed.none - number.keys()), doubted)
    doubted = {
        address: f"group of {address}: {found.name} shows it in group {one} and in group {other}"
        for address, (one, other) in found.regrouped.items()
    }
    number = {address: group for address, group in found.group.items() if address not in doubted}
    told = join(ToldGroups(f"{found.name}: lspci", number, none - doubted.keys(), doubted), told)
    return join(told, ToldGroups(f"{found.name}: boot log", log.members))


def _no_groups(log: BootLog, others: Sequence[str], *, asked: bool) -> str:
    if others:
        some = ", ".join(others[:_NAMED]) + (", …" if len(others) > _NAMED else "")
        told = f"it names IOMMU groups of platform devices ({some}), and none of a PCI function"
        return f"{told}: if it is whole, they are in none"
    if asked:
        return "it shows a command that lists IOMMU groups, and no group: if that is all of it, no IOMMU is in use"
    if log.release is not None:
        return "the text lists no IOMMU groups, and its boot log shows no device added to one"
    return "the text shows no IOMMU groups"


def _with_types(groups: Fact[Mapping[int, Group]], log: BootLog) -> Fact[Mapping[int, Group]]:
    if isinstance(groups, Unknown) or log.default_domain is None:
        return groups
    reason = Unknown(f"the boot log tells the default only: {log.default_domain}")
    return Known({number: replace(group, type=reason) for number, group in groups.value.items()}, groups.source)


def _release(log: BootLog, printed: Printed, name: str) -> Fact[KernelRelease]:
    told = _agreed(log.release, printed.release, name, "uname")
    release = release_of(told.value) if isinstance(told, Known) else None
    if isinstance(told, Known) and release is not None:
        return Known(release, told.source)
    return told if isinstance(told, Unknown) else Unknown(_NO_LOG)


def _command_line(log: BootLog, printed: Printed, name: str) -> Fact[str]:
    return _agreed(log.command_line, printed.command_line, name, "/proc/cmdline")


def _agreed(logged: str | None, printed: str | None, name: str, what: str) -> Fact[str]:
    """Return what the boot log tells, or what a program printed; both may stand in one text and be of two boots."""
    if logged is None or printed is None:
        if logged is None:
            return _known(printed, f"{name}: {what}", _NO_LOG)
        return Known(logged, f"{name}: boot log")
    if logged.split() == printed.split():
        return Known(logged, f"{name}: boot log")
    return Unknown(f"{name}: the boot log and {what} disagree: they are of two boots")


def _platform(functions: dict[Address, Function], log: BootLog) -> Platform:
    if log.platform is not None:
        return log.platform
    return platform_by_bridges(functions)


def _gaps(found: _Found, functions: dict[Address, Function], told: ToldGroups) -> list[Gap]:
    gaps = list(found.gaps)
    unnamed = [address for address, function in functions.items() if not function.ids_told]
    if unnamed:
        gaps.append(Gap(f"ids of {_several(unnamed)}", f"{found.name}: {_NUMBERS}", "run lspci -nnvvv as root"))
    loose = [address for address, function in functions.items() if not function.parent_told]
    if loose:
        buses = sorted({(a.domain, a.bus) for a in loose})
        listed = ", ".join(f"{domain:04x}:{bus:02x}" for domain, bus in buses[:8]) + (", …" if len(buses) > 8 else "")
        why = f"{found.name} does not show the bridge above, or not its bus numbers"
        gaps.append(Gap(f"what stands above bus {listed}", why, "give the whole output of lspci -vvv"))
    if found.cut is not None:
        why = f"{found.name} ends in the middle of {found.cut}"
        gaps.append(
            Gap(f"the rest of {found.cut}, and what comes after it", why, "give the whole output of lspci -vvv")
        )
    if found.lost:
        why = f"{found.name}: paths without bus numbers, and no bus numbers of the bridges"
        gaps.append(Gap(f"{found.lost} functions", why, "use lspci -PP, or -vvv"))
    if found.undrawn:
        why = f"{found.name}: a tree of lspci -t whose blanks are gone or which lacks lines"
        gaps.append(Gap(f"{found.undrawn} functions", why, "paste it as code, where blanks stay as they are"))
    hidden = sorted(told.number.keys() - functions.keys())
    if hidden and functions:
        gaps.append(Gap(f"functions {_several(hidden)}", "the groups list them, the text does not show them"))
    gaps += [Gap(f"group of {a}", why) for a, why in sorted(told.doubted.items())]
    return gaps


def _unread_groups(found: _Found, listed: GroupList) -> list[Gap]:
    if not listed.empty:
        return []
    which = ", ".join(map(str, listed.empty[:8])) + (", …" if len(listed.empty) > 8 else "")
    why = f"{found.name} names them, and no function of them could be read: a form of list that is not known here?"
    return [Gap(f"members of IOMMU group {which}", why, "give find /sys/kernel/iommu_groups/ -type l")]


def _unsure(found: _Found, addresses: list[Address]) -> list[Gap]:
    if not addresses:
        return []
    why = f"{found.name}: the numbers before their lines may be of groups, and of lines"
    return [Gap(f"groups of {_several(addresses)}", why, "give find /sys/kernel/iommu_groups/ -type l")]


def _several(addresses: list[Address]) -> str:
    return ", ".join(map(str, addresses[:3])) + (f" and {len(addresses) - 3} more" if len(addresses) > 3 else "")
