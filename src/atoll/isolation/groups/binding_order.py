"""Groups of kernels that group a function when a driver binds to it, in whatever order drivers do.

A function joins only what is grouped by then. One whose driver binds before that of the port above founds a group of
its own, be the port isolated or not, and the port another afterwards: seen on Linux 6.1 and 6.12 with an SMMU that a
device tree or ACPI tells of, where nvme's devices come before pcieport's. Since Linux 6.15 all are grouped as they are
found (commit bcb81ac6ae3c "iommu: Get DT/ACPI parsing into the proper probe path").
"""

from __future__ import annotations

from atoll.fabric.default_domain import grouped_with_driver
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.groups.comparison import compare
from atoll.isolation.groups.discovery import discovery_order
from atoll.isolation.groups.linux import predict_linux
from atoll.isolation.groups.override_evidence import override_in_force
from atoll.isolation.groups.prediction import Prediction
from atoll.pci.address import Address

__all__ = ["perhaps_bound_first"]


def perhaps_bound_first(host: Host, prediction: Prediction, served: frozenset[Address]) -> dict[Address, str]:
    """Return the functions that are grouped otherwise than predicted, and as drivers may have bound, with the reason.

    That order no record shows; the kernel numbers groups as it founds them, so their numbers tell of it.
    """
    comparison = compare(host, prediction) if grouped_with_driver(host) else None
    if comparison is None or not comparison.differences:
        return {}
    number = {address: group.number for group in value_of(host.groups, {}).values() for address in group.members}
    found = [function for function in discovery_order(host) if function.address in number]
    found.sort(key=lambda function: number[function.address])
    formed = predict_linux(
        host, served & number.keys(), acs_control={}, override=override_in_force(host), grouped_in=found
    )
    as_bound = {address: group for group in formed.groups for address in group}
    why = "in which order drivers bound: this kernel groups a function only then, beside what is grouped already"
    return {d.function: why for d in comparison.differences if d.recorded == as_bound.get(d.function)}
