"""A pasted text as a host: whatever of lspci output, group lists and boot log it holds, found by its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from atoll.errors import InputError, SeveralMachines
from atoll.host.command_line import values
from atoll.host.coverage import coverage
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.groups import BEHIND_XEN, LISTED_NONE, ONLY_ASKED, ONLY_DESCRIBED
from atoll.host.interrupt_remapping import BY_ENDPOINT, doubt_remapping
from atoll.host.model import Function, Group, Host, IommuUnit, KernelRelease, Platform
from atoll.host.records.excerpt import is_excerpt
from atoll.host.records.group_facts import ToldGroups, join
from atoll.host.records.group_lists.beside import driver_beside
from atoll.host.records.group_lists.group_list import GroupList
from atoll.host.records.lspci.block import Block
from atoll.host.records.lspci.block_text import habits
from atoll.host.records.lspci.blocks import blocks
from atoll.host.records.lspci.left_out import BOX_END
from atoll.host.records.lspci.machine_form import MachineForm
from atoll.host.records.lspci.tree import LspciTree
from atoll.host.records.pasted.arrange import arranged
from atoll.host.records.pasted.boot_log import BootLog, release_of
from atoll.host.records.pasted.complaints import Complaints
from atoll.host.records.pasted.device_paths import DevicePaths
from atoll.host.records.pasted.functions import TextFunctions
from atoll.host.records.pasted.gaps import text_gaps
from atoll.host.records.pasted.interrupts import Interrupts
from atoll.host.records.pasted.lines import text_lines
from atoll.host.records.pasted.printed import Printed
from atoll.host.records.pasted.several_machines import Marks, two_makers
from atoll.host.records.pasted.unread import UNKNOWN_LIST, instead
from atoll.host.records.platform import both_platforms, platform_by_bridges
from atoll.pci.address import Address

__all__ = ["read_text"]

T = TypeVar("T")

_HINT = "give the output of lspci -vvv (as root), a list of IOMMU groups or a boot log, and sys/ where you can"
_PART = "part it: what each machine shows in a file of its own, one of them at a time"
_IMAGE = "vmlinuz-"
_NO_RELEASE = "the text does not tell the kernel's release"
_NO_COMMAND_LINE = "the text does not show the kernel's command line"
_OF_XEN = ("pciback", "xen-pciback")
"""What the driver is called that holds devices for guests of Xen, in its first domain (``drivers/xen/xen-pciback``)."""
_NAMED = 4
_MOST_BLOCKS = 1 << 15
"""Functions told of, each time counted: lists of groups, trees and dumps of 10,000 functions may stand in one text."""


@dataclass(slots=True)
class _Lines:
    """A text's lines, each taken by what reads its kind."""

    name: str
    log: BootLog = field(default_factory=BootLog)
    printed: Printed = field(default_factory=Printed)
    listed: GroupList = field(default_factory=GroupList)
    tree: LspciTree = field(default_factory=LspciTree)
    paths: DevicePaths = field(default_factory=DevicePaths)
    complaints: Complaints = field(default_factory=Complaints)
    marks: Marks = field(default_factory=Marks)
    interrupts: Interrupts = field(default_factory=Interrupts)
    unsure: Sequence[Address] = ()
    """Functions before whose lines a number stands that may be a group's or a line's."""

    def blocks(self, data: bytes, *, path: str) -> list[Block]:
        """Take all lines, and return what is left of them as blocks of lspci. Raises InputError."""
        machine = MachineForm()
        numbered: list[tuple[int, str]] = []
        number = 0
        for number, line in enumerate(text_lines(data, name=path, ends=True), 1):
            if line == BOX_END:
                numbered.append((number, line))
                continue
            self.paths.take(line)
            self.marks.take(line)
            if not (
                self.tree.take(line, number)
                or self.log.take(line)
                or self.printed.take(line)
                or self.interrupts.take(line)
            ):
                for plain in machine.take(line):
                    told, driver = driver_beside(self.listed.take(plain))
                    numbered.append((number, told))
                    if driver:
                        numbered.append((number, f"\tKernel driver in use: {driver}"))
            self.complaints.look(line, boots=self.log.boots)
        numbered += [(number, self.listed.take(plain)) for plain in machine.end()]
        self.unsure = self.listed.end()
        found = list(islice(blocks(numbered), _MOST_BLOCKS + 1))
        if len(found) > _MOST_BLOCKS:
            why = f"tells of functions more than {_MOST_BLOCKS} times, which no machine's record does"
            raise InputError(f"{path}: {why}", hint="cut it, or name the records of one machine alone")
        return found

    @property
    def others(self) -> tuple[str, ...]:
        """Devices of other buses that stand in groups."""
        return tuple(dict.fromkeys((*self.listed.others, *self.log.others)))


def read_text(data: bytes, *, name: str) -> Host:
    """Return the host that a pasted text shows. Raises InputError where it shows none."""
    path, name = name, name.rstrip("/").rpartition("/")[2] or name
    lines, found = _Lines(name), TextFunctions(name)
    pages = lines.blocks(data, path=path)
    custom = habits(pages)
    for block in pages:
        found.add(block, custom)
    several = lines.marks.why or found.several or two_makers(found.functions)
    if several:
        raise SeveralMachines(f"{path}: it is of two machines: {several}", hint=_PART)
    found.add_drawn(lines.tree)
    found.add_logged(lines.log)
    listed, log = lines.listed, lines.log
    found.add_placed(lines.paths, log, sorted({*listed.told.members, *log.members}))
    found.add_above(lines.paths, log)
    some = listed.told.members or listed.told.empty or log.members or found.group or lines.others
    unfound = listed.unfound and not some
    told = found.functions or listed.told.members or log.members or log.release or lines.others or log.refused
    if not (told or unfound or log.iommu.tells or lines.complaints.all()):
        what, hint = instead(data) or ("no folder, archive or text that tells of PCI functions or groups", _HINT)
        if not (listed.asked and what == UNKNOWN_LIST):
            raise InputError(f"{path}: {what}", hint=hint)
    return _host(path, lines, found, unfound=unfound)


def _host(path: str, lines: _Lines, found: TextFunctions, *, unfound: bool) -> Host:
    """Put together what was found; ``unfound``: what lists groups ran, and found none."""
    name, log, listed = lines.name, lines.log, lines.listed
    grouped = listed.told.members.keys() | log.members.keys()
    excerpt = listed.left_out or found.lost > 0 or is_excerpt(found.functions, grouped)
    functions = arranged(
        found,
        above={**lines.paths.above, **found.above},
        roots=lines.tree.roots | log.roots | lines.paths.roots,
        excerpt=excerpt,
    )
    told = _groups(found, functions, listed, log)
    groups, member = _membership(functions, told, lines, unfound=unfound)
    functions = {address: replace(function, group=member[address]) for address, function in functions.items()}
    command_line = _command_line(log, lines.printed, name)
    units = tuple(IommuUnit(unit, kind) for unit, kind in sorted(log.iommu.in_use(grouped=bool(told.number)).items()))
    platform = _platform(log, lines.printed, functions)
    remapping = _remapping(log.iommu.remapping, lines.interrupts, name)
    if platform is Platform.POWERNV:
        remapping = Known(value=True, source=BY_ENDPOINT)
    elif isinstance(remapping, Known):
        remapping = doubt_remapping(remapping, command_line, units)
    unsure = [address for address in lines.unsure if address not in told.number]
    gaps = text_gaps(found, functions, told, empty=listed.told.empty, unnumbered=listed.unnumbered, unsure=unsure)
    return Host(
        name=name,
        functions=functions,
        groups=groups,
        platform=platform,
        kernel=_release(log, lines.printed, command_line, name),
        command_line=command_line,
        overrides_acs=_logged(log.overrides_acs, name),
        iommu_units=units,
        interrupt_remapping=remapping,
        passthrough=_logged(log.iommu.passthrough, name),
        holders=Unknown("a text does not show who holds devices open"),
        refused=frozenset(log.refused),
        firmware_maps={a: tuple(sorted(log.iommu.mapped[a])) for a in sorted(log.iommu.mapped)},
        complaints=lines.complaints.all(),
        excerpt=excerpt,
        gaps=(*gaps, *coverage(functions, groups)),
        provenance=(path,),
    )


def _known(value: T | None, source: str, reason: str) -> Fact[T]:
    return Unknown(reason) if value is None else Known(value, source)


def _logged(value: T | None, name: str) -> Fact[T]:
    return _known(value, f"{name}: boot log", "no boot log in the text tells it")


def _remapping(logged: bool | None, interrupts: Interrupts, name: str) -> Fact[bool]:
    """Return whether interrupts are remapped, by the boot log or by /proc/interrupts: they may be of two boots."""
    if interrupts.contradict:
        return Unknown(f"{name}: two listings of /proc/interrupts disagree: they are of two boots or machines")
    listed = interrupts.remapped
    if listed is None or logged == listed:
        return _logged(logged, name)
    if logged is None:
        return Known(listed, f"{name}: /proc/interrupts")
    return Unknown(f"{name}: the boot log and /proc/interrupts disagree: they are of two boots")


def _groups(found: TextFunctions, functions: dict[Address, Function], listed: GroupList, log: BootLog) -> ToldGroups:
    none = frozenset(a for a, f in functions.items() if isinstance(f.group, Known) and f.group.value is None)
    listed.settle({**log.members, **found.group})
    doubted = {
        address: f"group of {address}: {found.name} lists it in group {one} and in group {other}"
        for address, (one, other) in listed.told.conflicts.items()
    }
    number = {address: group for address, group in listed.told.members.items() if address not in doubted}
    told = ToldGroups(f"{found.name}: list of groups", number, frozenset(listed.told.none - number.keys()), doubted)
    doubted = {
        address: f"group of {address}: {found.name} shows it in group {one} and in group {other}"
        for address, (one, other) in found.regrouped.items()
    }
    number = {address: group for address, group in found.group.items() if address not in doubted}
    told = join(ToldGroups(f"{found.name}: lspci", number, none - doubted.keys(), doubted), told)
    return join(told, ToldGroups(f"{found.name}: boot log", log.members))


def _no_groups(log: BootLog, others: Sequence[str], *, asked: bool, unnumbered: bool, xen: bool) -> str:
    if xen:
        return BEHIND_XEN
    if unnumbered:
        return "the text lists who shares a group, and not the group's number"
    if others:
        some = ", ".join(others[:_NAMED]) + (", …" if len(others) > _NAMED else "")
        told = f"it names IOMMU groups of platform devices ({some}), and none of a PCI function"
        return f"{told}: if it is whole, they are in none"
    if asked:
        return LISTED_NONE
    if log.iommu.table and not log.iommu.units:
        return f"{ONLY_DESCRIBED} ({log.iommu.table})"
    if log.iommu.only_asked:
        return f"the text shows no IOMMU groups; {ONLY_ASKED}"
    if log.release is not None:
        return "the text lists no IOMMU groups, and its boot log shows no device added to one"
    return "the text shows no IOMMU groups"


def _membership(
    functions: Mapping[Address, Function], told: ToldGroups, lines: _Lines, *, unfound: bool
) -> tuple[Fact[Mapping[int, Group]], Mapping[Address, Fact[int | None]]]:
    """Return the groups, and the group of each function."""
    xen = lines.log.xen or any(value_of(function.driver, None) in _OF_XEN for function in functions.values())
    if unfound and not xen:
        source = f"{lines.name}: the loop over /sys/kernel/iommu_groups found none"
        return Known({}, source), dict.fromkeys(functions, Known(None, source))
    listed = lines.listed
    why = _no_groups(lines.log, lines.others, asked=listed.asked, unnumbered=bool(listed.unnumbered), xen=xen)
    if told.doubted and not told.number:
        why = "what the text tells of groups contradicts itself"
    is_told = told.number or told.none or told.doubted
    member = {address: told.of(address) if is_told else Unknown(why) for address in functions}
    return _with_types(told.fact(reason=why), lines), member


def _with_types(groups: Fact[Mapping[int, Group]], lines: _Lines) -> Fact[Mapping[int, Group]]:
    """The groups with their types as printed; a boot log tells what they are by default."""
    if isinstance(groups, Unknown):
        return groups
    told: dict[int, Group] = {}
    for number, group in groups.value.items():
        kind: Fact[str] = group.type
        if number in lines.printed.types:
            kind = Known(lines.printed.types[number], f"{lines.name}: iommu_groups/{number}/type")
        elif (logged := lines.log.iommu.type_of(group.members)) is not None:
            kind = Known(logged, f"{lines.name}: boot log")
        elif lines.log.iommu.default_domain is not None:
            kind = Unknown(f"the boot log tells the default only: {lines.log.iommu.default_domain}")
        told[number] = replace(group, type=kind)
    return Known(told, groups.source)


def _release(log: BootLog, printed: Printed, command_line: Fact[str], name: str) -> Fact[KernelRelease]:
    booted = _booted(value_of(command_line, ""))
    if booted is not None and log.release is None and printed.release is None:
        return Known(booted, f"{name}: BOOT_IMAGE on the command line")
    told = _agreed(log.release, printed.release, name, "uname", _NO_RELEASE)
    release = release_of(told.value) if isinstance(told, Known) else None
    if isinstance(told, Known) and release is not None:
        return Known(release, told.source)
    return told if isinstance(told, Unknown) else Unknown(_NO_RELEASE)


def _booted(command_line: str) -> KernelRelease | None:
    """Return the release in the name of the file that GRUB booted: ``BOOT_IMAGE=/boot/vmlinuz-6.8.0-45-generic``.

    ``installkernel`` and distributions' packages name it so.
    """
    names = [image.rpartition("/")[2] for image in values(command_line, "BOOT_IMAGE")]
    return release_of(names[-1].removeprefix(_IMAGE)) if names and names[-1].startswith(_IMAGE) else None


def _platform(log: BootLog, printed: Printed, functions: Mapping[Address, Function]) -> Platform:
    """Return the platform; unknown where lines of a text tell of several: of two machines, or of one and a question."""
    found = Platform.UNKNOWN
    for told in (*log.platforms, printed.platform or Platform.UNKNOWN, platform_by_bridges(functions)):
        both = both_platforms(found, told)
        if both is None:
            return Platform.UNKNOWN
        found = both
    return found


def _command_line(log: BootLog, printed: Printed, name: str) -> Fact[str]:
    return _agreed(log.command_line, printed.command_line, name, "/proc/cmdline", _NO_COMMAND_LINE)


def _agreed(logged: str | None, printed: str | None, name: str, what: str, reason: str) -> Fact[str]:
    """Return what the boot log tells, or what a program printed; both may stand in one text and be of two boots."""
    if logged is None or printed is None:
        if logged is None:
            return _known(printed, f"{name}: {what}", reason)
        return Known(logged, f"{name}: boot log")
    if logged.split() == printed.split():
        return Known(logged, f"{name}: boot log")
    return Unknown(f"{name}: the boot log and {what} disagree: they are of two boots")
