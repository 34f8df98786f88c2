"""Isolation atoms: what could be isolated, and with which controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll.controls.registry import link_control
from atoll.fabric.settings import DomainKind
from atoll.host.model import Host
from atoll.isolation.atoms import Atom
from atoll.pci.address import Address
from atoll.report.document import document
from atoll.report.lacking import EXCERPT
from atoll.report.layout import first_of, plural, room, wrap
from atoll.report.names import Names
from atoll.report.path import path_document, path_lines
from atoll.report.quantity import hexadecimal
from atoll.report.style import Style

__all__ = ["atoms_document", "atoms_lines"]

_SHOWN = 4


def _mask(host: Host, address: Address, links: Sequence[int]) -> str | None:
    control = link_control(host.functions[address])
    return None if control is None else hexadecimal(control.mask(links))


def atoms_document(host: Host, found: Sequence[Atom]) -> dict[str, Any]:
    """Return the atoms as programs get them."""
    return document(
        "atoms",
        host=host.name,
        atoms=[
            {
                "functions": [str(address) for address in atom.functions],
                "acs": {str(address): control.lspci for address, control in atom.acs.items()},
                "cuts": [
                    {"device": str(address), "links": sorted(links), "mask": _mask(host, address, sorted(links))}
                    for address, links in atom.cuts.items()
                ],
                "domains": {str(address): kind.value for address, kind in atom.domains.items()},
                "ats": {str(address): state for address, state in atom.ats.items()},
                "because": path_document(atom.because),
                "open": atom.open,
            }
            for atom in found
        ],
    )


def atoms_lines(
    host: Host, found: Sequence[Atom], *, trusted: int, names: Names, style: Style, verbose: bool
) -> list[str]:
    """Return the atoms as people read them: potential, not what is so now; ``trusted``: how many that policy finds."""
    lines = wrap(
        f"{plural(len(found), 'isolation atom')}: the smallest sets of functions that could be isolated from the "
        "rest, with every control at hand used. What is isolated now: atoll groups, atoll prove.",
    )
    if trusted > len(found):
        told = (
            "What the specification leaves open joins them here. Taken as vendors promise (root complexes and devices "
            f"of several functions isolate, ATS devices are honest) there are {trusted}: atoll atoms --policy trusted"
        )
        lines += wrap(told)
    for place, atom in enumerate(found, 1):
        alone = len(atom.functions) == 1
        lines += ["", style.bold(f"Atom {place}") + ("" if alone else f"  {plural(len(atom.functions), 'function')}")]
        for address in atom.functions:
            lines.append("    " + names.short_line(host.functions[address], room() - 4))
        if not alone and atom.because:
            words = "not shown to be parted by anything:" if atom.open else "not to be parted:"
            lines += ["  " + style.doubtful(words), *path_lines(atom.because)]
        for address, links in atom.cuts.items():
            listed = " ".join(map(str, sorted(links)))
            lines += wrap(
                f"cut links {listed} of {address}: mask {_mask(host, address, sorted(links))}", first="  needs "
            )
        if atom.acs and verbose:
            for address, control in atom.acs.items():
                lines += wrap(f"ACS at {address}: {control.lspci}", first="  needs ", rest="        ")
        elif atom.acs:
            lines += wrap("ACS at " + " ".join(map(str, atom.acs)), first="  needs ")
        lines += _translation(host, atom)
    if host.gaps and any(atom.open for atom in found):
        told = "What was not read counts as joined: a record that tells more may show smaller sets. See: atoll doctor"
        lines += ["", *wrap(told)]
    if host.excerpt:
        lines += ["", *wrap(EXCERPT)]
    return [*lines, *_not_read(found)]


def _translation(host: Host, atom: Atom) -> list[str]:
    """What the IOMMU would have to do for an atom, as far as it is known not to do it."""
    lines: list[str] = []
    for kind, now in ((DomainKind.IDENTITY, "now identity"), (DomainKind.NONE, "now none")):
        addresses = [address for address, found in atom.domains.items() if found is kind]
        ports = [address for address in addresses if host.functions[address].is_port]
        addresses = [address for address in addresses if address not in ports]
        if addresses:
            what = f"IOMMU translation for {first_of(addresses, _SHOWN)} ({now}; VFIO gives it)"
            lines += wrap(what, first="  needs ", rest="        ")
        if ports:
            what = (
                f"IOMMU translation for {first_of(ports, _SHOWN)} ({now}), whose ids it can send: type DMA of its group"
            )
            lines += wrap(what, first="  needs ", rest="        ")
    using = [address for address, state in atom.ats.items() if state]
    if using:
        what = f"no ATS of {first_of(using, _SHOWN)}, or TransBlk+ at a port above"
        lines += wrap(what, first="  needs ", rest="        ")
    return lines


def _not_read(found: Sequence[Atom]) -> list[str]:
    """What each atom needs too, and the record does not tell whether it is so."""
    domains = [a for atom in found for a, kind in atom.domains.items() if kind is DomainKind.UNKNOWN]
    ats = [a for atom in found for a, state in atom.ats.items() if state is None]
    lines: list[str] = []
    if domains:
        lines += wrap(f"Needed too, not known: that the IOMMU translates the requests of {first_of(domains, _SHOWN)}.")
    if ats:
        lines += wrap(
            f"Needed too, not known: that {first_of(ats, _SHOWN)} {'uses' if len(ats) == 1 else 'use'} no ATS."
        )
    return ["", *lines] if lines else []
