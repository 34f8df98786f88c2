"""What cuts links at a device's own end: the protocol that every generation's mechanism fits into.

How the mechanisms that are not here yet fit, without bending it, is written in docs/controls.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from atoll.events.reset import ResetKind
from atoll.host.fact import Fact
from atoll.host.model import Host, Register
from atoll.pci.address import Address

__all__ = ["Effect", "Expect", "Level", "LinkControl", "Operation", "SetBits", "Store"]


class Level(StrEnum):
    """How well a control is known."""

    DOCUMENTED = "documented"
    """The maker describes it in public."""
    OBSERVED = "observed"
    """Public code that ran on the hardware uses it."""
    ASSUMED = "assumed"
    """Inferred from a relative: used only when asked for."""


class Effect(StrEnum):
    """When a programmed cut takes effect."""

    NOW = "now"
    NEXT_RESET = "next reset"
    """Armed before a reset, applied by exactly one, dropped by the next (Hopper and later)."""


@dataclass(frozen=True, slots=True)
class Store:
    """Write a 32-bit register."""

    register: Register
    value: int


@dataclass(frozen=True, slots=True)
class SetBits:
    """Read a 32-bit register, set bits, write it back."""

    register: Register
    bits: int


@dataclass(frozen=True, slots=True)
class Expect:
    """A 32-bit register must read ``value`` under ``mask``."""

    register: Register
    mask: int
    value: int


Operation: TypeAlias = Store | SetBits


class LinkControl(Protocol):
    """A way to cut links at one device's end."""

    @property
    def name(self) -> str:
        """Its name in plans and proofs."""

    @property
    def level(self) -> Level:
        """How well it is known."""

    @property
    def is_assumed(self) -> bool:
        """Whether it is only assumed to work: it is used when asked for."""

    @property
    def effect(self) -> Effect:
        """When a cut takes effect."""

    @property
    def undone_by(self) -> frozenset[ResetKind]:
        """The kinds of reset that open the links again."""

    @property
    def registers(self) -> tuple[Register, ...]:
        """What must be read of a device to know its state."""

    @property
    def source(self) -> str:
        """Where the mechanism is known from."""

    def applies(self, vendor: int, device: int) -> bool:
        """Whether it is made for devices of these ids."""

    def state(self, host: Host, address: Address) -> Fact[frozenset[int]]:
        """Return the numbers of the links that are cut at this device, from the registers in the host's record."""

    def names(self, link: int) -> bool:
        """Whether the device may have a link of this number: a record's others cannot be named, hence not cut."""

    def mask(self, links: Iterable[int]) -> int:
        """Return the register value that names links. Raises ValueError for one that it cannot name."""

    def program(self, links: Iterable[int]) -> tuple[Operation, ...]:
        """Return the register operations that cut links, in order."""

    def check(self, links: Iterable[int]) -> tuple[Expect, ...]:
        """Return what must be read back once the cut has taken effect."""

    def identify(self) -> tuple[Expect, ...]:
        """Return what must be read of the device before it is touched."""
