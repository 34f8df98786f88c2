"""Which groups a host's kernel forms, and what the prediction rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from atoll.fabric.default_domain import grouped_with_driver
from atoll.host.fact import value_of
from atoll.host.groups import listed_only
from atoll.host.model import Host
from atoll.isolation.groups.binding_order import perhaps_bound_first
from atoll.isolation.groups.firmware_ids import perhaps_joined
from atoll.isolation.groups.found_late import perhaps_found_late
from atoll.isolation.groups.linux import predict_linux
from atoll.isolation.groups.override_evidence import override_in_force, perhaps_overridden
from atoll.isolation.groups.prediction import Prediction
from atoll.isolation.groups.rediscovery import kept_groups, waiting_for_drivers
from atoll.isolation.groups.reworked import perhaps_reworked
from atoll.isolation.groups.rule import GroupRule, rule_of
from atoll.isolation.groups.served import behind_iommu, grouped_by_vfio
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["predict"]


def predict(
    host: Host, *, acs_control: Mapping[Address, AcsFlag] | None = None, anew: frozenset[Address] | None = None
) -> Prediction:
    """Return the IOMMU groups that the host's kernel forms for its PCI functions.

    ``acs_control`` gives control words that stand in place of those recorded, to predict what removing and
    rescanning the functions below would lead to after a plan. PowerNV ignores ACS. With ``anew`` only these
    functions are found again, all others stay in the groups that are recorded. Where a kernel gives a group only to
    functions that a driver binds to, what rests on a driver that may not come is undetermined.
    """
    rule = rule_of(host)
    served, guessed = behind_iommu(host)
    if rule is GroupRule.UNKNOWN:
        guessed = dict.fromkeys(served, "by which rule this platform's kernel forms groups is not known")
    elif anew is not None and rule is not GroupRule.POWERNV and grouped_with_driver(host):
        guessed |= waiting_for_drivers(host, anew)
    prediction = _formed(host, rule, served, acs_control or {}, anew)
    missing = dict(prediction.undetermined)
    missing |= dict.fromkeys(listed_only(host), "the record shows nothing of it but its group")
    as_recorded = acs_control is None and anew is None
    if as_recorded:
        explained = [perhaps_joined(host, prediction), perhaps_reworked(host, prediction)]
        explained.append(perhaps_overridden(host, prediction))
        if rule is GroupRule.PCI:
            explained.append(perhaps_bound_first(host, prediction, served))
            explained.append(perhaps_found_late(host, prediction, served))
        for found in explained:
            for address, why in found.items():
                missing[address] = "; ".join(filter(None, (missing.get(address), why)))
    if not missing and not guessed:
        return prediction
    for address in prediction.index():
        if address in guessed:
            missing[address] = "; ".join(filter(None, (guessed[address], missing.get(address))))
    if as_recorded:
        missing |= _by_company(host, prediction, missing)
    company = {**prediction.company, **_beside_guessed(prediction, guessed)}
    company = {address: why for address, why in sorted(company.items()) if address not in missing}
    return replace(prediction, undetermined=tuple(sorted(missing.items())), company=company)


def _formed(
    host: Host,
    rule: GroupRule,
    served: frozenset[Address],
    acs_control: Mapping[Address, AcsFlag],
    anew: frozenset[Address] | None,
) -> Prediction:
    """The groups by one rule, and those that VFIO makes up where there is no IOMMU."""
    if rule is GroupRule.POWERNV:
        from atoll.isolation.groups.powernv import predict_powernv

        formed = predict_powernv(host, served)
    elif rule is GroupRule.EACH_ALONE:
        formed = Prediction(tuple((address,) for address in sorted(served)))
    else:
        formed = predict_linux(
            host,
            served,
            acs_control=acs_control,
            override=override_in_force(host),
            kept={} if anew is None else kept_groups(host, anew),
            anew=frozenset() if anew is None or grouped_with_driver(host) else anew,
        )
    alone = [(address,) for address in grouped_by_vfio(host)]
    return replace(formed, groups=tuple(sorted((*formed.groups, *alone)))) if alone else formed


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


def _beside_guessed(prediction: Prediction, guessed: Mapping[Address, str]) -> dict[Address, str]:
    """Members of groups with functions of which it is a guess that an IOMMU serves them."""
    found: dict[Address, str] = {}
    for group in prediction.groups:
        for address in sorted(guessed.keys() & set(group)):
            found |= dict.fromkeys(group, f"whether {address} is in its group: {guessed[address]}")
    return found
