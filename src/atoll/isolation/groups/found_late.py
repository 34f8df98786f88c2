"""Groups of functions that were found once the IOMMU was there: by hot-plug, or a rescan.

The kernel then groups each as it adds it, and takes one but function 0 at its header's word: that it is of a
multifunction device a scan says only afterwards (``pci_scan_slot``). Where the header does not say so it founds a group
of its own, which at boot, where all are found before they are grouped, it would share with its slot: seen on Linux 6.1,
6.12 and 7.3 in QEMU, which leaves the header's bit to function 0.
"""

from __future__ import annotations

from atoll.fabric.default_domain import grouped_with_driver
from atoll.host.fact import value_of
from atoll.host.model import Function, Host
from atoll.isolation.groups.comparison import compare
from atoll.isolation.groups.linux import predict_linux
from atoll.isolation.groups.override_evidence import override_in_force
from atoll.isolation.groups.prediction import Prediction
from atoll.isolation.groups.rediscovery import kept_groups
from atoll.pci.address import Address

__all__ = ["perhaps_found_late"]


def perhaps_found_late(host: Host, prediction: Prediction, served: frozenset[Address]) -> dict[Address, str]:
    """Return the functions that are grouped otherwise than predicted, and as found late, with the reason.

    When a function was found no record shows.
    """
    comparison = None if grouped_with_driver(host) else compare(host, prediction)
    if comparison is None:
        return {}
    apart = [host.functions[d.function] for d in comparison.differences]
    late = {function.address.slot: function.address for function in reversed(apart) if _unsaid(function)}
    if not late:
        return {}
    anew = frozenset(address for address in host.functions if _in_or_below(host, address, late))
    formed = predict_linux(
        host, served, acs_control={}, override=override_in_force(host), kept=kept_groups(host, anew), anew=anew
    )
    as_found = {address: group for group in formed.groups for address in group}
    found: dict[Address, str] = {}
    for difference in comparison.differences:
        whose = _in_or_below(host, difference.function, late)
        if whose is not None and difference.recorded == as_found.get(difference.function):
            what = "whether it was found after boot, by hot-plug or a rescan: its header does not say multifunction"
            found[difference.function] = f"{whose}: {what}, and until all of its slot is found the kernel goes by that"
    return found


def _unsaid(function: Function) -> bool:
    """Whether it is of a multifunction device, and its header does not say so."""
    address = function.address
    beyond = address.function or (address.device and value_of(function.ari, False))
    return bool(beyond) and function.physical_function is None and value_of(function.says_multifunction, None) is False


def _in_or_below(host: Host, address: Address, late: dict[tuple[int, int, int], Address]) -> Address | None:
    """Return what of these slots a function is in or below was found late, None where it is in none."""
    at: Address | None = address
    while at is not None and at in host.functions:
        if at.slot in late:
            return late[at.slot]
        at = host.functions[at].parent
    return None
