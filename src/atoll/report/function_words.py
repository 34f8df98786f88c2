"""One function of a host in the words for people: what it is, its group, its driver."""

from __future__ import annotations

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Host, RootRouting
from atoll.pci.header import PortType

__all__ = ["driver_words", "group_words", "isolating_root", "type_words"]

_WORDS = {
    PortType.ENDPOINT: "endpoint",
    PortType.LEGACY_ENDPOINT: "legacy endpoint",
    PortType.ROOT_PORT: "root port",
    PortType.UPSTREAM: "switch, upstream port",
    PortType.DOWNSTREAM: "switch, downstream port",
    PortType.PCIE_TO_PCI: "PCIe-to-PCI bridge",
    PortType.PCI_TO_PCIE: "PCI-to-PCIe bridge",
    PortType.ROOT_INTEGRATED: "integrated endpoint",
    PortType.EVENT_COLLECTOR: "event collector",
    PortType.CONVENTIONAL: "conventional PCI",
}


def isolating_root(host: Host, function: Function) -> bool:
    """Whether the root complex above is known to route nothing between root ports without translation."""
    routing = value_of(host.root_routing.get(function.host_bridge, Unknown("not told")), None)
    return routing in (RootRouting.TRANSLATED, RootRouting.NONE)


def type_words(function: Function) -> str:
    """Return what a function is on its bus, in words; empty where that is unknown."""
    if not isinstance(function.port_type, Known):
        return "bridge" if function.is_port else ""
    if function.is_port and function.port_type.value is PortType.CONVENTIONAL:
        return "PCI bridge"
    return _WORDS[function.port_type.value]


def group_words(function: Function) -> str:
    """Return the number of a function's group, ``-`` where it has none, ``?`` where that is unknown."""
    if isinstance(function.group, Known):
        return "-" if function.group.value is None else str(function.group.value)
    return "?"


def driver_words(function: Function) -> str:
    """Return a function's driver, ``-`` where none is bound, ``?`` where that is unknown."""
    words = (function.driver.value or "-") if isinstance(function.driver, Known) else "?"
    override = value_of(function.driver_override, None)
    return f"{words} (override {override})" if override and override != words else words
