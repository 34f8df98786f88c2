"""Whether something isolates, and how far that is known."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Judgement"]


class Judgement(NamedTuple):
    """Whether a function, or every port of a path, isolates; as far as the record tells."""

    enabled: bool
    """The best guess where ``missing`` says that the record does not tell."""
    why: tuple[str, ...] = ()
    """What decided, one entry a function."""
    missing: tuple[str, ...] = ()
    """What the record does not tell and the judgement rests on; empty where it is certain."""

    @property
    def certain(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing
