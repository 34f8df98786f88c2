"""What travels, the steps of its way, and where it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from atoll.pci.address import Address

__all__ = ["Hop", "Kind", "Outcome", "Packet"]


class Kind(StrEnum):
    """What travels."""

    READ = "read"
    WRITE = "write"
    ATOMIC = "atomic"
    """An AtomicOp: a request to memory that reads and writes it at once (PCI Express Base 6.15)."""
    COMPLETION = "completion"
    MESSAGE = "message"
    """Defined by a vendor, and routed by id (PCI Express Base 2.2.8.6)."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A request to ``address`` in memory or among I/O ports; a completion, or a message, to the id ``address``."""

    kind: Kind
    address: int
    requester: int
    translated: bool = False
    """Address type 10: the sender says that the address is translated already."""
    relaxed: bool = False
    """Relaxed ordering."""
    io: bool = False
    """To an I/O port."""
    unit: str | None = None
    """The IOMMU to which its sender's requests come; None without one."""

    @property
    def request(self) -> bool:
        """Whether it is a request: messages are, too."""
        return self.kind is not Kind.COMPLETION

    @property
    def by_address(self) -> bool:
        """Whether it goes by an address: in memory, or of an I/O port."""
        return self.kind in (Kind.READ, Kind.WRITE, Kind.ATOMIC)


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
    """Whether it came to the translation of a root complex: a copy at least, and none that arrived elsewhere."""
    copies: tuple[Outcome, ...] = ()
    """What became of each copy, where there are several."""

    def ends(self) -> Iterator[Outcome]:
        """Yield where it ended: each copy on its own."""
        if not self.copies:
            yield self
        for copy in self.copies:
            yield from copy.ends()

    @classmethod
    def of(cls, path: tuple[Hop, ...], copies: Iterable[Outcome]) -> Outcome:
        """Return what became of a packet with one copy at least: of a single one, that."""
        found = tuple(copies)
        if len(found) == 1:
            return found[0]
        stopped = "" if any(not each.stopped for each in found) else "; ".join(each.stopped for each in found)
        asked = any(each.asked for each in found) and all(each.asked or each.stopped for each in found)
        return cls(path, stopped=stopped, asked=asked, copies=found)
