"""What a kernel's log or a virtual machine monitor complained of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atoll.pci.address import Address

__all__ = ["Complaint", "ComplaintKind"]


class ComplaintKind(StrEnum):
    """What went wrong."""

    BAR_TAKEN = "bar-taken"
    """A BAR's memory was not to be had: something of the host's has it."""
    NOT_BACK = "not-back"
    """It did not answer after a reset."""
    SILENT = "silent"
    """It does not answer: its configuration space reads all ones."""
    FAULT = "fault"
    """An IOMMU let a request of it not pass."""
    INTERRUPT = "interrupt"
    """Interrupt remapping let an interrupt of it not pass."""
    NO_GROUP = "no-group"
    """VFIO did not take it: it has no IOMMU group."""
    RESET_SPREADS = "reset-spreads"
    """It was not reset: that would reset what is in another group too."""
    NO_RESET = "no-reset"
    """It was not reset: there is no way to."""
    NOT_VIABLE = "not-viable"
    """VFIO did not give its group away: drivers of the host's have functions of it."""
    BUSY = "busy"
    """Its group is open elsewhere."""
    NO_NODE = "no-node"
    """Its group has no file in ``/dev/vfio``: no driver of VFIO's has it."""
    NOT_PERMITTED = "not-permitted"
    """The monitor may not open its group."""
    MAP_REFUSED = "map-refused"
    """VFIO did not map memory for it."""
    NO_DOMAIN = "no-domain"
    """VFIO did not get a domain of the IOMMU for its group."""
    NOT_OPENED = "not-opened"
    """VFIO had its group and did not open it."""
    OFF = "iommu-off"
    """The kernel uses no IOMMU."""
    NOT_DESCRIBED = "no-iommu-table"
    """Firmware describes no IOMMU."""
    BROKEN_TABLE = "iommu-table-broken"
    """Firmware describes an IOMMU where there is none."""
    STALLED = "iommu-stalled"
    """An IOMMU did not carry out what it was told to."""
    NO_VIRTUAL = "no-virtual"
    """It did not get virtual functions: addresses or bus numbers for them are not there."""
    NO_IOAPIC = "no-ioapic"
    """Firmware's table for AMD's IOMMUs leaves out an interrupt controller."""
    ERRATUM = "remapping-erratum"
    """The chipset is one whose interrupt remapping the kernel leaves off."""
    NOT_INVALIDATED = "not-invalidated"
    """It did not confirm that it forgot translations (ATS)."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """Complaints of one kind about one function."""

    kind: ComplaintKind
    function: Address | None
    """None where the message does not name one."""
    details: tuple[str, ...] = ()
    """What the first of these messages say besides: an address, a way of reset, a number of a group, an error."""
