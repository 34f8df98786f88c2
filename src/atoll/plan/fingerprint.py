"""What a device is known by when its address may have moved: ids, serial number, position in the PCIe tree."""

from __future__ import annotations

from atoll.errors import InputError
from atoll.host.fact import value_of
from atoll.host.model import Function, Host
from atoll.plan.step import Plan

__all__ = ["check_planned_for", "fingerprint"]


def fingerprint(function: Function) -> str:
    """Return a function's fingerprint: ``10de:1db1 at pci0004:00/0004:03:00.0/0004:04:00.0 serial 00-80-…``.

    The position is the root bus and the bridge right above; a path through other bridges shows in their addresses.
    """
    parts = [function.host_bridge, *([str(function.parent)] if function.parent else []), str(function.address)]
    serial = value_of(function.serial, None)
    text = f"{function.vendor:04x}:{function.device:04x} at {'/'.join(parts)}"
    return text + (f" serial {serial}" if serial else "")


def check_planned_for(plan: Plan, host: Host) -> None:
    """Raise InputError unless a plan's steps are about devices of this host: of another's they say nothing here."""
    hint = "make the plan for this host: atoll plan SPEC -o FILE"
    known = dict(plan.fingerprints)
    for step in plan.steps:
        function = host.functions.get(step.device)
        if function is None:
            raise InputError(f"the plan is for another host: {host.name} has no {step.device}", hint=hint)
        found, planned = fingerprint(function), known.get(step.device)
        if planned is None:
            raise InputError(f"the plan does not say what {step.device} is known by", hint=hint)
        if found != planned:
            raise InputError(f"{step.device} is not what was planned for: {found}, planned: {planned:.200}", hint=hint)
