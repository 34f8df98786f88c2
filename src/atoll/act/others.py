"""Who else has devices than the clusters of a file, as the journal and the host tell it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from atoll.act.database_layout import PATH
from atoll.act.given import given_elsewhere, given_to
from atoll.act.journal import read_journal
from atoll.act.machine import Machine, Namespaced
from atoll.act.owner import boot_of
from atoll.errors import InputError, RefusedError
from atoll.fabric.domains import holders_of
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.pci.address import Address
from atoll.plan.others import others
from atoll.plan.possession import HOLDER_PREFIX

__all__ = ["with_journal", "with_others"]

_UNSHOWN = (
    f"nothing was given to clusters beside what the journal here (/{PATH}) tells: whether it is the host's is not "
    "shown (that takes root, in the host's PID namespace)"
)


def with_others(machine: Machine | None, host: Host, clusters: Clusters, *, gone: Collection[Address] = ()) -> Clusters:
    """Return clusters with who else has devices on a host, as its journal tells (a record has none): these are not
    the host's, which is trusted.

    What is ``gone`` was let go since the journal noted whose it is.
    """
    untold = ""
    given: dict[Address, str] = {}
    machine, unshown = with_journal(machine)
    try:
        if machine is not None:
            entries = read_journal(machine).since(boot_of(machine)).entries
            given = given_to(entries, host)
            untold = _unnoted(host, {entry.step.device for entry in entries})
    except (InputError, RefusedError) as error:
        untold = f"who else was given devices cannot be told: {error.message}"
    given = {address: name for address, name in given.items() if address not in gone}
    elsewhere = given_elsewhere(given, {cluster.name: cluster.functions for cluster in clusters.named})
    return replace(clusters, others=others(host, clusters, given), elsewhere=elsewhere, untold=untold, unshown=unshown)


def _unnoted(host: Host, noted: Collection[Address]) -> str:
    """Return the sentence that the journal does not tell of a holder's keeper, which is noted before it opens anything:
    then it tells of nobody else either. Empty where it does."""
    for holder in value_of(host.holders, ()):
        if not holder.name.startswith(HOLDER_PREFIX) or holder.root is False:
            continue
        opened = [address for address, function in host.functions.items() if holder in holders_of(host, function)]
        if opened and not any(address in noted for address in opened):
            who = f"process {holder.pid} ({holder.name}) has {opened[0]} open"
            return f"who else was given devices cannot be told: {who}, and the journal (/{PATH}) does not tell of it"
    return ""


def with_journal(machine: Machine | None) -> tuple[Machine | None, str]:
    """Return the machine whose journal is the host's, as far as that is shown, and the sentence that it is not."""
    if not isinstance(machine, Namespaced):
        return machine, ""
    of_host = machine.of_host()
    return (machine, _UNSHOWN) if of_host is None else (of_host, "")
