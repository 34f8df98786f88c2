"""Which rules form this host's groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from atoll.host.fact import Known, value_of
from atoll.host.model import Host, Platform
from atoll.isolation.groups.discovery import (
    behind_iommu,
    by_unknown_rule,
    grouped_by_vfio,
    grouped_with_driver,
    without_own_driver,
)
from atoll.isolation.groups.linux import predict_linux
from atoll.isolation.groups.override import AcsOverride, acs_override
from atoll.isolation.groups.powernv import predict_powernv
from atoll.isolation.groups.prediction import Prediction
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["ignores_override", "override_in_force", "predict"]


_OVERRIDES = {
    "downstream": AcsOverride(downstream=True),
    "multifunction": AcsOverride(multifunction=True),
    "downstream,multifunction": AcsOverride(downstream=True, multifunction=True),
}


def predict(
    host: Host, *, acs_control: Mapping[Address, AcsFlag] | None = None, anew: frozenset[Address] | None = None
) -> Prediction:
    """Return the IOMMU groups that the host's kernel forms for its PCI functions.

    ``acs_control`` gives control words that stand in place of those recorded, to predict what removing and
    rescanning the functions below would lead to after a plan. PowerNV ignores ACS. With ``anew`` only these
    functions are found again, all others stay in the groups that are recorded. Where a kernel gives a group only to
    functions that a driver binds to, what rests on a driver that may not come is undetermined.
    """
    served, guessed = behind_iommu(host)
    late = anew is not None and host.platform is not Platform.POWERNV and grouped_with_driver(host)
    if anew is not None and late:
        # The kernel has found all of them by the time that a driver binds to the first.
        guessed |= _waiting(host, anew, without_own_driver(host, anew))
    if host.platform is Platform.POWERNV:
        prediction = predict_powernv(host, served)
    elif host.iommu_units and all(unit.name.startswith("s390-iommu") for unit in host.iommu_units):
        # generic_device_group (drivers/iommu/s390-iommu.c): a group each.
        prediction = Prediction(tuple((address,) for address in sorted(served)))
    else:
        if by_unknown_rule(host):
            guessed |= dict.fromkeys(served, "by which rule this platform's kernel forms groups is not known")
        prediction = predict_linux(
            host,
            served,
            acs_control=acs_control or {},
            override=_in_force(host, served),
            kept=_kept(host, anew),
            anew=frozenset() if late or anew is None else anew,
        )
    alone = [(address,) for address in grouped_by_vfio(host)]
    prediction = replace(prediction, groups=tuple(sorted((*prediction.groups, *alone)))) if alone else prediction
    missing = dict(prediction.undetermined)
    if acs_control is None and anew is None:
        missing |= _perhaps_overridden(host, served, prediction)
    missing |= _listed_only(host)
    if not missing and not guessed:
        return prediction
    for address in prediction.index():
        if address in guessed:
            missing[address] = "; ".join(filter(None, (guessed[address], missing.get(address))))
    if acs_control is None and anew is None:
        missing |= _by_company(host, prediction, missing)
    company = dict(prediction.company)
    for group in prediction.groups:
        for address in sorted(guessed.keys() & set(group)):
            company |= dict.fromkeys(group, f"whether {address} is in its group: {guessed[address]}")
    company = {address: why for address, why in sorted(company.items()) if address not in missing}
    return replace(prediction, undetermined=tuple(sorted(missing.items())), company=company)


def override_in_force(host: Host) -> AcsOverride:
    """Return what ``pcie_acs_override=`` does on this host: nothing where the groups show that the patch is not there.

    Only a kernel with an out-of-tree patch obeys it. Recorded groups tell which it is where they are exactly what one
    of the two would form.
    """
    return _in_force(host, behind_iommu(host)[0])


def ignores_override(host: Host) -> bool:
    """Whether ``pcie_acs_override=`` is on the command line of a kernel whose groups show that it does not obey it."""
    return bool(acs_override(value_of(host.command_line, ""))) and not override_in_force(host)


def _in_force(host: Host, served: frozenset[Address]) -> AcsOverride:
    asked = acs_override(value_of(host.command_line, ""))
    claimed = {frozenset(group.members) for group in value_of(host.groups, {}).values() if group.members}
    if not asked or not claimed:
        return asked
    obeyed, ignored = (
        {frozenset(group) for group in predict_linux(host, served, acs_control={}, override=override).groups}
        for override in (asked, AcsOverride())
    )
    if obeyed == ignored or claimed not in (obeyed, ignored):
        return asked
    return replace(asked, obeyed=True) if claimed == obeyed else AcsOverride()


def _perhaps_overridden(host: Host, served: frozenset[Address], prediction: Prediction) -> dict[Address, str]:
    """Functions that are grouped otherwise than recorded, where all of them are as ``pcie_acs_override=`` would have it
    and the record does not show the command line."""
    if isinstance(host.command_line, Known) or host.platform is Platform.POWERNV:
        return {}
    here = {a: frozenset(g.members) for g in value_of(host.groups, {}).values() for a in g.members}
    there = {address: frozenset(group) for group in prediction.groups for address in group}
    open_ = dict(prediction.undetermined)
    apart = [a for a in here if a in there and here[a] != there[a] and a not in open_]
    if not apart:
        return {}
    for words, override in _OVERRIDES.items():
        formed = predict_linux(host, served, acs_control={}, override=override)
        with_it = {address: frozenset(group) for group in formed.groups for address in group}
        if all(with_it[a] == here[a] or a in open_ for a in here if a in with_it):
            open_question = f"whether pcie_acs_override={words} is on the command line, which is not shown"
            return {a: f"{a}: {open_question}" for a in apart}
    return {}


def _by_company(host: Host, prediction: Prediction, missing: Mapping[Address, str]) -> dict[Address, str]:
    """Functions that are grouped otherwise than recorded only by others being in their group, of which that is open."""
    there = {address: frozenset(group) for group in prediction.groups for address in group}
    found: dict[Address, str] = {}
    for group in value_of(host.groups, {}).values():
        here = frozenset(group.members)
        for address in group.members:
            apart = here ^ there.get(address, frozenset((address,)))
            if address not in missing and apart and all(other in missing for other in apart):
                other = min(apart)
                found[address] = f"whether {other} is in its group: {missing[other]}"
    return found


def _waiting(host: Host, anew: frozenset[Address], driverless: frozenset[Address]) -> dict[Address, str]:
    """Of the functions that are found again, those whose groups rest on whether a driver binds: to them, to a port
    above that is found again too, or to another function of their slot.
    """
    found: dict[Address, str] = {}
    for address in anew:
        rests: set[Address] = set()
        at = host.functions.get(address)
        while at is not None and at.address in anew:
            rests |= {other for other in driverless if other[:3] == at.address[:3]}
            at = host.functions.get(at.parent) if at.parent is not None else None
        if rests:
            found[address] = f"whether a driver binds to {min(rests)}: this kernel groups a function only then"
    return found


def _kept(host: Host, anew: frozenset[Address] | None) -> dict[Address, int]:
    """The recorded groups of functions that are not found again."""
    if anew is None:
        return {}
    groups = value_of(host.groups, {})
    return {
        address: group.number
        for group in groups.values()
        if not group.made_up
        for address in group.members
        if address in host.functions and address not in anew
    }


def _listed_only(host: Host) -> dict[Address, str]:
    """Functions of which a record shows their group and nothing else: there is nothing to predict from."""
    return {
        address: "the record shows nothing of it but its group"
        for group in value_of(host.groups, {}).values()
        for address in group.members
        if address not in host.functions
    }
