"""Small machines put together for one test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.machines.intel import dmar, endpoint, host_bridge, kernels, port
from atoll.twin.sizes import KIBIBYTE
from atoll.twin.spec import Bar, Blueprint, Disk, DomainKind, FunctionSpec, HostBridge, Link, Platform, Window

__all__ = ["bridge", "card", "small"]

CARD = (0x10EE, 0x9038)


def card(text: str, kind: PortType = PortType.ENDPOINT, **more: Any) -> FunctionSpec:
    """An endpoint with one BAR."""
    made = endpoint(text, CARD, 0x120000, "xdma", Bar(0, 64 * KIBIBYTE), port=kind)
    return replace(made, **more)


def bridge(text: str, kind: PortType, buses: tuple[int, int], acs: AcsFlag | None = None, **more: Any) -> FunctionSpec:
    """A port or bridge with its first and last bus below."""
    return replace(port(text, (0x10B5, 0x8747), kind, buses, acs=acs), **more)


def small(
    *functions: FunctionSpec,
    domain: DomainKind = DomainKind.DMA,
    command_line: str = "intel_iommu=on",
    behind: tuple[HostBridge, ...] = (),
    links: tuple[Link, ...] = (),
) -> Twin:
    """A machine of these functions on one host bridge, just booted; its kernel sets no ACS."""
    ordered = tuple(sorted(functions, key=lambda each: each.address))
    twin = Twin(
        Blueprint(
            name="small",
            platform=Platform.INTEL,
            kernel=replace(kernels(command_line)["6.12"], sets_acs=False),
            bridges=(replace(host_bridge(0, 0, 0xFF, 0), io=Window(0x1000, 0x1000, 0xF000)), *behind),
            functions=ordered,
            default_domain=domain,
            disk=Disk(Address(0, 0, 0x1F, 7), "none", "vda", "vda1", (254, 0)),
            networks=(),
            ram=1 << 36,
            iommus=(dmar(0, 0xFED90000),),
            links=links,
        )
    )
    twin.kernel.boot()
    return twin
