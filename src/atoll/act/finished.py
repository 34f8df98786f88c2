"""A run whose process died when all was done: only its end is missing in the journal, and it is left as it is.

To undo it would take devices from owners who may have begun to use them. What outlives its process counts alone: a
holder's devices are closed with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from atoll.act import device
from atoll.act.entries import Entry, EntryState, Run
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Site
from atoll.act.steps.ports import check_closed
from atoll.controls.present import present
from atoll.errors import InputError
from atoll.host.model import Host
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.document import from_document
from atoll.plan.step import Plan, StepKind

__all__ = ["differences", "finished"]

_OF_HOLDERS = frozenset({StepKind.LEASE, StepKind.HAND_OVER})


def finished(run: Run, entries: Sequence[Entry]) -> Plan | None:
    """Return the plan of an apply that had carried out and read back every step of it, None for any other run."""
    if run.verb != "apply" or not run.plan:
        return None
    try:
        plan = from_document(json.loads(run.plan))
    except (ValueError, RecursionError, InputError):
        return None
    done = {entry.step.id for entry in entries if entry.state is EntryState.DONE}
    missing = [step for step in plan.steps if step.id not in done and step.kind is not StepKind.VERIFY]
    held = any(step.kind in _OF_HOLDERS or step.holder is not None for step in plan.steps)
    return None if missing or held or not plan.steps else plan


def differences(machine: Machine, host: Host, plan: Plan) -> Iterator[str]:
    """Yield what is not now as a plan that was carried out had left it. ``host`` is the machine as it was just read.

    Links of a device whose registers its owner's driver keeps to itself were read back as cut before it got the device.
    """
    site = Site(machine, host, dict(plan.fingerprints))
    drivers: dict[Address, str | None] = {}
    ports: dict[Address, AcsFlag] = {}
    cut = present(host, allow_assumed=True).cut
    for address in dict.fromkeys(step.device for step in plan.steps):
        try:
            site.check_fingerprint(address)
        except Failure as error:
            yield error.message
    for step in plan.steps:
        if step.kind is StepKind.BIND:
            drivers[step.device] = step.driver
        elif step.kind is StepKind.SET_ACS and step.acs is not None:
            ports[step.device] = step.acs
        elif step.kind in (StepKind.CUT_LINKS, StepKind.VERIFY):
            now = cut.get(step.device)
            if now is not None and (opened := sorted(frozenset(step.links) - now)):
                yield f"links {opened} of {step.device} are open"
    for address, driver in drivers.items():
        if (now_bound := device.driver(machine, address)) != driver:
            yield f"{address} is bound to {now_bound or 'no driver'}"
    for address, wanted in ports.items():
        try:
            check_closed(machine, address, wanted)
        except Failure as error:
            yield error.message
