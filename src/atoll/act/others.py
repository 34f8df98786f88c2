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
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.pci.address import Address
from atoll.plan.others import others

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
            given = given_to(read_journal(machine).since(boot_of(machine)).entries, host)
    except (InputError, RefusedError) as error:
        untold = f"who else was given devices cannot be told: {error.message}"
    given = {address: name for address, name in given.items() if address not in gone}
    elsewhere = given_elsewhere(given, {cluster.name: cluster.functions for cluster in clusters.named})
    return replace(clusters, others=others(host, clusters, given), elsewhere=elsewhere, untold=untold, unshown=unshown)


def with_journal(machine: Machine | None) -> tuple[Machine | None, str]:
    """Return the machine whose journal is the host's, as far as that is shown, and the sentence that it is not."""
    if not isinstance(machine, Namespaced):
        return machine, ""
    of_host = machine.of_host()
    return (machine, _UNSHOWN) if of_host is None else (of_host, "")
