"""What travels, the steps of its way, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atoll.pci.address import Address

__all__ = ["Hop", "Kind", "Outcome", "Packet"]


class Kind(StrEnum):
    """What travels."""

    READ = "read"
    WRITE = "write"
    COMPLETION = "completion"


@dataclass(frozen=True, slots=True)
class Packet:
    """A request to ``address`` in memory or among I/O ports, or a completion to the requester id ``address``."""

    kind: Kind
    address: int
    requester: int
    translated: bool = False
    """Address type 10: the sender says that the address is translated already."""
    relaxed: bool = False
    """Relaxed ordering."""
    io: bool = False
    """To an I/O port."""

    @property
    def request(self) -> bool:
        """Whether it is a request."""
        return self.kind is not Kind.COMPLETION


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a path: where, by what, and what let it through."""

    at: str
    via: str
    because: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a packet ended: at a function, in someone's memory, or nowhere."""

    path: tuple[Hop, ...]
    function: Address | None = None
    memory_of: str | None = None
    stopped: str = ""
    """Why it went no further; empty where it arrived."""
    asked: bool = False
    """Whether it came to the translation of a root complex."""
