"""Events: what happens to a host without our doing, who triggers it, and which functions and ports it hits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atoll.events.reset import ResetKind
from atoll.events.trigger import Trigger
from atoll.pci.address import Address

__all__ = ["Event", "EventKind"]


class EventKind(StrEnum):
    """What happens."""

    FUNCTION_RESET = "function-reset"
    """``reset`` in sysfs: the function's first method that works."""
    SUBORDINATE_RESET = "subordinate-reset"
    """``reset_subordinate`` of a bridge, or its secondary bus reset: everything below."""
    GUEST_RESET = "guest-reset"
    """VFIO_DEVICE_RESET, a guest writing Initiate-FLR, a driver in the guest."""
    GUEST_REBOOT = "guest-reboot"
    """The VMM resets every device of the guest."""
    VFIO_OPEN = "vfio-open"
    """vfio-pci resets the function when it is opened."""
    VFIO_CLOSE = "vfio-close"
    """vfio-pci resets the function, or its bus, when the last descriptor is closed."""
    PORT_REBIND = "port-rebind"
    """A driver is bound to a port: newer kernels then apply their ACS policy again."""
    DRIVER_BIND = "driver-bind"
    """A driver of the host takes one of its own functions, and switches it on."""
    REMOVE_RESCAN = "remove-rescan"
    """Soft removal and discovery: no reset, but ports get the kernel's ACS policy, functions the host's drivers."""
    HOT_PLUG = "hot-plug"
    """A device is pulled and comes back."""
    ERROR_RECOVERY = "error-recovery"
    """AER, DPC or EEH resets the link of a port."""
    SUSPEND = "suspend"
    POWER_LOSS = "power-loss"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that can happen."""

    kind: EventKind
    trigger: Trigger
    scope: tuple[Address, ...]
    """The functions and ports that it hits, in address order."""
    at: Address | None
    """Where it is triggered; None for the whole machine."""
    resets: ResetKind | None
    """What it does to the devices in scope; None: no reset."""

    @property
    def name(self) -> str:
        """Kind and place, for people."""
        return f"{self.kind} of {self.at}" if self.at is not None else str(self.kind)
