"""Links outside PCIe as seen from one of their ends: for programs and for people."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from atoll.controls.registry import link_control
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import EndKind, Host, LinkEnd, LinkKind
from atoll.pci.address import Address
from atoll.report.quantity import bandwidth
from atoll.report.style import Style

__all__ = ["LINK_WORDS", "FunctionLink", "link_document", "link_lines", "links_by_function"]

LINK_WORDS = {
    LinkKind.NVLINK: "NVLink",
    LinkKind.XGMI: "XGMI",
    LinkKind.C2C: "C2C",
    LinkKind.XE_LINK: "Xe Link",
    LinkKind.HCCS: "HCCS",
    LinkKind.NEURONLINK: "NeuronLink",
    LinkKind.MLU_LINK: "MLU-Link",
    LinkKind.IPU_LINK: "IPU-Link",
    LinkKind.TENSTORRENT: "Ethernet between chips",
    LinkKind.GCU_LARE: "GCU-LARE",
    LinkKind.XPU_LINK: "XPU Link",
    LinkKind.MTLINK: "MTLink",
    LinkKind.ICI: "ICI",
    LinkKind.OTHER: "links of its maker's",
    LinkKind.NTB: "another end (it is a non-transparent bridge)",
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
        if self.far.kind is EndKind.SWITCH and self.far.function is not None:
            return f"switch {self.far.function}"
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

    found: dict[Address, list[FunctionLink]] = {}
    for link in host.links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
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


def link_document(link: FunctionLink) -> dict[str, Any]:
    """Return a link as programs get it, seen from its near end."""
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


def link_lines(links: list[FunctionLink], style: Style, verbose: bool = False) -> list[str]:
    """Return the links, those to one end in one line: ``NVLink 0 1 to 0004:05:00.0, 25 GB/s each, open``.

    Those to the CPU are one end, and so are the switches, unless all is wanted.
    """
    switches = {link.far.function for link in links if link.far.kind is EndKind.SWITCH and link.far.function}
    several = f"{len(switches)} switches"

    def alike(link: FunctionLink) -> tuple[object, ...]:
        where = link.goes_to
        if not verbose and link.far.kind is EndKind.CPU:
            where = "the CPU"
        elif not verbose and link.far.function in switches and len(switches) > 1:
            where = several
        return (link.kind, where, link.bytes_per_second is None, link.bytes_per_second or 0, str(link.cut))

    notes = []
    for (_, where, *_), group in groupby(sorted(links, key=alike), key=alike):
        same = list(group)
        first = same[0]
        numbers = [link.near.number for link in same]
        named = " ".join(str(number) for number in numbers if number is not None)
        unnumbered = numbers.count(None)
        if unnumbered:
            named = " ".join(filter(None, (named, f"×{unnumbered} (numbers unknown)")))
        state = {True: style.good("cut here"), False: "open", None: style.doubtful("cut or open: unknown")}[first.cut]
        speed = bandwidth(first.bytes_per_second)
        notes.append(f"{LINK_WORDS[first.kind]} {named} to {where}, {speed} each, {state}")
    return notes
