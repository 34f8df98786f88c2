"""What two records of one machine tell of one function."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from atoll.host.fact import Fact, Known, value_of
from atoll.host.model import UNTOLD_CLASS, Function
from atoll.host.records.merge.disagreement import DISAGREE, Disagreements, agreed
from atoll.host.records.multifunction import ASSUMED
from atoll.pci.address import Address

__all__ = ["BY_NAME", "merge_function"]

BY_NAME = "another device by name"
"""What is said of a device of which a record shows the name only, where another shows ids that it cannot have."""

_FACTS = (
    *(
        "header",
        "port_type",
        "command",
        "acs",
        "ats",
        "pasid",
        "cxl_cache",
        "multicast",
        "sriov",
        "flr",
        "pending",
        "port_number",
        "link",
        "slot",
    ),
    "power_control",
    *("power_state", "bridge", "bars", "rom", "revision", "subsystem", "driver", "driver_override", "reset_methods"),
    *("numa_node", "iommu", "serial", "ari", "chipset_acs"),
)


def merge_function(one: Function, other: Function, *, doubts: Disagreements | None = None) -> Function:
    """Return what two records tell of one function."""
    doubts = doubts or Disagreements()
    changes: dict[str, Any] = {
        name: agreed(f"{name.replace('_', ' ')} of {one.address}", getattr(one, name), getattr(other, name), doubts)
        for name in _FACTS
    }
    changes["multifunction"] = _multifunction(one, other, doubts)
    changes |= _identity(one, other, doubts)
    changes |= _place(one, other, doubts)
    changes["virtual_functions"] = tuple(sorted({*one.virtual_functions, *other.virtual_functions}))
    changes["device_tree_path"] = one.device_tree_path or other.device_tree_path
    return replace(one, **changes)


def _multifunction(one: Function, other: Function, doubts: Disagreements) -> Fact[bool]:
    """What a text assumes from the slot gives way to what another record read."""
    here, there = one.multifunction, other.multifunction
    for assumed, read in ((here, there), (there, here)):
        if isinstance(assumed, Known) and assumed.source in ASSUMED and isinstance(read, Known):
            if read.source in ASSUMED:
                return here if value_of(here, False) else there
            return read
    return agreed(f"multifunction bit of {one.address}", here, there, doubts)


def _identity(one: Function, other: Function, doubts: Disagreements) -> dict[str, Any]:
    """Ids and class: told by either, or what both leave possible."""
    changes: dict[str, Any] = {"class_code": _class(one, other, doubts)}
    common = tuple(dict.fromkeys(pair for a in one.all_ids for b in other.all_ids if (pair := _meet(a, b)) is not None))
    called = one.label or other.label
    label = next((label for label in (one.label, other.label) if label.startswith(DISAGREE)), called)
    if not common:
        here, there = Known(_ids(one), doubts.one), Known(_ids(other), doubts.other)
        label = doubts.add(f"ids of {one.address}", here, there).reason
    if not common or label.startswith(DISAGREE):
        common = tuple(dict.fromkeys((*one.all_ids, *other.all_ids)))
    if len(common) == 1 and None not in common[0]:
        changes |= {"vendor": common[0][0], "device": common[0][1], "possible_ids": (), "label": called}
    else:
        changes |= {"vendor": 0xFFFF, "device": 0xFFFF, "possible_ids": common, "label": label}
    return changes


def _class(one: Function, other: Function, doubts: Disagreements) -> int:
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
    return f"{function.vendor:04x}:{function.device:04x}" if function.ids_told else BY_NAME


def _meet(a: tuple[int | None, int | None], b: tuple[int | None, int | None]) -> tuple[int | None, int | None] | None:
    found = []
    for one, other in zip(a, b, strict=True):
        if one is not None and other is not None and one != other:
            return None
        found.append(one if one is not None else other)
    return found[0], found[1]


def _place(one: Function, other: Function, doubts: Disagreements) -> dict[str, Any]:
    """Parent and root bus: what one record does not show, the other may."""
    first = one if one.parent_told or not other.parent_told else other
    parent, told = first.parent, first.parent_told
    what = f"bridge above {one.address}"
    if what in doubts.earlier:
        parent, told = None, False
    elif one.parent_told and other.parent_told and one.parent != other.parent:
        doubts.add(what, Known(one.parent, doubts.one), Known(other.parent, doubts.other))
        parent, told = None, False
    physical, perhaps = _physical(one, other, doubts)
    return {
        "parent": parent,
        "parent_told": told,
        "host_bridge": first.host_bridge,
        "behind": first.behind or one.behind or other.behind,
        "physical_function": physical,
        "perhaps_virtual": perhaps,
    }


def _physical(one: Function, other: Function, doubts: Disagreements) -> tuple[Address | None, bool]:
    """Of which physical function it is a virtual one, and whether it may be one of any."""
    what = f"physical function of {one.address}"
    owners = one.physical_function, other.physical_function
    if what in doubts.earlier:
        return None, True
    if None not in owners and owners[0] != owners[1]:
        doubts.add(what, Known(owners[0], doubts.one), Known(owners[1], doubts.other))
        return None, True
    physical = owners[0] or owners[1]
    return physical, physical is None and (one.perhaps_virtual or other.perhaps_virtual)
