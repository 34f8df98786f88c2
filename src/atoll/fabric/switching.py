"""Functions that are switched on: what enabling a device changes of command registers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Unknown, value_of
from atoll.pci.address import Address
from atoll.pci.header import Command

__all__ = ["is_off", "switched_on"]

_ON = Command.MEMORY | Command.MASTER


def switched_on(topology: Topology, settings: Settings, addresses: Iterable[Address]) -> Settings:
    """Return the settings with decoding and bus mastering on, of functions and of all ports above them.

    Enabling a device enables the bridges above it (drivers/pci/pci.c ``pci_enable_bridge``); each decodes I/O requests
    if it has addresses for them (drivers/pci/setup-res.c ``pci_enable_resources``).
    """
    command = dict(settings.command)
    for address in dict.fromkeys(one for a in addresses for one in (a, *topology.up(a))):
        ports = Command.IO if _has_ports(topology, address) else Command(0)
        command[address] = (command.get(address) or Command(0)) | _ON | ports
    return replace(settings, command=command)


def _has_ports(topology: Topology, address: Address) -> bool:
    """Whether a function, or what is below a bridge, has addresses for I/O requests; what was not read counts."""
    function = topology.functions[address]
    bridge = value_of(function.bridge, None)
    forwards = bridge is not None and any(not window.memory for window in bridge.windows)
    return topology.has_ports(function) or forwards or isinstance(function.bridge, Unknown)


def is_off(topology: Topology, settings: Settings, address: Address) -> bool:
    """Whether a function or a port above it is not known to have bus mastering and memory decoding on."""
    way = (address, *topology.up(address))
    return not all(settings.can_master(one) and settings.decodes_memory(one) for one in way)
