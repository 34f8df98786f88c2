"""``pcie_acs_override=``: the out-of-tree patch that makes kernels report ACS where there is none."""

from __future__ import annotations

from typing import NamedTuple

from atoll.host.command_line import parameters
from atoll.host.model import Function
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = ["AcsOverride", "acs_override", "has_parameter"]


class AcsOverride(NamedTuple):
    """What the parameter asks for."""

    downstream: bool = False
    multifunction: bool = False
    ids: frozenset[tuple[int, int]] = frozenset()
    obeyed: bool = False
    """Whether it is known that the kernel has the patch; else that is open."""

    def __bool__(self) -> bool:
        return self.downstream or self.multifunction or bool(self.ids)

    def covers(self, function: Function, port_type: PortType, multifunction: bool) -> bool:
        """Whether the patch reports a function without ACS capability as isolating.

        Source: ``pcie_acs_overrides()`` of the patch "pci: Enable overrides for missing ACS capabilities"
        (A. Williamson, 2013; not merged). It leaves functions with an ACS capability and conventional ones alone.
        """
        if port_type is PortType.CONVENTIONAL:
            return False
        if (function.vendor, function.device) in self.ids:
            return True
        if port_type in DOWNSTREAM_PORTS:
            return self.downstream
        if port_type in (
            PortType.ENDPOINT,
            PortType.UPSTREAM,
            PortType.LEGACY_ENDPOINT,
            PortType.ROOT_INTEGRATED,
        ):
            return self.multifunction and multifunction
        return False


def acs_override(command_line: str) -> AcsOverride:
    """Read ``pcie_acs_override=downstream,multifunction,id:vvvv:dddd`` from a kernel command line.

    Words that the patch does not know are skipped, as it does.
    """
    downstream = multifunction = False
    ids: set[tuple[int, int]] = set()
    for parameter in parameters(command_line):
        name, _, value = parameter.partition("=")
        if name != "pcie_acs_override":
            continue
        for word in value.split(","):
            if word.startswith("downstream"):
                downstream = True
            elif word.startswith("multifunction"):
                multifunction = True
            elif word.startswith("id:"):
                vendor, _, device = word[3:].replace(";", ":").partition(":")
                try:
                    ids.add((int(vendor, 16), int(device, 16)))
                except ValueError:
                    continue
    return AcsOverride(downstream, multifunction, frozenset(ids))


def has_parameter(command_line: str, name: str) -> bool:
    """Whether a parameter stands on the command line and is not switched off."""
    for parameter in parameters(command_line):
        found, _, value = parameter.partition("=")
        if found == name:
            return value.lower() not in ("0", "n", "no", "off")
    return False
