"""IOMMU groups in the form that every forum knows: what the usual shell loop over ``lspci -nns`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.host.fact import Known, Unknown
from atoll.host.groups import on_xen
from atoll.host.model import Function, Host
from atoll.isolation.groups import Prediction
from atoll.pci.address import Address
from atoll.report.group_comparison import Override, override_of
from atoll.report.layout import first_of, plural
from atoll.report.names import Names

__all__ = ["forum_lines"]

_NAMED = 4


def forum_lines(host: Host, prediction: Prediction, *, names: Names) -> list[str]:
    """Return one heading a group and its functions, indented by a tab; predicted groups after a remark that says so.

    Addresses carry their domain where any function of the host has one but 0, as lspci's do (``show_slot_name``).
    """
    lines: list[str] = []
    numbered: Sequence[tuple[int, tuple[Address, ...]]]
    if isinstance(host.groups, Known):
        numbered = [(number, group.members) for number, group in sorted(host.groups.value.items())]
        if not numbered:
            lines.append("# None: no IOMMU is in use on this host")
    else:
        numbered = list(enumerate(prediction.groups))
        lines.append(
            f"# Predicted, not recorded ({host.groups.reason}): what Linux would form, with numbers of no meaning"
        )
        if on_xen(host):
            lines.append("# Xen knows no groups: these are not in force, but what Linux booted without it would form")
        if prediction.undetermined:
            open_ = len(prediction.undetermined)
            lines.append(f"# Of these functions {open_} rest on facts that the record lacks; see: atoll groups")
    lines += [f"# {remark}" for remark in _remarks(host, prediction)]
    domains = any(address.domain for address in host.functions)
    for number, members in numbered:
        lines.append(f"IOMMU Group {number}:")
        for address in sorted(members):
            shown = str(address) if domains else str(address).partition(":")[2]
            function = host.functions.get(address)
            # A function of which only the group is known: its address alone.
            lines.append(f"\t{shown}" + (f" {_told(function, names)}" if function is not None else ""))
    return lines


def _remarks(host: Host, prediction: Prediction) -> list[str]:
    """What who reads the list elsewhere, and sees nothing else of the host, has to know of it."""
    remarks = []
    if (override := override_of(host, prediction)) is not None and override is not Override.IGNORED:
        perhaps = "" if override is not Override.PERHAPS else ", where the kernel has the patch that obeys it"
        remarks.append(f"pcie_acs_override= shapes these groups{perhaps}: they say nothing of the hardware")
    untold = [a for a, f in host.functions.items() if isinstance(f.group, Unknown)]
    if isinstance(host.groups, Known) and untold:
        remarks.append(f"Of {plural(len(untold), 'function')} more the group is not told: {first_of(untold, _NAMED)}")
    return remarks


def _told(function: Function, names: Names) -> str:
    """What ``lspci -nn`` prints after the address."""
    _, _, told = names.line(function).partition(" ")
    return told
