"""Whether the command line switches off the IOMMU that groups say is in use: then the two are of different boots."""

from __future__ import annotations

from functools import lru_cache

from atoll.host.command_line import parameters
from atoll.host.fact import value_of
from atoll.host.model import Host, Platform

__all__ = ["word_against_iommu"]


def word_against_iommu(host: Host) -> str:
    """Return the word of the command line with which an x86 kernel uses no IOMMU; empty for none.

    ``iommu=`` is a list (``iommu_setup``, arch/x86/kernel/pci-dma.c), ``intel_iommu=`` and ``amd_iommu=`` are for their
    maker's units. The last of ``intel_iommu=on`` and ``off`` counts (``intel_iommu_setup``, drivers/iommu/intel); AMD's
    driver knows no word that takes its ``off`` back (``parse_amd_iommu_options``). Kernels that were started by tboot,
    and with ``iommu=off`` those whose firmware asks for protection from external ports, use Intel's all the same: that
    they do shows nowhere.
    """
    if host.platform not in (Platform.X86, Platform.UNKNOWN):
        return ""
    return _word_off(value_of(host.command_line, ""), frozenset(unit.kind for unit in host.iommu_units))


@lru_cache(maxsize=1 << 6)
def _word_off(command_line: str, units: frozenset[str]) -> str:
    """The same of a command line and the kinds of IOMMUs that there are: it is asked of each function of a host."""
    kinds = units & {"intel", "amd"}
    found = {}
    for word in parameters(command_line):
        name, _, value = word.partition("=")
        for option in value.split(","):
            if option == "off" and name in ("iommu", "intel_iommu", "amd_iommu"):
                found[name] = word
            elif option == "on" and name == "intel_iommu":
                found.pop(name, None)
    mine = ("iommu", *(f"{kind}_iommu" for kind in sorted(kinds or {"intel", "amd"})))
    return next((found[name] for name in mine if name in found), "")
