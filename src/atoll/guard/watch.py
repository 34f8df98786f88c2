"""One held device under watch: are its links still cut, and if a reset opened them, cut them again at once.

No event tells of a reset that an owner makes, so registers are read, again and again. Only what the control says has
to read back is read as long as it does. The kernel keeps every access through VFIO waiting while it resets the device
(``memory_lock`` of drivers/vfio/pci/vfio_pci_core.c), so a look that began in between returns when the reset has.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from atoll.controls.link_control import LinkControl, Operation, SetBits
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Host, Register
from atoll.pci.address import Address

__all__ = ["Bars", "Cut", "Sight", "Watch", "elapsed_ns", "slept_ns"]

_ALL_ONES = 0xFFFFFFFF
_TRIES = 8
"""How often one look cuts, where its owner resets the device again meanwhile."""
_SHORTEST_PATIENCE, _LONGEST_PATIENCE = 0.001, 1.0
"""Seconds for which an owner may keep decoding off before it is switched on for a look, and what that grows to for
one that does so again and again."""


def elapsed_ns() -> int:
    """Return nanoseconds since boot, those too for which the host slept (CLOCK_BOOTTIME, clock_gettime(2)): what was
    seen of a device before that is a memory."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def slept_ns() -> int:
    """Return for how many nanoseconds the host slept since boot."""
    return elapsed_ns() - time.monotonic_ns()


class Bars(Protocol):
    """Access to a held device, as VFIO gives it."""

    def read32(self, bar: int, offset: int) -> int:
        """Load 32 bits. OSError(EIO) while the device does not decode or sleeps."""

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits."""

    def decodes(self) -> bool:
        """Whether its owner has memory decoding on."""

    def decode(self) -> None:
        """Switch memory decoding on."""


class Sight(StrEnum):
    """What the last look showed."""

    CUT = "cut"
    """All links that are to be cut read as cut."""
    OPEN = "open"
    """Some read as open, and could not be cut again."""
    UNKNOWN = "unknown"
    """The device did not answer: in reset, asleep, gone, or its owner has decoding off."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Links of a device that were found open and are cut again. Times are nanoseconds (``elapsed_ns``)."""

    device: Address
    links: tuple[int, ...]
    """The links that read as open."""
    began: int
    """When the look began: the kernel may have kept it waiting for a reset to end."""
    seen: int
    """When the links were seen to be open."""
    cut: int
    """When the last store that cuts was done."""
    number: int
    """The how-manieth time it is."""


@dataclass(slots=True)
class Watch:
    """A device that is to stay cut."""

    device: Address
    control: LinkControl
    links: frozenset[int]
    bars: Bars
    clock: Callable[[], int] = elapsed_ns
    sight: Sight = Sight.UNKNOWN
    reason: str = "not looked at yet"
    """Why it is not seen as cut."""
    cuts: int = 0
    """How often it had to be cut again."""
    looked: int = 0
    """When it was seen last, cut or open."""
    _values: dict[Register, int] = field(default_factory=dict)
    _fresh: dict[Register, int] = field(default_factory=dict)
    """What was read last, by the look of now."""
    _programs: dict[frozenset[int], tuple[Operation, ...]] = field(default_factory=dict)
    """How to cut, by the links: nothing is computed while links are open."""
    _expected: tuple[Register, ...] = ()
    """What is read as long as it reads as cut."""
    _blind: int | None = None
    """Since when its owner has decoding off."""
    _patience: float = _SHORTEST_PATIENCE

    def __post_init__(self) -> None:
        self._expected = tuple(expected.register for expected in self.control.check(self.links))
        self._programs[self.links] = self.control.program(self.links)

    def look(self) -> Cut | None:
        """Look, and cut again what was opened; return that it was. Never raises: what fails shows in ``sight``."""
        began = self.clock()
        try:
            found = self._look(began)
        except OSError as error:
            self._not_seen(error)
            return None
        self._blind = None
        self._patience = max(self._patience * 0.999, _SHORTEST_PATIENCE)
        return found

    def _look(self, began: int) -> Cut | None:
        state = self._state(self._expected if self._values else self.control.registers)
        seen = self.clock()
        if isinstance(state, Known) and self.links <= state.value:
            self.sight, self.reason, self.looked = Sight.CUT, "", seen
            return None
        if isinstance(state, Unknown):
            # A look at all of them, next time: what was known of the chip may not hold any more.
            self._values.clear()
            self.sight, self.reason = Sight.UNKNOWN, state.reason
            return None
        opened = tuple(sorted(self.links - state.value))
        self.sight, self.reason = Sight.OPEN, f"links {', '.join(map(str, opened))} read as open"
        last = seen
        for _ in range(_TRIES):
            self._program(state.value)
            last = self.clock()
            again = self._state(self.control.registers)
            if isinstance(again, Unknown):
                self._values.clear()
                self.reason = f"cut again, and then: {again.reason}"
                break
            if self.links <= again.value:
                self.cuts += 1
                self.sight, self.reason, self.looked = Sight.CUT, "", self.clock()
                return Cut(self.device, opened, began, seen, last, self.cuts)
            state = again
        return None

    @property
    def registers(self) -> dict[Register, int]:
        """What was read of the device, where it is seen."""
        return dict(self._values) if self.sight is Sight.CUT else {}

    def _state(self, registers: tuple[Register, ...]) -> Fact[frozenset[int]]:
        """Return the links that are cut, with the values of before for registers that are not read anew."""
        self._fresh = {}
        for register in registers:
            value = self.bars.read32(register.bar, register.offset)
            if value == _ALL_ONES:
                return Unknown("it reads as all ones: it is in reset, or gone")
            self._values[register] = self._fresh[register] = value
        known = {(self.device, register): Known(value, "read now") for register, value in self._values.items()}
        return self.control.state(Host("held", {}, Known({}), registers=known), self.device)

    def _program(self, cut: frozenset[int]) -> None:
        """Cut all that is to be cut, what is cut still included: a reset may have taken what lets a cut take effect."""
        wanted = self.links | cut
        if wanted not in self._programs:
            self._programs[wanted] = self.control.program(wanted)
        for operation in self._programs[wanted]:
            register = operation.register
            value = operation.bits if isinstance(operation, SetBits) else operation.value
            if isinstance(operation, SetBits):
                # What this look has read of it just now need not be read again.
                before = self._fresh.get(register)
                value |= self.bars.read32(register.bar, register.offset) if before is None else before
            self.bars.write32(register.bar, register.offset, value)

    def _not_seen(self, error: OSError) -> None:
        self._values.clear()
        self.sight, self.reason = Sight.UNKNOWN, f"it does not answer: {error.strerror or error}"
        try:
            if error.errno != errno.EIO or self.bars.decodes():
                self._blind = None
                return
            now = self.clock()
            self._blind = now if self._blind is None else self._blind
            self.reason = "its owner has memory decoding off"
            if now - self._blind >= self._patience * 1e9:
                # It stays on: switching it off again could undo what the owner writes at the same moment.
                self.bars.decode()
                self._blind = None
                self._patience = min(self._patience * 2, _LONGEST_PATIENCE)
        except OSError as gone:
            self.reason = f"it does not answer: {gone.strerror or gone}"
