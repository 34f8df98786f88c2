"""A path from one function to another, hop by hop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from atoll.report.layout import wrap

__all__ = ["Hop", "path_document", "path_lines"]


class Hop(Protocol):
    """One step of a witness: where, over what, and what lets it through."""

    @property
    def at(self) -> object: ...

    @property
    def via(self) -> object: ...

    @property
    def because(self) -> str: ...


def path_document(path: Iterable[Hop]) -> list[dict[str, Any]]:
    """Return the hops as programs get them."""
    return [{"at": str(hop.at), "via": str(hop.via), "because": hop.because} for hop in path]


def path_lines(path: Sequence[Hop], *, margin: str = "    ") -> list[str]:
    """Return one hop a line: where it is, over what it goes on, and why that is open."""
    if not path:
        return []
    at = max(len(str(hop.at)) for hop in path)
    via = max(len(str(hop.via)) for hop in path)
    lines: list[str] = []
    for number, hop in enumerate(path):
        sign = "  " if not number else "→ "
        lines += wrap(hop.because, first=f"{margin}{sign}{hop.at!s:<{at}}  {hop.via!s:<{via}}  ")
    return lines
