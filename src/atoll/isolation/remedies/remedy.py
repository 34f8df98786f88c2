"""Something that would change what is so between two functions, or with a guest's memory."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.fabric.answer import Answer
from atoll.fabric.links import across_links
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["Remedy", "beside_links", "closeness"]


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


def beside_links(reach: Reach, source: Address, target: Address) -> Answer:
    """Return what one can do to the other where no link between them is open: over PCIe."""
    if across_links(reach.topology, reach.settings, source, target).answer <= Answer.IOMMU:
        return reach.answer(source, target).answer
    return reach.beside_links(source, target).answer
