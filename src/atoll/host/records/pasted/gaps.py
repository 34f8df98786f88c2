"""What a pasted text does not show: ids, what stands above, where it ends, groups that could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atoll.host.gap import Gap, GapKind
from atoll.host.model import Function
from atoll.host.records.group_facts import ToldGroups
from atoll.host.records.pasted.functions import TextFunctions
from atoll.pci.address import Address

__all__ = ["text_gaps"]

_NUMBERS = "lspci prints names only: add -nn"
_PLACED = "it shows where they stand, and neither ids nor names"


def text_gaps(
    found: TextFunctions,
    functions: Mapping[Address, Function],
    told: ToldGroups,
    *,
    empty: Sequence[int],
    unnumbered: Sequence[Address],
    unsure: Sequence[Address],
) -> tuple[Gap, ...]:
    """Return what a text does not show.

    ``empty``: groups whose members could not be read. ``unnumbered``: functions, one of each group, of groups that the
    text lists without their number. ``unsure``: functions before whose lines a number stands that may
    be a group's or a line's.
    """
    return (
        *_of_functions(found, functions, told),
        *_unread_groups(found, told, empty),
        *_unnumbered(found, unnumbered),
        *_unsure(found, unsure),
    )


def _of_functions(found: TextFunctions, functions: Mapping[Address, Function], told: ToldGroups) -> list[Gap]:
    gaps = []
    unnamed = [address for address, function in functions.items() if not function.ids_told]
    placed = [address for address in unnamed if functions[address].possible_ids == ((None, None),)]
    for these, why in ((sorted(set(unnamed) - set(placed)), _NUMBERS), (placed, _PLACED)):
        if these:
            what, why = f"ids of {_several(these)}", f"{found.name}: {why}"
            gaps.append(Gap(what, why, "run lspci -nnvvv as root", GapKind.IDS, tuple(these)))
    loose = [address for address, function in functions.items() if not function.parent_told]
    if loose:
        buses = sorted({(a.domain, a.bus) for a in loose})
        listed = ", ".join(f"{domain:04x}:{bus:02x}" for domain, bus in buses[:8]) + (", …" if len(buses) > 8 else "")
        why = f"{found.name} does not show the bridge above, or not its bus numbers"
        hint = "give the whole output of lspci -vvv"
        gaps.append(Gap(f"what stands above bus {listed}", why, hint, GapKind.ABOVE, tuple(loose)))
    for cut in sorted(found.cut):
        why = f"{found.name}, or an output in it, ends in the middle of {cut}"
        gaps.append(Gap(f"the rest of {cut}, and what comes after it", why, "give the whole output of lspci -vvv"))
    if found.lost:
        why = f"{found.name}: paths without bus numbers, and no bus numbers of the bridges"
        gaps.append(Gap(_count(found.lost), why, "use lspci -PP, or lspci without -P"))
    if found.undrawn:
        why = f"{found.name}: a tree of lspci -t whose blanks are gone or which lacks lines"
        gaps.append(Gap(_count(found.undrawn), why, "paste it as code, where blanks stay as they are"))
    hidden = sorted(told.number.keys() - functions.keys())
    if hidden and functions:
        why = "the groups list them, the text does not show them"
        gaps.append(Gap(f"functions {_several(hidden)}", why, kind=GapKind.FUNCTION, of=tuple(hidden)))
    for address, why in sorted(told.doubted.items()):
        gaps.append(Gap(f"group of {address}", why, kind=GapKind.GROUP, of=(address,)))
    return gaps


def _unread_groups(found: TextFunctions, told: ToldGroups, empty: Sequence[int]) -> list[Gap]:
    if not empty:
        return []
    which = ", ".join(map(str, empty[:8])) + (", …" if len(empty) > 8 else "")
    why = (
        f"{found.name} names them, and not every function of them could be read: a form of list that is not known here?"
    )
    read = tuple(address for address, number in told.number.items() if number in empty)
    return [
        Gap(
            f"members of IOMMU group {which}", why, "give find /sys/kernel/iommu_groups/ -type l", GapKind.MEMBERS, read
        )
    ]


def _unnumbered(found: TextFunctions, addresses: Sequence[Address]) -> list[Gap]:
    if not addresses:
        return []
    why = f"{found.name} lists the folder iommu_group/devices, which does not tell the group's number"
    return [Gap(f"groups of {_several(addresses)} and others", why, "give find /sys/kernel/iommu_groups/ -type l")]


def _unsure(found: TextFunctions, addresses: Sequence[Address]) -> list[Gap]:
    if not addresses:
        return []
    why = f"{found.name}: the numbers before their lines may be of groups, and of lines"
    return [Gap(f"groups of {_several(addresses)}", why, "give find /sys/kernel/iommu_groups/ -type l")]


def _count(number: int) -> str:
    return "1 function" if number == 1 else f"{number} functions"


def _several(addresses: Sequence[Address]) -> str:
    return ", ".join(map(str, addresses[:3])) + (f" and {len(addresses) - 3} more" if len(addresses) > 3 else "")
