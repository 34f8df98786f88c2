"""How devices were before atoll touched them, as the journal says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from atoll.act import device
from atoll.act.below import is_above
from atoll.act.entries import Entry
from atoll.act.failure import Failure
from atoll.act.settings import changed
from atoll.act.site import Site, Value
from atoll.act.steps.quiesce import command_word
from atoll.host.model import Host
from atoll.isolation.clusters import HOST, Cluster
from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.plan.step import StepKind

__all__ = ["Before", "is_as_before", "was_before"]


@dataclass(slots=True)
class Before:
    """What the journal says of one device as it was before atoll touched it."""

    driver: Value = None
    override: Value = None
    driver_known: bool = False
    enabled: Value = None
    """How often it was enabled while nobody drove it."""
    cut: Value = None
    acs: Value = None
    power: Value = None
    """``power/control`` of a port that is kept awake."""
    together: Value = None
    """Whether all below a port shared its group."""
    removed: bool = False
    settings: Value = None
    """What it was set to that no step changes."""


def was_before(
    host: Host,
    entries: Iterable[Entry],
    owners: Mapping[Address, Cluster],
    others: set[Address],
    kept: Mapping[Address, Address],
) -> dict[Address, Before]:
    """Return the devices to give back, in address order. Ports above devices of others keep their setting, and
    the host's own devices their cuts as long as others have devices."""
    found: dict[Address, Before] = {}
    for entry in entries:
        address = entry.step.device
        if address not in host.functions or address in others or address in kept:
            continue
        if entry.step.kind in (StepKind.SET_ACS, StepKind.REMOVE) and any(
            is_above(host, other, address) for other in others
        ):
            continue
        if address not in owners and entry.step.cluster == HOST and others:
            continue
        was = found.setdefault(address, Before())
        before = entry.before
        if "driver" in before and not was.driver_known:
            was.driver, was.override, was.driver_known = before["driver"], before["override"], True
            was.enabled = before.get("enabled")
        if was.cut is None and before.get("cut") is not None:
            was.cut = before["cut"]
        if was.settings is None and was.acs is None:
            # What is noted after a step (the journal of an earlier version had none) is what the step has set.
            was.settings = before.get("settings")
        if was.acs is None and "acs" in before:
            was.acs, was.together = before["acs"], before.get("together")
        if was.power is None:
            was.power = before.get("power")
        was.removed |= entry.step.kind is StepKind.REMOVE
    return dict(sorted(found.items()))


def is_as_before(site: Site, address: Address, before: Before) -> bool:
    """Whether there is nothing to give back: a device that was pulled and plugged again is the host's as before."""
    if site.host.functions[address].is_port or before.removed or before.cut is not None or before.acs is not None:
        return False
    machine = site.machine
    if not before.driver_known or device.driver(machine, address) != before.driver:
        return False
    hosts = isinstance(before.driver, str) and "vfio" not in before.driver
    try:
        if device.override(machine, address) != before.override:
            return False
        if hosts:
            return True
        # A release that died may have closed it, and not yet written back what that took.
        return not command_word(machine, address) & Command.MASTER and not changed(
            machine, address, before.settings, opens=True
        )
    except Failure:
        # Pulled since the host was read: what it is known by is checked next.
        return False
