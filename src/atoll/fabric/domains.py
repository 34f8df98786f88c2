"""Which I/O address space each function's requests are translated by.

A group that a VFIO user holds is in that user's space, not in its default domain (drivers/iommu/iommu.c
``iommu_group_claim_dma_owner``).
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.fabric.default_domain import default_domain, group_of, of_another_boot, without_iommu
from atoll.fabric.disabled import word_against_iommu
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Holder, Host
from atoll.pci.address import Address

__all__ = ["PROCESS", "cpu_link_domains", "domains", "holder_of", "holders_of", "may_be_vfio"]

PROCESS = "process "
"""How the address spaces of processes that hold devices are named; the process's number follows."""


def holder_of(host: Host, function: Function) -> Holder | None:
    """Return the process that has a function's group or device open, None where none is known: of several, which is
    what descriptors that were handed on look like, the one with the lowest number."""
    return next(iter(holders_of(host, function)), None)


def holders_of(host: Host, function: Function) -> tuple[Holder, ...]:
    """Return the processes that have a function's group or device open, by process id."""
    group = value_of(function.group, None)
    return tuple(
        holder
        for holder in value_of(host.holders, ())
        if function.address in holder.devices or (group is not None and group in holder.groups)
    )


def domains(host: Host) -> dict[Address, Domain]:
    """Return the address space of each function that is no port, as configured now."""
    sharing = _sharing(host)
    return {a: _domain(host, function, sharing) for a, function in host.functions.items() if not function.is_port}


def _sharing(host: Host) -> dict[int, tuple[Holder, ...]]:
    """The processes, by process id, that have devices in common, directly or by way of others; each is one of its own.

    A descriptor that was handed on may lead into an address space of either side.
    """
    found: list[list[Holder]] = []
    for holder in value_of(host.holders, ()):
        joined = [those for those in found if any(_in_common(holder, other) for other in those)]
        found = [those for those in found if those not in joined]
        found.append(sorted([holder, *(other for those in joined for other in those)], key=lambda one: one.pid))
    return {holder.pid: tuple(those) for those in found for holder in those}


def _in_common(one: Holder, other: Holder) -> bool:
    return not (set(one.groups).isdisjoint(other.groups) and set(one.devices).isdisjoint(other.devices))


def _domain(host: Host, function: Function, sharing: Mapping[int, tuple[Holder, ...]]) -> Domain:
    holders = holders_of(host, function)
    holder = next(iter(holders), None)
    group = group_of(host, function)
    if group is not None and group.made_up:
        return without_iommu(group)
    if holder is not None and value_of(function.group, None) is None:
        # VFIO's device files work without an IOMMU as well (/dev/vfio/devices/noiommu-vfioN), and without any group.
        return default_domain(host, function)
    if holder is not None and (word := word_against_iommu(host)):
        return of_another_boot(word)
    if holder is not None and value_of(holder.containers, 1) == 0:
        return Domain(DomainKind.UNKNOWN, "", f"{holder.name} ({holder.pid}) has its group open, but no container")
    if holder is not None:
        together = sharing[holder.pid]
        return Domain(
            DomainKind.TRANSLATED,
            f"{PROCESS}{together[0].pid}",
            "held open by " + " and ".join(f"{one.name} ({one.pid})" for one in holders),
            certain=len(together) == 1 and value_of(holder.containers, None) == 1,
        )
    default = default_domain(host, function)
    if default.kind is not DomainKind.NONE and may_be_vfio(host, function):
        # Where no IOMMU translates, it translates for no user of VFIO either.
        if isinstance(host.holders, Unknown):
            may = "its driver was not read: VFIO may hold it" if isinstance(function.driver, Unknown) else ""
            return Domain(DomainKind.UNKNOWN, "", may or f"who holds it was not seen ({host.holders.reason})")
        handed = next((h for h in host.holders.value if h.uncertain), None)
        if handed is not None:
            because = f"{handed.name} ({handed.pid}) has VFIO devices open, and which does not show"
            return Domain(DomainKind.UNKNOWN, "", because)
        if function.address in host.opened:
            return Domain(DomainKind.UNKNOWN, "", "it is open for VFIO, in no process that is seen")
    return default


def may_be_vfio(host: Host, function: Function) -> bool:
    """Whether the driver may give the function to user space: vfio-pci, one of its variants, one that VFIO is seen to
    have a device from (NVIDIA's for its virtual functions is called ``nvidia``), or one not read."""
    if isinstance(function.driver, Unknown) or function.address in host.vfio_devices:
        return True
    return "vfio" in (function.driver.value or "")


def cpu_link_domains(host: Host) -> dict[Address, Domain]:
    """Return what the NPU lets each GPU do that has CPU-facing links, by GPU.

    Source: arch/powerpc/platforms/powernv/npu-dma.c (until 5.13): bypass for host drivers, the guest's context
    once VFIO owns the group; afterwards no kernel code sets up an NPU.
    """
    found: dict[Address, Domain] = {}
    for brick in host.npu_bricks:
        gpu = host.functions.get(brick.gpu) if brick.gpu is not None else None
        if gpu is None or gpu.address in found:
            continue
        functions = [b.function for b in host.npu_bricks if b.gpu == gpu.address and b.function is not None]
        holder = holder_of(host, gpu)
        if not functions:
            known = isinstance(host.kernel, Known) and (host.kernel.value.major, host.kernel.value.minor) >= (5, 13)
            found[gpu.address] = (
                Domain(DomainKind.BLOCKED, "", "this kernel configures no NPU (removed in 5.13)")
                if known
                else Domain(DomainKind.UNKNOWN, "", "the NPU's functions are not shown")
            )
        elif holder is not None:
            found[gpu.address] = Domain(
                DomainKind.TRANSLATED, f"{PROCESS}{holder.pid}", "the NPU translates for the group's VFIO owner"
            )
        elif isinstance(host.holders, Unknown):
            found[gpu.address] = Domain(DomainKind.UNKNOWN, "", f"who holds it was not seen ({host.holders.reason})")
        elif not may_be_vfio(host, gpu) and value_of(gpu.driver, None) is not None:
            found[gpu.address] = Domain(DomainKind.IDENTITY, "", "the NPU is in bypass for the host's driver")
        else:
            found[gpu.address] = Domain(DomainKind.UNKNOWN, "", "whether the NPU is still in bypass cannot be read")
    return found
