"""One function of a host as programs get it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atoll.host.fact import Fact, Unknown
from atoll.host.model import Function
from atoll.pci.acs import Acs
from atoll.pci.address import Address
from atoll.pci.bar import Bar
from atoll.pci.bridge import Bridge
from atoll.report.function_links import FunctionLink, link_document
from atoll.report.quantity import hexadecimal

__all__ = ["function_document"]


def function_document(function: Function, links: list[FunctionLink], *, links_told: bool) -> dict[str, Any]:
    """Return a function as programs get it. A field whose fact is unknown is null, and ``unknown`` says why."""
    unknown: dict[str, str] = {}

    def fact(name: str, value: Fact[Any], shape: Callable[[Any], Any] | None = None) -> Any:
        if isinstance(value, Unknown):
            unknown[name] = value.reason
            return None
        return value.value if shape is None or value.value is None else shape(value.value)

    fields = {
        "address": str(function.address),
        "vendor": function.vendor,
        "device": function.device,
        "class": function.class_code,
        "type": fact("type", function.port_type, lambda kind: kind.label),
        "port": function.is_port,
        "group": fact("group", function.group),
        "driver": fact("driver", function.driver),
        "links": [link_document(link) for link in links],
        "links_told": links_told,
        "parent": _address(function.parent),
        "host_bridge": function.host_bridge,
        "revision": fact("revision", function.revision),
        "subsystem": fact("subsystem", function.subsystem, lambda ids: {"vendor": ids[0], "device": ids[1]}),
        "driver_override": fact("driver_override", function.driver_override),
        "command": fact("command", function.command, hexadecimal),
        "acs": fact("acs", function.acs, _acs_document),
        "ats": fact("ats", function.ats, lambda ats: {"enabled": ats.enabled}),
        "pasid": fact("pasid", function.pasid),
        "cxl_cache": fact("cxl_cache", function.cxl_cache),
        "multicast": fact("multicast", function.multicast, lambda multicast: {"enabled": multicast.enabled}),
        "sriov": fact("sriov", function.sriov, lambda sriov: {"total": sriov.total, "enabled": sriov.enabled}),
        "flr": fact("flr", function.flr),
        "reset_methods": fact("reset_methods", function.reset_methods),
        "power_state": fact("power_state", function.power_state),
        "power_control": fact("power_control", function.power_control) if function.is_port else None,
        "numa_node": fact("numa_node", function.numa_node),
        "iommu": fact("iommu", function.iommu),
        "bridge": fact("bridge", function.bridge, _bridge_document),
        "bars": fact("bars", function.bars, lambda bars: [_bar_document(bar) for bar in bars]),
        "physical_function": _address(function.physical_function),
        "virtual_functions": [str(address) for address in function.virtual_functions],
        "serial": fact("serial", function.serial),
    }
    return {**fields, "unknown": unknown}


def _address(address: Address | None) -> str | None:
    return None if address is None else str(address)


def _bridge_document(bridge: Bridge) -> dict[str, Any]:
    return {"secondary": bridge.secondary, "subordinate": bridge.subordinate}


def _bar_document(bar: Bar) -> dict[str, Any]:
    return {
        "index": bar.index,
        "start": hexadecimal(bar.start),
        "size": bar.size,
        "memory": bar.memory,
        "prefetchable": bar.prefetchable,
        "register": None if bar.register is None else hexadecimal(bar.register),
        "resized": bar.resized,
    }


def _acs_document(acs: Acs) -> dict[str, Any]:
    return {
        "capability": hexadecimal(int(acs.capability), 4),
        "control": hexadecimal(int(acs.control), 4),
        "flags": acs.control.lspci,
        "egress_vector": hexadecimal(acs.egress_vector),
    }
