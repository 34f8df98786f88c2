"""What the kernel knows of a function and of an IOMMU group: state that ``remove`` throws away."""

from __future__ import annotations

from dataclasses import dataclass, field

from atoll.pci.address import Address
from atoll.twin.spec import DomainKind

__all__ = ["Device", "Group"]


@dataclass(slots=True)
class Device:
    """A function as the kernel discovered it."""

    address: Address
    driver: str | None = None
    override: str = ""
    group: int | None = None
    methods: list[str] | None = None
    """The order written to ``reset_method``, or what was found by it anew; None for what was found with the device."""
    found_alone: bool = True
    """Nothing else was known on its bus when it was found: what the kernel's list of methods goes by for ``bus``."""
    enabled: bool = False
    """Switched on without a driver: through ``enable``, or for what is below."""
    master: bool = False
    """Bus mastering was switched on for what is below (``pci_dev.is_busmaster``), without a driver."""
    ari: bool = False
    """The kernel switched ARI on at this port, and tells so, whatever became of it since."""


@dataclass(slots=True)
class Group:
    """An IOMMU group: its number is no identity."""

    number: int
    kind: DomainKind
    """The type of its default domain."""
    members: list[Address] = field(default_factory=list)
