"""Steps: what a plan consists of. Each is typed, has a precondition, a check and an undo, and can be printed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["Bandwidth", "Plan", "Step", "StepKind", "Unachievable"]


class StepKind(StrEnum):
    """What a step does, in the order in which a plan uses them."""

    UNBIND = "unbind"
    """Set ``driver_override``, then take the driver off."""
    QUIESCE = "quiesce"
    """Nobody holds it, bus mastering off, nothing pending."""
    SET_ACS = "set-acs"
    """Write the ACS control word of a port or function."""
    REMOVE = "remove"
    """Take the function out of the kernel's view, so that it is grouped anew."""
    RESCAN = "rescan"
    """Let the kernel find it again below its parent, and check the new group."""
    BIND = "bind"
    """Give it a driver (``vfio-pci``, or the host's own back)."""
    RESET = "reset"
    """Reset the device by a method: the only way to open links that a mask has cut."""
    LEASE = "lease"
    """Open the device for a holder and keep it open (opening resets it)."""
    CUT_LINKS = "cut-links"
    """Program the control that cuts links at this end."""
    VERIFY = "verify"
    """Read back what the device says now."""
    HAND_OVER = "hand-over"
    """Let the owner drive a held device: memory decoding and bus mastering on."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Fields that a kind does not use are None or empty."""

    id: str
    kind: StepKind
    device: Address
    because: str
    """Why it is taken."""
    precondition: str
    check: str
    undo: str
    cluster: str | None = None
    """The cluster that the device belongs to (``host`` for the unnamed rest)."""
    driver: str | None = None
    """unbind: the driver that goes; bind: the one that comes."""
    override: str | None = None
    """unbind, rescan: what ``driver_override`` is set to; bind of the host's own driver: None clears it."""
    acs_before: AcsFlag | None = None
    acs: AcsFlag | None = None
    """set-acs: the control word now and then."""
    method: str | None = None
    """reset: the method, as in ``reset_method``."""
    holder: str | None = None
    """lease: who holds it; cut-links: through whose lease (None: ``resource0``)."""
    control: str | None = None
    """cut-links, verify: the control's name."""
    links: tuple[int, ...] = ()
    """cut-links: the links to cut now; verify: all that must be cut."""
    mask: int | None = None
    """cut-links: the register value that names ``links``."""
    group: tuple[Address, ...] = ()
    """rescan: the group that is predicted for it."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What a cluster keeps and loses of its links' bandwidth; each link counted once, both directions."""

    cluster: str
    functions: tuple[Address, ...]
    kept_bytes_per_second: int
    cut_bytes_per_second: int


@dataclass(frozen=True, slots=True)
class Unachievable:
    """Something wanted that the plan does not bring about."""

    clusters: tuple[str, ...]
    reason: str
    remedy: str
    devices: tuple[Address, ...] = ()
    unknown: bool = False
    """Facts are missing: it may be achieved, and nothing here can tell."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order, and what they come to."""

    host: str
    spec: str
    """The cluster file's text, so that a plan can be applied and proven by itself."""
    steps: tuple[Step, ...]
    clusters: tuple[Bandwidth, ...]
    unachievable: tuple[Unachievable, ...]
    impossible: tuple[Unachievable, ...] = ()
    """Reasons for which nothing is planned at all."""
    fingerprints: tuple[tuple[Address, str], ...] = ()
    """What each device is known by; checked again before each write."""
