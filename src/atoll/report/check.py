"""One question about a host, its answer, and what both rest on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atoll.host.command_line import parameters
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.host.tree import Tree
from atoll.pci.address import Address
from atoll.report.layout import first_of

__all__ = ["Check", "Status", "Subject", "shortened"]


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    """Isolation is possible, with something to know."""
    FAIL = "fail"
    """Isolation is not to be had as things are."""
    UNKNOWN = "unknown"
    """What was read does not tell."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check's result."""

    id: str
    status: Status
    found: str
    why: str = ""
    """What goes wrong where it is not in order."""
    do: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """The host that is looked at."""

    host: Host
    tree: Tree
    privileged: bool | None
    """Whether this process may read everything; None for a record."""

    @property
    def words(self) -> tuple[str, ...]:
        """The kernel's command line, word by word."""
        return parameters(value_of(self.host.command_line, ""))

    def word(self, *starts: str) -> str | None:
        """Return the first word of the command line that starts so."""
        return next((word for word in self.words if word.startswith(starts)), None)


def shortened(found: list[Address]) -> str:
    """Return the first few of many addresses, and how many more there are."""
    return first_of(found, 4)
