"""The aperture: which addresses an IOMMU can translate at all, as the kernel sets its domains up.

Intel. Capability register (VT-d specification, 11.4.2 CAP_REG): MGAW in bits 21:16 (width minus one), SAGAW in bits
12:8 (bit 1: 39 bits and 3 levels, bit 2: 48 and 4, bit 3: 57 and 5). Linux takes the widest of SAGAW up to 57 bits,
then the lesser of that and MGAW: ``__iommu_calculate_agaw``, ``prepare_domain_attach_device`` and the aperture's end
in drivers/iommu/intel/iommu.c. A domain on first-stage tables, which newer kernels take in scalable mode (extended
capability bits 43 SMTS and 47 FLTS), has half of its width: input addresses are canonical, the top bit is skipped. In
that mode the widths that count are those of the first stage (48 bits, and 57 where capability bit 60, FL5LP, is set)
that SAGAW has too; without second-stage tables (bit 46, SLTS) those of the first stage alone
(``__iommu_calculate_sagaw``).

AMD. Extended feature register (AMD IOMMU specification 48882, MMIO offset 30h): HATS in bits 11:10, 0 to 2 for 4 to
6 levels of host page table, hence 48, 57 and 64 bits; ``amd_iommu=pgtbl_v2`` makes domains of guest page tables, of
47 bits at least. sysfs prints the register and its second part as ``efr:efr2`` (``amd_iommu_show_features``). Kernels
before the generic page tables claim all of 64 bits whatever HATS says; what the hardware cannot walk is no use, so
HATS counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from atoll.host.command_line import options
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Host, IommuUnit, Platform

__all__ = ["Aperture", "aperture", "extended_features", "unit_aperture"]

_SAGAW_WIDTHS = {3: 57, 2: 48, 1: 39}
"""Bit of SAGAW: width in bits; bits 0 and 4 are reserved."""
_AMD_WIDTHS = {0: 48, 1: 57, 2: 64}
"""HATS: width in bits; 3 is reserved."""
_AMD_LEAST = 47
"""What any of AMD's page tables covers: guest tables of 4 levels."""


@dataclass(frozen=True, slots=True)
class Aperture:
    """Addresses from 0 to ``end`` inclusive can be mapped."""

    end: int | None
    """None: nothing is known of it."""
    because: str
    more: str = ""
    """Why the aperture may reach beyond ``end``; empty where it does not."""


def aperture(host: Host, functions: Iterable[Function]) -> tuple[Aperture, ...]:
    """Return what each unit that serves these functions can translate, in unit order; unknown ones stand first."""
    found: dict[str, Aperture] = {}
    units = {unit.name: unit for unit in host.iommu_units}
    for function in functions:
        if host.platform is Platform.POWERNV:
            why = (
                "PowerNV: TCE windows (one of 32 bits from 0, one of 64 bits that the user makes), and their sizes "
                "stand in no file"
            )
            found.setdefault("spapr", Aperture(None, why))
        elif isinstance(function.iommu, Unknown):
            found.setdefault("", _any_unit(host, f"which IOMMU serves {function.address}: {function.iommu.reason}"))
        elif function.iommu.value is None:
            found.setdefault("", Aperture(None, f"sysfs names no IOMMU for {function.address}"))
        else:
            name = function.iommu.value
            unit = units.get(name)
            missing = Aperture(None, f"{name} serves {function.address} and is not among the IOMMUs that were read")
            found[name] = missing if unit is None else unit_aperture(host, unit)
    return tuple(found[name] for name in sorted(found, key=lambda name: (found[name].end is not None, name)))


def _any_unit(host: Host, why: str) -> Aperture:
    """Which unit it is, is not known: any of them has at least the least."""
    if not host.iommu_units:
        return Aperture(None, why)
    all_of_them = [unit_aperture(host, unit) for unit in host.iommu_units]
    ends = {one.end for one in all_of_them}
    if None in ends:
        return Aperture(None, why)
    least = min(all_of_them, key=lambda one: one.end or 0)
    if len(ends) == 1:
        return Aperture(least.end, f"all IOMMUs here: {least.because}", least.more)
    return Aperture(least.end, f"the narrowest IOMMU here: {least.because}", why)


def unit_aperture(host: Host, unit: IommuUnit) -> Aperture:
    """Return what one unit can translate."""
    attributes = dict(unit.attributes)
    match unit.kind:
        case "intel":
            return _intel(host, unit.name, attributes)
        case "amd":
            return _amd(host, unit.name, attributes)
    return Aperture(None, f"{unit.name}: sysfs shows no address width of an IOMMU of kind {unit.kind}")


def _intel(host: Host, name: str, attributes: dict[str, str]) -> Aperture:
    cap = _hexadecimal(attributes.get("cap", ""))
    if cap is None:
        return Aperture(None, f"{name}: its capability register (intel-iommu/cap) was not read")
    guest = (cap >> 16 & 0x3F) + 1
    second = {width for bit, width in _SAGAW_WIDTHS.items() if cap >> 8 + bit & 1}
    ecap = _hexadecimal(attributes.get("ecap", ""))
    words = options(value_of(host.command_line, ""), "intel_iommu")
    # The last one counts (intel_iommu_setup).
    off = "sm_off" in words and "sm_on" not in words[words.index("sm_off") :]
    scalable = not off and (ecap is None or (ecap >> 43 & 1 and ecap >> 47 & 1))
    if not scalable:
        if not second:
            return Aperture(None, f"{name}: capability 0x{cap:x} names no supported address width (SAGAW)")
        width = min(max(second), guest)
        return Aperture((1 << width) - 1, f"{name}: {width} bits {_told(max(second), guest, cap)}")
    first = {48, 57} if cap >> 60 & 1 else {48}
    # Without a second stage the unit has nothing but the first; with it, either may be taken.
    widths = first if ecap is not None and not ecap >> 46 & 1 else first & second
    if not widths:
        return Aperture(None, f"{name}: no address width is supported by both stages: capability 0x{cap:x}")
    width = min(max(widths), guest)
    least = (1 << width - 1) - 1
    told = f"{name}: {width} bits {_told(max(widths), guest, cap)}"
    if ecap is None:
        return Aperture(least, told, f"{name}: whether it uses first-stage tables was not read (ecap)")
    more = f"{name}: first-stage tables (scalable mode) halve the aperture; whether this kernel uses them is not shown"
    return Aperture(least, told, more)


def _told(adjusted: int, guest: int, cap: int) -> str:
    return f"(SAGAW {adjusted}, MGAW {guest}: capability 0x{cap:x})"


def _amd(host: Host, name: str, attributes: dict[str, str]) -> Aperture:
    features = extended_features(attributes)
    least = (1 << _AMD_LEAST) - 1
    if isinstance(features, Unknown):
        return Aperture(least, f"{name}: {_AMD_LEAST} bits, which every AMD IOMMU has", f"{name}: {features.reason}")
    levels = features.value[0] >> 10 & 0x3
    if levels not in _AMD_WIDTHS:
        return Aperture(least, f"{name}: {_AMD_LEAST} bits, which every AMD IOMMU has", f"{name}: HATS is reserved")
    if "pgtbl_v2" in options(value_of(host.command_line, ""), "amd_iommu"):
        return Aperture(least, f"{name}: {_AMD_LEAST} bits (amd_iommu=pgtbl_v2)", f"{name}: 5 levels have 56 bits")
    width = _AMD_WIDTHS[levels]
    if isinstance(host.command_line, Unknown):
        more = f"{name}: {width} bits (HATS), unless amd_iommu=pgtbl_v2 is set; the command line was not read"
        return Aperture(least, f"{name}: {_AMD_LEAST} bits, which every AMD IOMMU has", more)
    return Aperture((1 << width) - 1, f"{name}: {width} bits (HATS {levels}: features 0x{features.value[0]:x})")


def extended_features(attributes: dict[str, str]) -> Known[tuple[int, int]] | Unknown:
    """Return AMD's two extended feature registers; kernels before 5.13 print the first one only (second: 0)."""
    text = attributes.get("features")
    if text is None:
        return Unknown("its extended features (amd-iommu/features) were not read")
    first, _, second = text.partition(":")
    one, two = _hexadecimal(first), _hexadecimal(second) if second else 0
    if one is None or two is None:
        return Unknown(f"its extended features read {text[:40]!r}")
    return Known((one, two), "amd-iommu/features")


def _hexadecimal(text: str) -> int | None:
    try:
        value = int(text.strip(), 16)
    except ValueError:
        return None
    return value if 0 <= value < 1 << 64 else None
