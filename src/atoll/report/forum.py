"""IOMMU groups in the form that every forum knows: what the usual shell loop over ``lspci -nns`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.host.fact import Known
from atoll.host.model import Function, Host
from atoll.isolation.groups import Prediction
from atoll.pci.address import Address
from atoll.report.names import Names

__all__ = ["forum_lines"]


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
        if prediction.undetermined:
            open_ = len(prediction.undetermined)
            lines.append(f"# Of these functions {open_} rest on facts that the record lacks; see: atoll groups")
    domains = any(address.domain for address in host.functions)
    for number, members in numbered:
        lines.append(f"IOMMU Group {number}:")
        for address in sorted(members):
            shown = str(address) if domains else str(address).partition(":")[2]
            function = host.functions.get(address)
            # A function of which only the group is known: its address alone.
            lines.append(f"\t{shown}" + (f" {_told(function, names)}" if function is not None else ""))
    return lines


def _told(function: Function, names: Names) -> str:
    """What ``lspci -nn`` prints after the address."""
    _, _, told = names.line(function).partition(" ")
    return told
