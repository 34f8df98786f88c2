"""What is below a port that was changed, and who uses it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from atoll.act import device
from atoll.act.busy import may_be_used
from atoll.act.entries import Entry
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Site
from atoll.act.steps.regroup import below, removed_with
from atoll.errors import AtollError
from atoll.host import read_host
from atoll.host.model import Host
from atoll.pci.address import Address
from atoll.plan.step import StepKind

__all__ = ["changed_ports", "is_above", "others_below", "used_below", "used_since"]


def is_above(host: Host, address: Address, port: Address) -> bool:
    """Whether a port, or a function itself, is on the way up from a function."""
    at: Address | None = address
    while at is not None:
        if at == port:
            return True
        function = host.functions.get(at)
        at = function.parent if function is not None else None
    return False


def changed_ports(entries: Iterable[Entry]) -> set[Address]:
    """Return the ports that were set otherwise or removed, and functions that were: nothing is below these."""
    return {entry.step.device for entry in entries if entry.step.kind in (StepKind.SET_ACS, StepKind.REMOVE)}


def used_below(
    machine: Machine, host: Host, entries: Sequence[Entry], others: Collection[Address] = ()
) -> dict[Address, str]:
    """Return the changed ports that somebody has devices open below, by address, with the sentence that tells it.

    Not asked of what entries tell of, nor of ``others``: of a cluster's devices that needed no change of their own no
    entry tells.
    """
    ports = changed_ports(entries)
    known = {entry.step.device for entry in entries}.union(others)
    found: dict[Address, str] = {}
    for address, function in sorted(host.functions.items()):
        above = [port for port in ports if is_above(host, address, port)]
        if function.is_port or address in known or not above:
            continue
        try:
            holder = device.other(machine, address)
            because = device.in_use(address, holder) if holder is not None else ""
        except Failure as error:
            because = error.message
        if because:
            later = "once nobody has, atoll release gives it back"
            found.update((port, f"{port} stays as it is set: below it, {because}; {later}") for port in above)
    return found


def used_since(site: Site, entries: Sequence[Entry]) -> dict[Address, str]:
    """Return the changed ports that somebody has devices open below who came since the host was read, as
    ``used_below`` does: who was there before relied on what was then."""
    ports = changed_ports(entries)
    if not ports:
        return {}
    try:
        now = read_host(site.machine)
    except AtollError as error:
        unseen = f"who is below it cannot be seen: {error.message}; atoll release gives it back"
        return {port: f"{port} stays as it is set: {unseen}" for port in ports}
    before = {address for address, function in site.host.functions.items() if may_be_used(site.host, function)}
    return used_below(site.machine, now, entries, before)


def others_below(machine: Machine, host: Host, entries: Sequence[Entry]) -> dict[Address, str]:
    """Return the ports that entries had found again and that are not removed once more, with the sentence that tells
    it: what was plugged in below since, or the host itself needs by now, would go with them, in use or not."""
    removals = [entry for entry in entries if entry.step.kind is StepKind.REMOVE]
    mine = {entry.step.device for entry in entries}
    known = mine.union(*map(removed_with, removals))
    found: dict[Address, str] = {}
    for port in (entry.step.device for entry in removals):
        for address in below(machine, port):
            if address in host.essential.keys() - mine:
                found.setdefault(port, f"{port} is not removed again: below it, the host itself needs {address}")
            elif address not in known:
                found.setdefault(port, f"{port} is not removed again: {address} below it is no part of this")
    return found
