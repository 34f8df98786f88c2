"""Whose devices are whose, as the journal has it: a cluster file that counts GPUs names others once one is gone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from atoll.act.entries import Entry, Record, Run
from atoll.act.exchanged import exchanged
from atoll.errors import InputError
from atoll.host.model import Host
from atoll.isolation.clusters import HOST
from atoll.pci.address import Address
from atoll.plan.document import from_document
from atoll.plan.spec import Spec, read
from atoll.plan.step import Plan

__all__ = ["Given", "all_given", "given_elsewhere", "given_to", "gone", "owed_spec_of", "plan_of", "spec_of"]


@dataclass(frozen=True, slots=True)
class Given:
    """A cluster file as a run had it."""

    spec: str
    clusters: Mapping[str, tuple[Address, ...]]
    """Its devices by cluster as the run's plan had them; empty for a run without one."""


def plan_of(run: Run) -> Plan | None:
    """Return the plan of a run, None where it had none that can be read."""
    try:
        return from_document(json.loads(run.plan))
    except (ValueError, RecursionError, InputError):
        return None


def all_given(runs: Sequence[Run]) -> Iterator[Given]:
    """Yield the cluster files of runs, each once."""
    seen = []
    for run in runs:
        given = Given(run.spec, _planned(run))
        if run.spec and given not in seen:
            seen.append(given)
            yield given


def given_to(entries: Iterable[Entry], host: Host) -> dict[Address, str]:
    """Return the name of the cluster that each device was given to last; what was exchanged since is nobody's."""
    every = tuple(entries)
    strange = exchanged(every, host.functions.get)[0]
    found = {}
    for entry in every:
        if entry.step.cluster is not None and entry.step.cluster != HOST and entry not in strange:
            found[entry.step.device] = entry.step.cluster
    return found


def given_elsewhere(given: Mapping[Address, str], clusters: Mapping[str, Sequence[Address]]) -> dict[Address, str]:
    """Return which devices of a file's ``clusters`` were ``given`` to a cluster that the file does not name. One that
    names both may move a device from one to the other: it speaks for both."""
    named = sorted(address for functions in clusters.values() for address in functions)
    return {address: given[address] for address in named if given.get(address, HOST) not in (*clusters, HOST)}


def gone(entries: Iterable[Entry], host: Host) -> frozenset[Address]:
    """Return which devices of the journal are not there now: a cluster file may name them still."""
    return frozenset(entry.step.device for entry in entries) - host.functions.keys()


def spec_of(run: Run, record: Record, host: Host, *, name: str) -> Spec:
    """Return a run's cluster file, read anew, with the devices that it meant then. Raises as ``plan.spec.read`` does.

    ``record`` is what was done since the machine booted. What a plan had counted is not counted once more; of what none
    had, a number that names nothing by now named what is gone.
    """
    known: dict[str, tuple[Address, ...]] = {}
    for other in record.runs:
        known.update(_planned(other))
    known.update(_planned(run))
    absent = gone(record.entries, host).union(*known.values()) - host.functions.keys()
    return read(run.spec, host, name=name, gone=absent, known=known)


def owed_spec_of(run: Run, record: Record, host: Host, *, name: str) -> Spec:
    """Return a run's file with the devices that the journal says were given to its clusters, and none that were given
    to others. Raises as ``spec_of`` does."""
    spec = spec_of(run, record, host, name=name)
    to = {
        entry.step.device: entry.step.cluster
        for entry in record.entries
        if entry.step.cluster not in (None, HOST) and entry.step.device in host.functions
    }
    named = []
    for cluster in spec.clusters.named:
        mine = {address for address in cluster.functions if to.get(address, cluster.name) == cluster.name}
        mine |= {address for address, name in to.items() if name == cluster.name}
        named.append(replace(cluster, functions=tuple(sorted(mine))))
    return replace(spec, clusters=replace(spec.clusters, named=tuple(named)))


def _planned(run: Run) -> dict[str, tuple[Address, ...]]:
    plan = plan_of(run)
    return {} if plan is None else {one.cluster: one.functions for one in plan.clusters}
