"""What a prediction of IOMMU groups says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.pci.address import Address

__all__ = ["Prediction"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Groups as the kernel would form them, and what they rest on. All in address order."""

    groups: tuple[tuple[Address, ...], ...]
    """Each group's members; only functions behind an IOMMU are in any."""
    undetermined: tuple[tuple[Address, str], ...] = ()
    """Functions whose grouping rests on facts that the record does not hold, with what is missing.

    They stand in ``groups`` where the best guess puts them; a function of which the record shows nothing but its
    group stands in none.
    """
    company: Mapping[Address, str] = field(default_factory=dict)
    """Functions that are placed for sure, but whose groups undetermined ones may come into, or not; with the reason.
    A group of which no member is here nor undetermined is certain as a whole."""
    reasons: Mapping[Address, tuple[str, ...]] = field(default_factory=dict)
    """Why a function joined a group that others had founded; founders have no entry."""
    override: bool = False
    """Whether a command line parameter of an out-of-tree patch shapes the groups (``pcie_acs_override=``,
    ``isolate_nvlink``). A kernel without the patch ignores it."""

    def open_about(self, address: Address) -> str:
        """Return what a function's whole group rests on; empty where the group is certain."""
        return dict(self.undetermined).get(address, "") or self.company.get(address, "")

    def index(self) -> dict[Address, int]:
        """Return for each grouped function the position of its group in ``groups``."""
        return {address: place for place, members in enumerate(self.groups) for address in members}
