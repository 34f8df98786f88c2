"""Configuration space of a simulated function: what it holds after power-on, and which bits can be written.

Layouts: PCI Local Bus 3.0 chapter 6, PCI-to-PCI Bridge 1.2 chapter 3, PCI Express Base 7.5 to 7.9; offsets as
in Linux ``include/uapi/linux/pci_regs.h``. The V100's capabilities stand where ``lspci`` shows them on real ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.twin import resizing
from atoll.twin.spec import FunctionSpec, Model

__all__ = ["Layout", "build"]

PM_ID, MSI_ID, EXPRESS_ID, ALLOCATION_ID = 0x01, 0x05, 0x10, 0x14
PORTAL_ID = 0x15
POWER_AT = 0x60
EXPRESS_AT = 0x78
ALLOCATION_AT = PORTAL_AT = 0xC0
AER_ID, SERIAL_ID, ACS_ID, ARI_ID, ATS_ID, SRIOV_ID, VC_ID, LTR_ID = 0x01, 0x03, 0x0D, 0x0E, 0x0F, 0x10, 0x02, 0x18
MULTICAST_ID = 0x12
RESIZABLE_ID = 0x15
ACS_AT, ARI_AT, SRIOV_AT = 0x220, 0x260, 0x280
MULTICAST_AT = 0x2D0
RESIZABLE_AT = 0x310
ATOMICS_ROUTED, ATOMICS_TAKEN = 0x40, 0x180
"""Of device capabilities 2: bit 6, and bits 7 and 8 (7.5.3.15)."""
MULTICAST_PAGE = 12
"""The exponent of the window of addresses that an endpoint asks for: as small as there is (7.9.11.2)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A function's configuration space at power-on and where its structures stand (0: it has none)."""

    image: bytes
    writable: bytes
    """A mask of the same length: set bits can be written."""
    pm: int
    express: int
    acs: int
    ats: int
    sriov: int
    ari: int = 0
    multicast: int = 0
    allocation: int = 0
    portal: int = 0
    resizable: int = 0


class _Builder:
    """Fills an image and its mask, and chains the capabilities."""

    def __init__(self, size: int, first: int) -> None:
        self.image = bytearray(size)
        self.mask = bytearray(size)
        self.standard_tail = first
        self.extended_tail = 0

    def put(self, offset: int, width: int, value: int, writable: int = 0) -> None:
        self.image[offset : offset + width] = value.to_bytes(width, "little")
        self.mask[offset : offset + width] = writable.to_bytes(width, "little")

    def capability(self, offset: int, identity: int) -> int:
        self.put(self.standard_tail, 1, offset)
        self.put(offset, 1, identity)
        self.standard_tail = offset + 1
        return offset

    def extended(self, offset: int, identity: int, version: int = 1) -> int:
        if self.extended_tail:
            head = int.from_bytes(self.image[self.extended_tail : self.extended_tail + 4], "little")
            self.put(self.extended_tail, 4, head | offset << 20)
        self.put(offset, 4, identity | version << 16)
        self.extended_tail = offset
        return offset


def build(spec: FunctionSpec) -> Layout:
    """Return the power-on image of a function: commands off, BARs and windows zero, ACS control zero."""
    conventional = spec.port is PortType.CONVENTIONAL
    out = _Builder(256 if conventional else 4096, 0x14 if spec.cardbus else 0x34)
    _header(out, spec)
    pm = out.capability(POWER_AT, PM_ID)
    out.put(pm + 2, 2, 0x0003)
    out.put(pm + 4, 2, 0x0000 if spec.pm_reset else 0x0008, 0x0003)
    if not spec.is_bridge and spec.physfn is None:
        msi = out.capability(0x68, MSI_ID)
        out.put(msi + 2, 2, 0x0080, 0x0071)
        out.put(msi + 4, 4, 0, 0xFFFFFFFC)
        out.put(msi + 8, 4, 0, 0xFFFFFFFF)
        out.put(msi + 12, 2, 0, 0xFFFF)
    allocation = out.capability(ALLOCATION_AT, ALLOCATION_ID) if spec.fixed else 0
    portal = _portal(out) if spec.portal else 0
    if conventional:
        return Layout(bytes(out.image), bytes(out.mask), pm=pm, express=0, acs=0, ats=0, sriov=0, allocation=allocation)
    express = _express(out, spec)
    acs, ats, sriov = _extended(out, spec)
    multicast = _multicast(out, spec)
    resizable = _resizable(out, spec)
    return Layout(
        bytes(out.image),
        bytes(out.mask),
        pm=pm,
        express=express,
        acs=acs,
        ats=ats,
        sriov=sriov,
        ari=ARI_AT if _numbers_wide(spec) else 0,
        multicast=multicast,
        allocation=allocation,
        portal=portal,
        resizable=resizable,
    )


def _header(out: _Builder, spec: FunctionSpec) -> None:
    virtual = spec.physfn is not None
    out.put(0x00, 2, 0xFFFF if virtual else spec.vendor)
    out.put(0x02, 2, 0xFFFF if virtual else spec.device)
    out.put(0x04, 2, 0, 0x0004 if virtual else 0x0547)
    out.put(0x06, 2, 0x0010)
    out.put(0x08, 1, spec.revision)
    out.put(0x09, 3, spec.class_code)
    out.put(0x0C, 1, 0, 0xFF)
    out.put(0x0E, 1, (0x80 if spec.multifunction else 0) | (2 if spec.cardbus else 1 if spec.is_bridge else 0))
    out.put(0x3C, 1, 0, 0xFF)
    if not virtual:
        _registers_of_addresses(out, spec)
    if spec.cardbus:
        _cardbus_header(out, spec)
    elif spec.is_bridge:
        _bridge_header(out, spec)
    else:
        vendor, device = spec.subsystem
        out.put(0x2C, 2, vendor)
        out.put(0x2E, 2, device)
        out.put(0x3D, 1, 0 if virtual else 1)


def _registers_of_addresses(out: _Builder, spec: FunctionSpec) -> None:
    """BARs and the expansion ROM's: what can be written is the size, from the other end."""
    for bar in () if spec.fixed else spec.bars:
        kind = 0x1 if bar.io else (0x4 if bar.wide else 0) | (0x8 if bar.prefetchable else 0)
        span = 64 if bar.wide else 32
        out.put(0x10 + 4 * bar.index, span // 8, kind, (1 << span) - bar.size & ~(0x3 if bar.io else 0xF))
    if spec.rom:
        out.put(0x38 if spec.is_bridge else 0x30, 4, 0, (1 << 32) - spec.rom | 1)


def _bridge_header(out: _Builder, spec: FunctionSpec) -> None:
    """Bus numbers, windows and bridge control."""
    out.put(0x18, 3, 0, 0xFFFFFF)
    out.put(0x1C, 2, 0x0101, 0xF0F0)
    out.put(0x20, 4, 0, 0xFFF0FFF0)
    if spec.prefetch_bits:
        out.put(0x24, 4, 0x00010001 if spec.prefetch_bits == 64 else 0, 0xFFF0FFF0)
    if spec.prefetch_bits == 64:
        out.put(0x28, 8, 0, 0xFFFFFFFF_FFFFFFFF)
    out.put(0x30, 4, 0, 0xFFFFFFFF)
    out.put(0x3E, 2, 0, 0x005F)


def _cardbus_header(out: _Builder, spec: FunctionSpec) -> None:
    """Bus numbers, two windows of memory and two of I/O ports, bridge control (PC Card 8.0, volume 7, 4.5.2)."""
    out.put(0x18, 3, 0, 0xFFFFFF)
    for window in (0x1C, 0x24):
        out.put(window, 8, 0, 0xFFFFF000_FFFFF000)
    for window in (0x2C, 0x34):
        out.put(window, 8, 0x00000001_00000001, 0xFFFFFFFC_FFFFFFFC)
    out.put(0x3E, 2, 0, 0x07FF)
    out.put(0x40, 2, spec.subsystem[0])
    out.put(0x42, 2, spec.subsystem[1])


def _express(out: _Builder, spec: FunctionSpec) -> int:
    express = out.capability(EXPRESS_AT, EXPRESS_ID)
    out.put(express + 2, 2, 0x0002 | int(spec.port) << 4)
    out.put(express + 4, 4, 0x00008001 | (1 << 28 if spec.flr else 0))
    out.put(express + 8, 2, 0x2810, 0xFFFF if spec.flr else 0x7FFF)
    number = spec.address.device if spec.port_number is None else spec.port_number
    out.put(express + 12, 4, 0x00000103 | number << 24)
    out.put(express + 16, 2, 0, 0x03FB)
    out.put(express + 18, 2, 0x0103)
    ports = spec.port in DOWNSTREAM_PORTS
    atomics = 0 if not spec.atomics else ATOMICS_ROUTED if spec.is_bridge else ATOMICS_TAKEN
    wide = ports and spec.ari_forwarding
    out.put(express + 36, 4, (0x00000020 if wide else 0) | atomics)
    out.put(express + 40, 2, 0, 0x04FF if spec.ari_forwarding else 0x04DF)
    return express


def _extended(out: _Builder, spec: FunctionSpec) -> tuple[int, int, int]:
    acs = ats = sriov = 0
    if spec.model is Model.V100:
        out.extended(0x100, VC_ID)
        out.extended(0x250, LTR_ID)
        out.extended(0x420, AER_ID, 2)
        return acs, ats, sriov
    out.extended(0x100, AER_ID, 2)
    if spec.serial is not None:
        serial = out.extended(0x148, SERIAL_ID)
        out.put(serial + 4, 8, spec.serial)
    if spec.acs is not None:
        acs = out.extended(ACS_AT, ACS_ID)
        enhanced = spec.acs_enhanced
        out.put(acs + 4, 2, int(spec.acs) | (0x80 if enhanced else 0) | (spec.egress_bits & 0xFF) << 8)
        out.put(acs + 6, 2, 0, int(spec.acs) & 0x7F | (0x1F80 if enhanced else 0))
        if spec.egress_bits:
            width = (spec.egress_bits + 31) // 32 * 4
            out.put(acs + 8, width, 0, (1 << spec.egress_bits) - 1)
    if spec.ats:
        ats = out.extended(0x240, ATS_ID)
        out.put(ats + 4, 2, 0x0020)
        out.put(ats + 6, 2, 0, 0x801F)
    if _numbers_wide(spec):
        _ari(out, spec)
    if spec.vf_total:
        sriov = _sriov(out, spec)
    return acs, ats, sriov


def _numbers_wide(spec: FunctionSpec) -> bool:
    """Whether a function has the ARI capability: not in a root complex, whose functions it is not for (6.13)."""
    inside = spec.port is PortType.ROOT_INTEGRATED
    return not inside and bool(spec.vf_total or spec.physfn is not None or spec.ari_next is not None)


def _ari(out: _Builder, spec: FunctionSpec) -> None:
    """ARI (PCI Express Base 7.8.8): function 0 says which function groups there are, and switches them."""
    ari = out.extended(ARI_AT, ARI_ID)
    first = spec.address.requester_id & 0xFF == 0
    out.put(ari + 4, 2, (spec.function_groups if first else 0) | (spec.ari_next or 0) << 8)
    out.put(ari + 6, 2, 0, (spec.function_groups if first else 0) | (0x70 if spec.function_groups else 0))


def _sriov(out: _Builder, spec: FunctionSpec) -> int:
    """SR-IOV with virtual functions one apart, the first right after the physical one, if not told otherwise."""
    sriov = out.extended(SRIOV_AT, SRIOV_ID)
    out.put(sriov + 0x08, 2, 0, 0x0019)
    out.put(sriov + 0x0C, 2, spec.vf_total)
    out.put(sriov + 0x0E, 2, spec.vf_total)
    out.put(sriov + 0x10, 2, 0, 0xFFFF)
    out.put(sriov + 0x14, 2, spec.vf_offset)
    out.put(sriov + 0x16, 2, spec.vf_stride)
    out.put(sriov + 0x1A, 2, spec.vf_device)
    out.put(sriov + 0x1C, 4, 0x553)
    out.put(sriov + 0x20, 4, 1, 0xFFFFFFFF)
    out.put(sriov + 0x24, 8, 0xC, (1 << 64) - spec.vf_bar & ~0xF)
    return sriov


def _multicast(out: _Builder, spec: FunctionSpec) -> int:
    """Multicast (PCI Express Base 7.9.11); only ports have the overlay."""
    if not spec.multicast_groups:
        return 0
    at = out.extended(MULTICAST_AT, MULTICAST_ID)
    each = (1 << spec.multicast_groups) - 1
    out.put(at + 0x04, 2, spec.multicast_groups - 1 | (0 if spec.is_bridge else MULTICAST_PAGE << 8))
    out.put(at + 0x06, 2, 0, 0x803F)
    out.put(at + 0x08, 8, 0, 0xFFFFFFFF_FFFFF03F)
    for vector in (0x10, 0x18, 0x20):
        out.put(at + vector, 8, 0, each)
    if spec.is_bridge:
        out.put(at + 0x28, 8, 0, 0xFFFFFFFF_FFFFFFFF)
    return at


def _resizable(out: _Builder, spec: FunctionSpec) -> int:
    """Resizable BAR (PCI Express Base 7.8.6): one, of 1 MiB to 64 GiB."""
    bar = resizing.resizable(spec)
    if bar is None:
        return 0
    at = out.extended(RESIZABLE_AT, RESIZABLE_ID)
    out.put(at + 4, 4, 0x001FFFF0)
    out.put(at + 8, 4, bar.index | 1 << 5 | resizing.exponent(bar.size) << 8, 0x3F << 8)
    return at


def _portal(out: _Builder) -> int:
    """Flattening Portal Bridge (PCI Express Base 7.8.11): vectors of 256 bits for memory, none for requester ids."""
    at = out.capability(PORTAL_AT, PORTAL_ID)
    out.put(at + 0x04, 4, 0x00000006)
    out.put(at + 0x10, 4, 0, 0xFFF000F1)
    out.put(at + 0x14, 4, 0, 0xF00000F1)
    out.put(at + 0x18, 4, 0, 0xFFFFFFFF)
    out.put(at + 0x1C, 4, 0, 0x0000C0FF)
    out.put(at + 0x20, 4, 0, 0xFFFFFFFF)
    return at
