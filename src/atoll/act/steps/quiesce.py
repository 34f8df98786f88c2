"""Making a device quiet: nobody has it open, it may not master the bus, nothing of its waits for an answer.

Source: PCI Local Bus Specification 3.0, 6.2.2 (Bus Master enable); PCI Express Base Specification 7.5.3.5
(Transactions Pending).
"""

from __future__ import annotations

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Site, State
from atoll.act.steps.drivers import check_not_open
from atoll.errors import Unreadable
from atoll.pci.address import Address
from atoll.pci.express import read_pending
from atoll.pci.header import Command
from atoll.plan.step import Step

__all__ = ["COMMAND", "PENDING_SECONDS", "Quiesce", "command_word", "master_off"]

COMMAND = 0x04
"""Offset of the command register."""
PENDING_SECONDS = 10.0
"""Completion timeouts are 50 ms unless set otherwise (PCIe 7.5.3.16); Linux waits 0.7 s (``pci_wait_for_pending``)."""


def command_word(machine: Machine, address: Address) -> int:
    """Return the whole command register. Raises Failure where it cannot be read."""
    try:
        return device.config(machine, address).word(COMMAND)
    except Unreadable as error:
        raise Failure(f"command register of {address}: {error.message}") from error


def master_off(machine: Machine, address: Address) -> None:
    """Switch bus mastering off and read it back. Raises Failure where it is on still."""
    word = command_word(machine, address)
    if word & Command.MASTER:
        device.write_word(machine, address, COMMAND, word & ~Command.MASTER)
        if command_word(machine, address) & Command.MASTER:
            raise Failure(f"bus mastering of {address} reads back on")


class Quiesce:
    """Bus mastering off, nothing pending."""

    def before(self, site: Site, step: Step) -> State:
        """No host driver runs it, and nobody has it open."""
        check_not_open(site.machine, step)
        driver = device.driver(site.machine, step.device)
        if driver is not None and "vfio" not in driver and driver != "pci-stub":
            raise Failure(f"{step.device} is bound to {driver}: a running driver would start it again")
        return {"command": command_word(site.machine, step.device)}

    def do(self, site: Site, step: Step, before: State) -> None:
        """Clear Bus Master enable, wait for outstanding completions."""
        master_off(site.machine, step.device)
        if not site.pace.until(lambda: not _pending(site.machine, step.device), seconds=PENDING_SECONDS):
            raise Failure(f"{step.device} still waits for completions after {PENDING_SECONDS:g} s")

    def after(self, site: Site, step: Step, before: State) -> State:
        """The bit reads as cleared."""
        word = command_word(site.machine, step.device)
        if word & Command.MASTER:
            raise Failure(f"bus mastering of {step.device} is on again")
        return {"command": word}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Nothing: its driver switches bus mastering on when it is bound; without one, off is the safe state."""
        return ""


def _pending(machine: Machine, address: Address) -> bool:
    """Whether transactions are pending; a function that has no such bit cannot tell, and has none waited for."""
    try:
        return read_pending(device.config(machine, address))
    except Unreadable:
        return False
