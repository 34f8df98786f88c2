"""Whose devices are whose, where nothing has to be changed: what is cut for a cluster already, and has its driver, is
its all the same, and the release of another takes nothing of that away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atoll.act import device
from atoll.act.entries import Entry, Run
from atoll.act.journal import Journal
from atoll.act.owner import boot_of
from atoll.act.settings import settings_of
from atoll.act.site import Site, State
from atoll.fabric.domains import holders_of
from atoll.isolation.clusters import HOST
from atoll.pci.address import Address
from atoll.plan.possession import holds_for
from atoll.plan.step import Plan, Step, StepKind

__all__ = ["note", "note_owners", "unnoted"]

_WORDS = ("none", "none", "nothing to undo")


def unnoted(site: Site, plan: Plan, entries: Sequence[Entry]) -> tuple[Step, ...]:
    """Return what is to be noted: a device of a cluster that no step of the plan changes for it, and no entry says was
    given to it last. What is held shows by its holder."""
    owners: dict[Address, str | None] = {}
    for entry in entries:
        if entry.step.cluster not in (None, HOST):
            owners[entry.step.device] = entry.step.cluster
    owners |= {step.device: step.cluster for step in plan.steps if step.kind is not StepKind.VERIFY}
    return tuple(_steps(site, plan, owners))


def _steps(site: Site, plan: Plan, owners: dict[Address, str | None]) -> Iterator[Step]:
    followers = {brick.function for brick in site.host.npu_bricks}
    for cluster in plan.clusters:
        for address in cluster.functions:
            function = site.host.functions.get(address)
            if function is None or address in followers or owners.get(address) == cluster.cluster:
                continue
            if not any(holds_for(holder, cluster.cluster) for holder in holders_of(site.host, function)):
                because = "it is so already as its owner needs it"
                yield Step("g1", StepKind.UNBIND, address, because, *_WORDS, cluster=cluster.cluster)


def note_owners(site: Site, journal: Journal, plan: Plan) -> Iterator[Entry]:
    """Note the owners of devices that need no step; yield the entries. Raises Failure for a device that is not the one
    that was planned for."""
    standing = journal.record.since(boot_of(site.machine)).entries
    for step in unnoted(site, plan, standing):
        site.check_fingerprint(step.device)
        yield note(site, journal, step)


def note(site: Site, journal: Journal, step: Step, run: Run | None = None) -> Entry:
    """Note the owner of one device, for a run that died or the one at work. That is undone as steps are: by finding
    driver and override as before."""
    address, machine = step.device, site.machine
    before: State = {"driver": device.driver(machine, address), "override": device.override(machine, address)}
    known: State = {"fingerprint": site.fingerprints[address], "settings": settings_of(machine, address)}
    entry = journal.intend(step, {**known, **before}, run)
    return journal.complete(entry, before)
