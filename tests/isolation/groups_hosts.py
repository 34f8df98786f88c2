"""Handmade hosts for the tests of predicted groups."""

from __future__ import annotations

from collections.abc import Iterable

from atoll.host.fact import Known, Unknown
from atoll.host.model import Function, Group, Host, IommuUnit, KernelRelease, Platform
from atoll.pci.acs import REDIRECTING, Acs, AcsFlag
from atoll.pci.address import Address
from atoll.pci.bridge import Bridge
from atoll.pci.header import HeaderType, PortType

__all__ = ["ACS_OFF", "ACS_ON", "EMPTY_ACS", "at", "function", "groups", "host", "pair", "port"]

_CAPABLE = REDIRECTING | AcsFlag.TB | AcsFlag.DT

ACS_ON = Acs(_CAPABLE, REDIRECTING, 0x148, 0x14E)
ACS_OFF = Acs(_CAPABLE, AcsFlag(0), 0x148, 0x14E)
EMPTY_ACS = Acs(AcsFlag(0), AcsFlag(0), 0x148, 0x14E)


def at(text: str) -> Address:
    """Return the address."""
    return Address.parse(text)


def function(
    place: str,
    parent: str | None = None,
    port_type: PortType | None = PortType.ENDPOINT,
    *,
    acs: Acs | Unknown | None = None,
    multifunction: bool | None = False,
    ids: tuple[int, int] = (0x1AF4, 0x1000),
    class_code: int = 0x020000,
    subsystem: tuple[int, int] | None = None,
    physical: str | None = None,
    header: HeaderType = HeaderType.NORMAL,
    secondary: int | None = None,
    ari: bool = False,
) -> Function:
    """Return a function behind an IOMMU; ``None`` for type or multifunction means not read."""
    return Function(
        at(place),
        ids[0],
        ids[1],
        class_code,
        at(parent) if parent else None,
        "pci0000:00",
        header=Known(header),
        multifunction=Known(multifunction) if multifunction is not None else Unknown("not read"),
        port_type=Known(port_type) if port_type is not None else Unknown("cut to 64 bytes"),
        acs=acs if isinstance(acs, Unknown) else Known(acs),
        subsystem=Known(subsystem) if subsystem else Unknown("not read"),
        bridge=Known(Bridge(secondary, secondary, vga=False) if secondary is not None else None),
        rom=Known(None),
        cxl_cache=Known(False),
        multicast=Known(None),
        iommu=Known("unit0"),
        ari=Known(ari),
        physical_function=at(physical) if physical else None,
    )


def port(
    place: str,
    secondary: int,
    parent: str | None = None,
    port_type: PortType | None = PortType.ROOT_PORT,
    *,
    acs: Acs | Unknown | None = ACS_ON,
    multifunction: bool | None = False,
    ids: tuple[int, int] = (0x1022, 0x1483),
) -> Function:
    """Return a bridge function behind an IOMMU, with ACS on unless told otherwise."""
    return function(
        place,
        parent,
        port_type,
        acs=acs,
        multifunction=multifunction,
        ids=ids,
        class_code=0x060400,
        header=HeaderType.BRIDGE,
        secondary=secondary,
    )


def host(
    functions: Iterable[Function],
    *,
    recorded: tuple[Group, ...] | None = None,
    units: tuple[IommuUnit, ...] = (IommuUnit("unit0", "intel"),),
    kernel: tuple[int, int] | None = (6, 12),
    command_line: str = "",
    platform: Platform = Platform.X86,
) -> Host:
    """Return a host of these functions."""
    return Host(
        "handmade",
        {f.address: f for f in sorted(functions, key=lambda f: f.address)},
        Unknown("not read") if recorded is None else Known({group.number: group for group in recorded}),
        platform,
        Known(KernelRelease(*kernel, f"{kernel[0]}.{kernel[1]}")) if kernel else Unknown("not read"),
        Known(command_line),
        units,
    )


def groups(*texts: str) -> tuple[tuple[Address, ...], ...]:
    """Return groups written as addresses with spaces between."""
    return tuple(tuple(at(place) for place in text.split()) for text in texts)


def pair(acs: Acs | Unknown | None) -> list[Function]:
    """Return a root port and the function below it."""
    return [port("00:01.0", 1, acs=acs), function("01:00.0", "00:01.0")]
