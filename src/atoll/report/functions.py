"""One function of a host: its fields for programs, its words for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from atoll.controls.registry import link_control
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import EndKind, Function, Host, Link, LinkEnd, LinkKind, RootRouting
from atoll.pci.acs import Acs
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.report.quantity import hexadecimal

__all__ = [
    "FunctionLink",
    "driver_words",
    "function_document",
    "group_words",
    "isolating_root",
    "links_by_function",
    "type_words",
]

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


@dataclass(frozen=True, slots=True)
class FunctionLink:
    """A link as seen from one of its ends."""

    kind: LinkKind
    near: LinkEnd
    far: LinkEnd
    bytes_per_second: int | None
    cut: bool | None
    """Whether this end is cut; None where that is unknown."""
    source: str

    @property
    def goes_to(self) -> str:
        """What is at the other end, in words."""
        if self.far.kind is EndKind.FUNCTION:
            return str(self.far.function) if self.far.function else self.far.name or "some function"
        words = {
            EndKind.CPU: "the CPU",
            EndKind.SWITCH: "a switch",
            EndKind.OUTSIDE: "outside this host",
            EndKind.UNKNOWN: "unknown",
        }[self.far.kind]
        return f"{words} ({self.far.name})" if self.far.name else words


def links_by_function(host: Host) -> dict[Address, list[FunctionLink]]:
    """Return each function's links in the order of their numbers, those without one last."""
    cut: dict[Address, Fact[frozenset[int]]] = {}
    for address, function in host.functions.items():
        control = link_control(function)
        if control is not None:
            cut[address] = control.state(host, address)

    def ends(link: Link) -> Iterator[tuple[LinkEnd, LinkEnd]]:
        yield link.a, link.b
        yield link.b, link.a

    found: dict[Address, list[FunctionLink]] = {}
    for link in host.links:
        for near, far in ends(link):
            if near.kind is not EndKind.FUNCTION or near.function is None:
                continue
            cuts = cut.get(near.function, Unknown("no control reads it"))
            state = near.number in cuts.value if isinstance(cuts, Known) and near.number is not None else None
            found.setdefault(near.function, []).append(
                FunctionLink(link.kind, near, far, link.bytes_per_second, state, link.source)
            )
    for links in found.values():
        links.sort(key=lambda link: (link.near.number is None, link.near.number or 0, link.far.function or ()))
    return found


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


def function_document(function: Function, links: list[FunctionLink], *, links_told: bool) -> dict[str, Any]:
    """Return a function as programs get it. A field whose fact is unknown is null, and ``unknown`` says why."""
    unknown: dict[str, str] = {}

    def fact(name: str, value: Fact[Any]) -> Any:
        if isinstance(value, Known):
            return value.value
        unknown[name] = value.reason
        return None

    port_type = fact("type", function.port_type)
    command = fact("command", function.command)
    acs = fact("acs", function.acs)
    ats = fact("ats", function.ats)
    sriov = fact("sriov", function.sriov)
    multicast = fact("multicast", function.multicast)
    bridge = fact("bridge", function.bridge)
    subsystem = fact("subsystem", function.subsystem)
    bars = fact("bars", function.bars)
    fields = {
        "address": str(function.address),
        "vendor": function.vendor,
        "device": function.device,
        "class": function.class_code,
        "type": None if port_type is None else port_type.label,
        "port": function.is_port,
        "group": fact("group", function.group),
        "driver": fact("driver", function.driver),
        "links": [_link_document(link) for link in links],
        "links_told": links_told,
        "parent": None if function.parent is None else str(function.parent),
        "host_bridge": function.host_bridge,
        "revision": fact("revision", function.revision),
        "subsystem": None if subsystem is None else {"vendor": subsystem[0], "device": subsystem[1]},
        "driver_override": fact("driver_override", function.driver_override),
        "command": None if command is None else hexadecimal(int(command)),
        "acs": None if acs is None else _acs_document(acs),
        "ats": None if ats is None else {"enabled": ats.enabled},
        "pasid": fact("pasid", function.pasid),
        "cxl_cache": fact("cxl_cache", function.cxl_cache),
        "multicast": None if multicast is None else {"enabled": multicast.enabled},
        "sriov": None if sriov is None else {"total": sriov.total, "enabled": sriov.enabled},
        "flr": fact("flr", function.flr),
        "reset_methods": fact("reset_methods", function.reset_methods),
        "power_state": fact("power_state", function.power_state),
        "numa_node": fact("numa_node", function.numa_node),
        "iommu": fact("iommu", function.iommu),
        "bridge": None if bridge is None else {"secondary": bridge.secondary, "subordinate": bridge.subordinate},
        "bars": None
        if bars is None
        else [
            {"index": bar.index, "start": hexadecimal(bar.start), "size": bar.size, "memory": bar.memory}
            for bar in bars
        ],
        "physical_function": None if function.physical_function is None else str(function.physical_function),
        "virtual_functions": [str(address) for address in function.virtual_functions],
        "serial": fact("serial", function.serial),
    }
    return {**fields, "unknown": unknown}


def _link_document(link: FunctionLink) -> dict[str, Any]:
    return {
        "number": link.near.number,
        "peer": None if link.far.function is None else str(link.far.function),
        "peer_number": link.far.number,
        "bytes_per_second": link.bytes_per_second,
        "cut": link.cut,
        "kind": link.kind.value,
        "peer_kind": link.far.kind.value,
        "peer_name": link.far.name or None,
        "source": link.source,
    }


def _acs_document(acs: Acs) -> dict[str, Any]:
    return {
        "capability": hexadecimal(int(acs.capability), 4),
        "control": hexadecimal(int(acs.control), 4),
        "flags": acs.control.lspci,
        "egress_vector": hexadecimal(acs.egress_vector),
    }


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
