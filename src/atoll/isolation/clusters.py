"""Clusters: the functions of one owner, and how they reach their user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from atoll.events.trigger import Trigger
from atoll.pci.address import Address

__all__ = ["HOST", "Cluster", "Clusters", "Handover"]

HOST = "host"
"""Name of the trusted cluster of all that no cluster names."""


class Handover(StrEnum):
    """How a cluster's devices reach their user."""

    VFIO = "vfio"
    """A VMM opens them through stock vfio-pci: open, guest reset and close each reset the device."""
    HELD = "held"
    """atoll's holder opens them, cuts, and keeps the descriptors."""
    BROKER = "broker"
    """The holder serves the VMM over vfio-user and cuts again in the middle of each reset."""
    KERNEL = "kernel"
    """A host driver owns them."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The functions of one owner. Those named in a cluster file are untrusted; the unnamed rest is not."""

    name: str
    functions: tuple[Address, ...]
    handover: Handover = Handover.VFIO
    driver: str = "vfio-pci"
    owner: str | int | None = None
    """The user, by name or id, whom a holder hands it to; root where none is named."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """All clusters that a file names, with what it asks to survive, and who else is not trusted."""

    named: tuple[Cluster, ...]
    survive: Mapping[Trigger, int] = field(default_factory=dict)
    allow_assumed: bool = False
    """Whether controls that are only assumed to work may be used."""
    others: tuple[Cluster, ...] = ()
    """Who else has devices, that this file does not name: nobody's trusted host, and not this file's to change."""
    elsewhere: Mapping[Address, str] = field(default_factory=dict)
    """Of functions that this file names: which other cluster, one that it does not name, was given them before."""
    untold: str = ""
    """Why it is not known who else has devices; empty where it is."""
    unshown: str = ""
    """What is taken as true of who else has devices, and is not shown; empty where it is."""

    def owner(self) -> dict[Address, str]:
        """Return the cluster's name by function, of named functions only."""
        return {function: cluster.name for cluster in self.named for function in cluster.functions}

    @property
    def tenants(self) -> tuple[Cluster, ...]:
        """All that are not trusted."""
        return (*self.named, *self.others)

    def tenant(self) -> dict[Address, str]:
        """Return the name of whoever has a function, be it by this file or not, of those that are not the host's."""
        return {function: cluster.name for cluster in self.tenants for function in cluster.functions}

    def cluster_of(self, functions: Iterable[Address]) -> dict[Address, str]:
        """Return the cluster's name by function for any functions, unnamed ones being the host's, whoever has them."""
        named = self.owner()
        return {function: named.get(function, HOST) for function in functions}
