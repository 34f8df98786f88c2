"""Giving devices back, as a verb: what is owed by the journal is found, refused or carried out.

What was before comes from the journal: of each device the oldest entry since it was given back last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from atoll.act.before import Before
from atoll.act.cut_again import cut_since
from atoll.act.entries import Entry
from atoll.act.given import gone
from atoll.act.giving_back import GivingBack
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.outcome import Deed, Outcome
from atoll.act.owed import Owed, find_owed
from atoll.act.owner import boot_of
from atoll.act.pace import Pace
from atoll.act.running import Running, refuse_after_death, running
from atoll.act.shared_links import stays_cut
from atoll.errors import AtollError, RefusedError
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.plan.spec import Spec, read

__all__ = ["complete", "release"]


def release(
    machine: Machine,
    host: Host,
    clusters: Clusters,
    *,
    spec: str = "",
    dry_run: bool = False,
    pace: Pace | None = None,
) -> Outcome:
    """Give the devices of clusters back and undo what can be undone. ``host`` is the machine as it was just read.

    ``spec`` is the clusters' file, for the journal: should this die, ``recover`` completes it.

    Raises RefusedError where somebody else has a device open, the machine cannot be changed, or an earlier run died;
    StepError where a device could not be given back (what was given back before it stays so).
    """
    refuse_after_death(machine)
    record = read_journal(machine)
    entries = record.since(boot_of(machine)).entries
    owed = find_owed(machine, host, _permitting(clusters, spec, host, entries), entries, pace or Pace())
    if not owed.was:
        if owed.over and not dry_run:
            with running(machine, "release", {}, spec=spec) as work:
                work.journal.forget(owed.over)
        told = "nothing to release: no device of these clusters was changed or is held"
        if len(entries) < len(record.entries):
            told += "; what had been done, a restart of the machine undid"
        earlier = (entry for entry in record.entries if entry not in entries)
        return Outcome((), (told, *owed.left, *cut_since(host, earlier)), dry_run)
    if dry_run:
        return _foretold(owed)
    with running(machine, "release", owed.site.fingerprints, spec=spec) as work:
        if work.journal.record.since(boot_of(machine)).entries != entries:
            text = f"another atoll has changed {machine.name} since it was looked at"
            raise RefusedError(text, hint="run atoll release again")
        return _carry_out(owed, work)


def _foretold(owed: Owed) -> Outcome:
    """Return what would become of each device, and what is known to be left by then."""
    cut = [address for address in owed.shared if isinstance(owed.was[address].cut, list)]
    deeds = (Deed("release", address, _would(before, address in cut)) for address, before in owed.was.items())
    left = (*owed.left, *(stays_cut(owed.shared[address]) for address in cut))
    return Outcome(tuple(deeds), tuple(dict.fromkeys(left)), dry_run=True)


def _would(before: Before, stays: bool) -> str:
    """Say in a few words what giving a device back would do, in that order; ``stays``: some of its links stay cut."""
    done = [
        ("links as before" + stays * ", but for those that stay cut") if before.cut is not None else "",
        "ACS as before" if before.acs is not None else "",
        "found again" if before.removed else "",
        (f"bind {before.driver}" if before.driver else "without a driver") if before.driver_known else "",
    ]
    told = "; ".join(part for part in done if part)
    return f"would: give back: {told}" if told else "would: give back"


def _permitting(clusters: Clusters, text: str, host: Host, entries: Iterable[Entry]) -> Spec:
    """Return the clusters with what their file permits; a file that cannot be read any more permits nothing."""
    try:
        permitted = read(text, host, name="the clusters' file", gone=gone(entries, host)).essential if text else ()
    except AtollError:
        permitted = ()
    return Spec(clusters, frozenset(permitted))


def complete(work: Running, host: Host, spec: Spec, pace: Pace) -> Outcome:
    """Carry a release that died on to its end. Raises as ``release`` does."""
    machine = work.machine
    owed = find_owed(machine, host, spec, work.journal.record.since(boot_of(machine)).entries, pace)
    # Who carries it on knew the devices of the runs that died, not yet those of the runs that they were to undo.
    work.fingerprints.update(owed.site.fingerprints)
    return _carry_out(owed, work)


def _carry_out(owed: Owed, work: Running) -> Outcome:
    site = replace(owed.site, machine=work.machine)
    work.journal.forget(owed.over)
    giving = GivingBack(
        site=site,
        work=work,
        was=owed.was,
        held=owed.held,
        shared=owed.shared,
        left=[*owed.left],
        relied_on=owed.relied_on,
        closed=owed.closed,
        unmoved=owed.unmoved,
    )
    giving.run()
    return Outcome(tuple(giving.deeds), tuple(dict.fromkeys(giving.left)), differences=tuple(giving.differences))
