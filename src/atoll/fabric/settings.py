"""The part of a host that can change without it being another host: what the conditions of edges are tested on.

A prover looks at the settings as read, a planner at those that its steps would make, resilience at those
that an event would leave: one value, three moments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import Command

__all__ = ["Domain", "DomainKind", "Settings"]


class DomainKind(StrEnum):
    """What the IOMMU does with a function's untranslated requests."""

    TRANSLATED = "translated"
    IDENTITY = "identity"
    """Addresses pass unchanged (``iommu=pt``, PowerNV's bypass window)."""
    BLOCKED = "blocked"
    NONE = "none"
    """No IOMMU stands in the way."""
    UNKNOWN = "unknown"


class Domain(NamedTuple):
    """A function's I/O address space. Functions with the same non-empty ``space`` share their mappings."""

    kind: DomainKind
    space: str = ""
    because: str = ""
    certain: bool = True
    """Whether functions of one ``space`` surely share it; a process with several containers may keep them apart."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The present (or assumed) state of every control. A value of None is unknown; an absent key is as noted."""

    acs: Mapping[Address, AcsFlag | None] = field(default_factory=dict)
    """ACS control words; absent: no ACS capability."""
    enhanced: Mapping[Address, AcsEnhanced] = field(default_factory=dict)
    """Control bits of ACS Enhanced; absent: the port has none, or they are not known."""
    perhaps_open: frozenset[Address] = frozenset()
    """Ports whose vendor states that they isolate once set up, of which it is not known whether the kernel did."""
    egress: Mapping[Address, int | None] = field(default_factory=dict)
    """Egress control vectors; absent: none."""
    command: Mapping[Address, Command | None] = field(default_factory=dict)
    """Command registers (memory decoding, bus mastering); absent: unknown."""
    ats: Mapping[Address, bool | None] = field(default_factory=dict)
    """Whether ATS is enabled; absent: the function has none."""
    cut: Mapping[Address, frozenset[int] | None] = field(default_factory=dict)
    """Link numbers cut at a function's own end; absent: nothing there can be cut."""
    domain: Mapping[Address, Domain] = field(default_factory=dict)
    """I/O address spaces; absent: unknown."""
    cpu_links: Mapping[Address, Domain] = field(default_factory=dict)
    """What the bridge behind a function's CPU-facing links (NPU, C2C) does with its requests; absent: unknown."""

    def with_acs(self, address: Address, control: AcsFlag) -> Settings:
        """The settings with one ACS control word changed."""
        return replace(self, acs={**self.acs, address: control})

    def with_cut(self, address: Address, links: frozenset[int]) -> Settings:
        """The settings with the links cut at one end changed."""
        return replace(self, cut={**self.cut, address: links})

    def with_command(self, address: Address, command: Command | None) -> Settings:
        """The settings with one command register changed."""
        return replace(self, command={**self.command, address: command})

    def with_domain(self, address: Address, domain: Domain) -> Settings:
        """The settings with one function's address space changed."""
        return replace(self, domain={**self.domain, address: domain})

    def can_master(self, address: Address) -> bool | None:
        """Whether a function may send (a bridge: forward upwards) memory requests; None unknown."""
        command = self.command.get(address)
        return None if command is None else bool(int.__and__(command, Command.MASTER))

    def decodes_ports(self, address: Address) -> bool | None:
        """Whether a function answers to its I/O BARs; None unknown."""
        command = self.command.get(address)
        return None if command is None else bool(int.__and__(command, Command.IO))

    def decodes_memory(self, address: Address) -> bool | None:
        """Whether a function answers to its memory BARs (a bridge: to its windows); None unknown."""
        command = self.command.get(address)
        return None if command is None else bool(int.__and__(command, Command.MEMORY))
