"""Access to a device's BARs: through its holder's lease, or through ``resource0``.

Source: drivers/pci/pci-sysfs.c: mapping ``resource0`` needs memory decoding and D0; it resets nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.machine import Lease, Machine
from atoll.act.pace import Pace
from atoll.act.steps.put_back import put_back
from atoll.act.steps.quiesce import COMMAND, command_word
from atoll.errors import Unreadable
from atoll.host.attribute import text
from atoll.host.fact import value_of
from atoll.pci.address import Address
from atoll.pci.capability import CapabilityId
from atoll.pci.header import Command

__all__ = ["access"]

_POWER_STATE = 0x3
"""Bits 1:0 of the power management control word at +4: 0 is D0 (PCI Power Management 1.2, 3.2.4)."""
_D3HOT = 3
_NO_SOFT_RESET = 1 << 3
"""In the same word: what a function is set to, its BARs among it, outlasts the way from D3hot to D0 (5.4.1)."""
_WAKING_SECONDS = 0.01
"""From D3hot to D0 a function need not answer for so long (5.6.1; ``PCI_PM_D3HOT_WAIT``, drivers/pci/pci.h)."""


@contextmanager
def access(machine: Machine, address: Address, holder: str | None) -> Iterator[Lease]:
    """Give access to BARs for a while. A holder's lease stays open; what ``resource0`` needed is put back.

    Raises Failure where there is no access.
    """
    if holder is not None:
        try:
            lease = machine.lease_vfio(address, holder=holder)
        except OSError as error:
            raise Failure(f"{address} for {holder}: {error.strerror or error}") from error
        with _decoding(machine, address):
            yield lease
        return
    with _awake(machine, address), _decoding(machine, address):
        try:
            lease = machine.lease_resource(address)
        except OSError as error:
            raise Failure(f"resource0 of {address}: {error.strerror or error}") from error
        try:
            yield lease
        finally:
            lease.close()


@contextmanager
def _decoding(machine: Machine, address: Address) -> Iterator[None]:
    """Memory decoding on, for as long as it takes."""
    word = command_word(machine, address)
    if word & Command.MEMORY:
        yield
        return
    device.write_word(machine, address, COMMAND, word | Command.MEMORY)
    with put_back(lambda: device.write_word(machine, address, COMMAND, word)):
        yield


@contextmanager
def _awake(machine: Machine, address: Address) -> Iterator[None]:
    """D0. Runtime power management is kept off it meanwhile and puts it back to sleep by itself."""
    control = f"{device.folder(address)}/power/control"
    managed = value_of(text(machine, control), "") == "auto"
    if managed:
        device.write(machine, control, "on")
    with put_back(lambda: device.write(machine, control, "auto")) if managed else nullcontext():
        space = device.config(machine, address)
        try:
            at = space.find(CapabilityId.POWER)
            word = 0 if at is None else space.word(at + 4)
        except Unreadable as error:
            raise Failure(f"power state of {address}: {error.message}") from error
        if at is not None and word & _POWER_STATE:
            if word & _POWER_STATE == _D3HOT and not word & _NO_SOFT_RESET:
                # With its BARs lost it would answer elsewhere, or not at all; the kernel saves them where it wakes one.
                told = f"{address} is in D3hot, and the kernel does not wake it: waking up resets it"
                raise Failure(told, hint="bind a driver, which wakes it: vfio-pci, say")
            device.write_word(machine, address, at + 4, word & ~_POWER_STATE)
            Pace().wait(_WAKING_SECONDS)
        yield
