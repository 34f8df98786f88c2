"""One function of an lspci output: its heading, its details, its capabilities, its dumped bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from atoll.host.records.lspci.slot import Slot

__all__ = ["Block", "Capability", "Detail"]


@dataclass(slots=True)
class Detail:
    """One detail: its key as lspci prints it, with the text after it joined."""

    text: str
    line: int


@dataclass(slots=True)
class Capability:
    """A capability's heading, and the details below it."""

    name: str
    """``Express (v2) Root Port (Slot+), MSI 00``, ``Access Control Services``, …"""
    offset: int | None
    details: list[Detail] = field(default_factory=list)

    def find(self, key: str) -> str | None:
        """Return the text after a key, None where there is no such detail."""
        return next((d.text[len(key) :].strip() for d in self.details if d.text.startswith(key)), None)


@dataclass(slots=True)
class Block:
    """One function."""

    slot: Slot
    heading: str
    """The first line without the address."""
    line: int
    details: list[Detail] = field(default_factory=list)
    """Before the first capability."""
    capabilities: list[Capability] = field(default_factory=list)
    after: list[Detail] = field(default_factory=list)
    """After the last one: driver and modules."""
    dump: bytearray = field(default_factory=bytearray)
    cut: bool = False
    """Whether the text, or an output in it, ends in the middle of it: what it does not show may yet have come."""
    shortened: bool = False
    """Whether somebody left lines of it out, as dots in their place or grep's separator tell."""
    shortened_early: bool = False
    """Whether that was before its first capability."""
    nameless: bool = False
    """Whether lines of a function stand below it of which nothing tells whose they are."""
    asked: bool = False
    """Whether the command above its lines names it, and they show no heading: all of them are its own."""
    _found: dict[str, str | None] = field(default_factory=dict)

    def find(self, key: str) -> str | None:
        """Return the text after a key among the function's own details; to be asked once the block is whole."""
        if key not in self._found:
            texts = (detail.text for part in (self.details, self.after) for detail in part)
            self._found[key] = next((text[len(key) :].strip() for text in texts if text.startswith(key)), None)
        return self._found[key]
