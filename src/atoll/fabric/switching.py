"""Functions that are switched on: what enabling a device changes of command registers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.pci.address import Address
from atoll.pci.header import Command

__all__ = ["is_off", "switched_on"]

_ON = Command.MEMORY | Command.MASTER


def switched_on(topology: Topology, settings: Settings, addresses: Iterable[Address]) -> Settings:
    """Return the settings with memory decoding and bus mastering on, of functions and of all ports above them.

    Enabling a device enables the bridges above it (drivers/pci/pci.c ``pci_enable_bridge``).
    """
    command = dict(settings.command)
    for address in dict.fromkeys(one for a in addresses for one in (a, *topology.up(a))):
        command[address] = (command.get(address) or Command(0)) | _ON
    return replace(settings, command=command)


def is_off(topology: Topology, settings: Settings, address: Address) -> bool:
    """Whether a function or a port above it is not known to have bus mastering and memory decoding on."""
    way = (address, *topology.up(address))
    return not all(settings.can_master(one) and settings.decodes_memory(one) for one in way)
