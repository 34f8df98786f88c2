"""What a function is set to that no step changes and a reset loses: noted before, held against what stands after.

vfio-pci resets a function whenever it is opened or closed. What the kernel brings back then is its policy where ACS is
concerned (``pci_restore_state`` calls ``pci_enable_acs``), and nothing of an egress control vector or of Multicast.
Sources: PCI Express Base Specification 6.12, 7.7.11 (ACS), 7.9.11 (Multicast), 10.5.1 (ATS); the registers are called
as setpci(8) calls them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Value
from atoll.errors import Unreadable
from atoll.host.attribute import reason
from atoll.pci.acs import read_acs
from atoll.pci.address import Address
from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace
from atoll.pci.header import Command

__all__ = ["Difference", "changed", "differences", "put_back", "settings_of"]

_COMMAND, _ATS = "COMMAND", "ECAP_ATS+6.w"
_ENABLING = int(Command.IO | Command.MEMORY | Command.MASTER)


class _Register(NamedTuple):
    """One register: its words to people, its name to setpci(8), and where it stands."""

    words: str
    name: str
    offset: int
    size: int
    """Bytes: 2 or 4."""
    writable: bool = True
    """Whether it is nobody else's to write."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One register that stands otherwise than it did before atoll touched its function."""

    device: Address
    setting: str
    was: int
    now: int
    by_hand: str
    """What to do to have it as before."""
    why: str = ""
    """Why it was not written back."""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"{self.setting} of {self.device} was {self.was:#x} and is {self.now:#x}{why}; {self.by_hand}"


def settings_of(machine: Machine, address: Address) -> Value:
    """Return what a function is set to, for the journal: ``setpci``'s words; None where that cannot be read."""
    try:
        space = device.config(machine, address)
        return [_word(register, _read(space, register)) for register in _registers(machine, address, space)]
    except (Unreadable, Failure):
        return None


def put_back(machine: Machine, address: Address, was: Value, *, opens: bool) -> str:
    """Write back what stands otherwise than before and may be written; return why that failed, empty where it did not.

    ``opens``: nobody relies on what stands now; else only that is written which lets a function do less.
    """
    path = f"{device.folder(address)}/config"
    try:
        for register, before, now in _changed(machine, address, was):
            value = _to_write(register, before, now, opens=opens)
            if value != now:
                machine.write(path, value.to_bytes(register.size, "little"), offset=register.offset)
    except OSError as error:
        return f"writing it back failed: {reason(error, path)}"
    except Failure as error:
        return f"writing it back failed: {error.message}"
    return ""


def changed(machine: Machine, address: Address, was: Value, *, opens: bool) -> tuple[str, ...]:
    """Return, in words, what ``put_back`` would write."""
    found = (one for one in _changed(machine, address, was) if _to_write(*one, opens=opens) != one[2])
    return tuple(register.words for register, _, _ in found)


def _to_write(register: _Register, before: int, now: int, *, opens: bool) -> int:
    """Return what may be written: of a function that nobody drives, nothing that lets it act."""
    if register.name == _COMMAND:
        return now & (before | ~_ENABLING)
    return before if register.writable and opens else now


def differences(machine: Machine, address: Address, was: Value, why: str = "") -> Iterator[Difference]:
    """Yield what stands otherwise than before; ``why`` it was not written back, where it might have been."""
    for register, before, now in _changed(machine, address, was):
        by_hand = f"to put it back: setpci -s {address} {_word(register, before)}"
        if register.name == _ATS:
            by_hand = "the kernel sets it when a driver is bound: a restart of the host brings it back"
        asked = _to_write(register, before, now, opens=True) != now
        yield Difference(address, register.words, before, now, by_hand, why if asked else "")


def _changed(machine: Machine, address: Address, was: Value) -> list[tuple[_Register, int, int]]:
    """Return the registers that stand otherwise than before, with what they were and are; of one that cannot be read
    any more, or was not noted, nothing."""
    if not isinstance(was, list):
        return []
    noted = dict(str(word).partition("=")[::2] for word in was)
    try:
        space = device.config(machine, address)
        found = []
        for register in _registers(machine, address, space):
            now, before = _read(space, register), noted.get(register.name, "")
            if before and _differs(register, int(before, 16), now):
                found.append((register, int(before, 16), now))
        return found
    except (Unreadable, Failure, ValueError):
        return []


def _differs(register: _Register, before: int, now: int) -> bool:
    """Whether one stands otherwise; of a function that nobody drives, off is what it is to be: drivers switch on what
    they need."""
    return bool(now & ~before & _ENABLING) if register.name == _COMMAND else before != now


def _registers(machine: Machine, address: Address, space: ConfigSpace) -> Sequence[_Register]:
    function = device.read_function(machine, address)
    found: list[_Register] = []
    driver = device.driver(machine, address)
    if not function.is_port and (driver is None or "vfio" in driver):
        # A driver of the host's sets it as it likes, and the kernel that of a port.
        found.append(_Register("the command register", _COMMAND, 0x04, 2))
    acs = read_acs(space, function.vendor, function.device)
    if acs is not None:
        at, wide = acs.control_offset - acs.offset, acs.control_offset - acs.offset == 8
        name = f"ECAP_ACS+{at:x}.{'l' if wide else 'w'}"
        found.append(_Register("ACS control", name, acs.control_offset, 4 if wide else 2))
        for place in range((acs.egress_bits + 31) // 32):
            at = 8 + 4 * place
            found.append(_Register("the ACS egress control vector", f"ECAP_ACS+{at:x}.l", acs.offset + at, 4))
    at = space.find_extended(ExtendedId.MULTICAST) or 0
    if at:
        for place, words in _MULTICAST.items():
            if words != _OVERLAY or function.is_port:
                found.append(_Register(words, f"ECAP_MCAST+{place:x}.l", at + place, 4))
        # It is switched on when all else of it stands.
        found.append(_Register("Multicast control", "ECAP_MCAST+6.w", at + 6, 2))
    at = space.find_extended(ExtendedId.ATS) or 0
    if at:
        found.append(_Register("ATS control", _ATS, at + 6, 2, writable=False))
    return found


_OVERLAY = "the Multicast overlay BAR"
"""Only ports have it (7.9.11.9)."""
_MULTICAST = {
    0x08: "the Multicast base address",
    0x0C: "the Multicast base address (upper half)",
    0x10: "the Multicast groups received",
    0x14: "the Multicast groups received (upper half)",
    0x18: "the Multicast groups blocked",
    0x1C: "the Multicast groups blocked (upper half)",
    0x20: "the Multicast groups blocked untranslated",
    0x24: "the Multicast groups blocked untranslated (upper half)",
    0x28: _OVERLAY,
    0x2C: _OVERLAY,
}


def _read(space: ConfigSpace, register: _Register) -> int:
    return space.dword(register.offset) if register.size == 4 else space.word(register.offset)


def _word(register: _Register, value: int) -> str:
    return f"{register.name}={value:0{2 * register.size}x}"
