"""Letting the owner of a held device drive it: memory decoding and bus mastering on.

Source: PCI Local Bus Specification 3.0, 6.2.2. A guest's driver sets both bits in the same way.
"""

from __future__ import annotations

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.site import Site, State
from atoll.act.steps.quiesce import COMMAND, command_word
from atoll.pci.header import Command
from atoll.plan.step import Step

__all__ = ["HandOver"]

_RUNNING = Command.MEMORY | Command.MASTER


class HandOver:
    """Switch a held device on."""

    def before(self, site: Site, step: Step) -> State:
        """Its cluster's holder has it open."""
        if not device.is_open(site.machine, step.device, step.cluster or ""):
            raise Failure(f"{step.device} is not open for {step.cluster}: there is nobody to hand it over to")
        return {"command": command_word(site.machine, step.device)}

    def do(self, site: Site, step: Step, before: State) -> None:
        """Set both bits."""
        word = command_word(site.machine, step.device)
        if word & _RUNNING != _RUNNING:
            device.write_word(site.machine, step.device, COMMAND, word | _RUNNING)

    def after(self, site: Site, step: Step, before: State) -> State:
        """Both read as set."""
        word = command_word(site.machine, step.device)
        if word & _RUNNING != _RUNNING:
            raise Failure(f"command register of {step.device} reads {word:#06x}")
        return {"command": word}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """The command register as before."""
        word = before["command"]
        assert isinstance(word, int)
        if command_word(site.machine, step.device) != word:
            device.write_word(site.machine, step.device, COMMAND, word)
        return ""
