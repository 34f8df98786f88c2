"""Whether what records show is a part of a machine only."""

from __future__ import annotations

from collections.abc import Collection

from atoll.pci.address import Address

__all__ = ["is_excerpt"]

_LIST = 10
"""No machine has fewer functions in groups; who lists this many lists all."""


def is_excerpt(functions: Collection[Address], grouped: Collection[Address]) -> bool:
    """Whether a text shows not all of a machine: every machine has a function 00:00.0, but AMD's is in no group."""
    domain = min((address.domain for address in (*functions, *grouped)), default=0)
    first, dummy = Address(domain, 0, 0, 0), Address(domain, 0, 1, 0)
    return not (first in functions or first in grouped or (dummy in grouped and len(grouped) >= _LIST))
