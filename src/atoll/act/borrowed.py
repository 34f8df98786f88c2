"""Settings that are changed for a moment and put back at once: what a death in that moment leaves is put back here.

They are the host's own: whether drivers are probed by themselves, the order of reset methods, runtime power management,
and memory decoding of a device that nobody drives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from atoll.act import device
from atoll.act.entries import Write
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.steps.quiesce import COMMAND, command_word
from atoll.host.place import address_of
from atoll.pci.address import Address
from atoll.pci.header import Command

__all__ = ["PUT_BACK", "Borrowed", "borrowed"]

PUT_BACK = "to put back what was changed for a moment"
"""The reason of writes that do so after a death: what they find is no setting of the host's, what they write is."""
_DEVICES = "sys/bus/pci/devices/"
_POWER = "/power/control"
_ATTRIBUTES = ("/drivers_autoprobe", "/reset_method", _POWER)


@dataclass(frozen=True, slots=True)
class Borrowed:
    """One such setting, and what stood there before."""

    path: str
    was: bytes

    @property
    def device(self) -> Address | None:
        """The device that it is about; None for a setting of the bus."""
        below = self.path.removeprefix(_DEVICES)
        return address_of(below.partition("/")[0]) if below != self.path else None

    def put_back(self, machine: Machine) -> str:
        """Put it back and say so; nothing where it is as it was. Raises Failure where it cannot be put back."""
        if self.path.endswith("/config"):
            return _decoding_off(machine, self.path, self.was)
        try:
            now = machine.read(self.path)
        except OSError:
            # The device was removed, and what is found again has its own settings.
            return ""
        if now.split() == self.was.split():
            return ""
        text = self.was.decode("ascii", "replace").strip()
        device.write(machine, self.path, text)
        return f"{self.path} is {text} again"


def borrowed(writes: Iterable[Write], lasting: Collection[int] = ()) -> tuple[Borrowed, ...]:
    """Return the settings that the writes of dead runs, oldest first, may have left changed.

    What was put back counts no more: since then it may have been changed by others, as ``power/control`` is when
    vfio-pci is bound and unbound (``vfio_pci_core_register_device``). Of a recovering that died only the writes that
    put back may be left, where it had ended the run that had borrowed. Of entries whose changes are ``lasting`` (ports
    that are kept awake, with their ACS) nothing is borrowed: they are undone, or not, as a whole. Nor does who lets a
    device sleep, as a release does with such ports, borrow anything: to borrow is to keep it awake for a moment.
    """
    found: dict[str, bytes] = {}
    for write in writes:
        command = write.target.endswith("/config") and write.place == COMMAND
        attribute = write.target.endswith(_ATTRIBUTES)
        if write.was is None or write.entry in lasting or not (command or attribute):
            continue
        if write.target not in found and write.reason != PUT_BACK and _lets_sleep(write):
            continue
        was = found.setdefault(write.target, write.value if write.reason == PUT_BACK else write.was)
        if attribute and write.done and write.value.split() == was.split():
            del found[write.target]
    return tuple(Borrowed(path, was) for path, was in found.items())


def _lets_sleep(write: Write) -> bool:
    return write.target.endswith(_POWER) and write.value.split() == [b"auto"]


def _decoding_off(machine: Machine, path: str, was: bytes) -> str:
    """Memory decoding as it was, where neither a driver nor a process has the device."""
    address = address_of(path.split("/")[-2])
    if address is None or Command.MEMORY & int.from_bytes(was, "little") or not device.present(machine, address):
        return ""
    if device.driver(machine, address) is not None or device.holders(machine, address):
        return ""
    word = command_word(machine, address)
    if not word & Command.MEMORY:
        return ""
    device.write_word(machine, address, COMMAND, word & ~Command.MEMORY)
    if command_word(machine, address) & Command.MEMORY:
        raise Failure(f"memory decoding of {address} reads back on")
    return f"memory decoding of {address} is off again"
