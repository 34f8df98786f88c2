"""Something that would change what is so between two functions, or with a guest's memory."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["Remedy", "closeness"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """Something that would change it, and what it is worth."""

    what: str
    how: str
    """Ready to use: a register value, a kernel parameter, a line of a cluster file, an option of QEMU's; empty where
    there is nothing."""
    effect: str = ""
    """What comes of it; empty where ``what`` says all."""


def closeness(reach: Reach, one: Address, other: Address) -> int:
    """Return how much joins two functions, to compare two settings: the sum of the answers both ways."""
    findings = (
        reach.answer(one, other),
        reach.answer(other, one),
        reach.identity(one, other),
        reach.identity(other, one),
    )
    return sum(finding.answer for finding in findings)
