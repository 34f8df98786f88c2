"""Whether a kernel obeys ``pcie_acs_override=``: only one with an out-of-tree patch does, and its groups show it."""

from __future__ import annotations

from atoll.host.fact import Known, value_of
from atoll.host.model import Host, Platform
from atoll.isolation.groups.linux import predict_linux
from atoll.isolation.groups.override import AcsOverride, acs_override
from atoll.isolation.groups.prediction import Prediction
from atoll.isolation.groups.served import behind_iommu
from atoll.pci.address import Address

__all__ = ["ignores_override", "obeys_untold_override", "override_in_force", "perhaps_overridden"]

_OVERRIDES = {
    "downstream": AcsOverride(downstream=True),
    "multifunction": AcsOverride(multifunction=True),
    "downstream,multifunction": AcsOverride(downstream=True, multifunction=True),
}


def override_in_force(host: Host) -> AcsOverride:
    """Return what ``pcie_acs_override=`` does on this host: nothing where the groups show that the patch is not there.

    Recorded groups tell whether it is where they are exactly what a kernel with it, or one without, would form.
    """
    asked = acs_override(value_of(host.command_line, ""))
    if not asked:
        return asked
    if value_of(host.overrides_acs, False):
        return asked._replace(obeyed=True)
    claimed = {frozenset(group.members) for group in value_of(host.groups, {}).values() if group.members}
    if not claimed:
        return asked
    obeyed, ignored = (set(_group_of(host, override).values()) for override in (asked, AcsOverride()))
    if obeyed == ignored or claimed not in (obeyed, ignored):
        return asked
    return asked._replace(obeyed=True) if claimed == obeyed else AcsOverride()


def ignores_override(host: Host) -> bool:
    """Whether ``pcie_acs_override=`` is on the command line of a kernel whose groups show that it does not obey it."""
    return bool(acs_override(value_of(host.command_line, ""))) and not override_in_force(host)


def obeys_untold_override(host: Host) -> bool:
    """Whether the kernel says that it obeys ``pcie_acs_override=``, and the record does not show what it is told."""
    return value_of(host.overrides_acs, False) and not acs_override(value_of(host.command_line, ""))


def perhaps_overridden(host: Host, prediction: Prediction) -> dict[Address, str]:
    """Return the functions whose recorded groups only the parameter explains, where the command line is not shown.

    All of those that are grouped otherwise than predicted have to be as one of its values would have it.
    """
    if isinstance(host.command_line, Known) or host.platform is Platform.POWERNV:
        return {}
    here = {a: frozenset(g.members) for g in value_of(host.groups, {}).values() for a in g.members}
    there = _by_member(prediction)
    undetermined = dict(prediction.undetermined)
    apart = [a for a in here if a in there and here[a] != there[a] and a not in undetermined]
    if not apart:
        return {}
    for words, override in _OVERRIDES.items():
        with_it = _group_of(host, override)
        if all(with_it[a] == here[a] or a in undetermined for a in here if a in with_it):
            what = f"whether pcie_acs_override={words} is on the command line, which is not shown"
            return {a: f"{a}: {what}" for a in apart}
    if value_of(host.overrides_acs, False):
        return {a: f"{a}: whether pcie_acs_override= names it, on the command line, which is not shown" for a in apart}
    return {}


def _group_of(host: Host, override: AcsOverride) -> dict[Address, frozenset[Address]]:
    """The group of each function as a kernel that obeys ``override`` forms it."""
    served, _ = behind_iommu(host)
    return _by_member(predict_linux(host, served, acs_control={}, override=override))


def _by_member(prediction: Prediction) -> dict[Address, frozenset[Address]]:
    return {address: members for group in prediction.groups for members in (frozenset(group),) for address in group}
