"""What firmware's tables say of a random machine's IOMMUs: whom they leave out, other names, memory one to one.

AMD's table is there to be read (IVRS: AMD I/O Virtualization Technology (IOMMU) Specification 5.1 and 5.2), with every
kind of entry: for all functions, single ones, ranges, aliases of one and of a range, devices that are no functions.
Intel's (VT-d 8) is not: its kernel shows all that is in it by other files. Declared: a function's alias is on its own
bus, where nothing answers, or another function of its device; what no table names is behind no IOMMU.
"""

from __future__ import annotations

import random
from dataclasses import replace
from struct import pack

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin.machines.random.products import CARD
from atoll.twin.spec import BRIDGES, Blueprint, FunctionSpec, Platform

__all__ = ["ivrs", "with_tables"]

SEGMENT_BASE = 0x1_0000_0000
_HEADER, _BLOCK = 48, 24
_ALL, _SELECT, _START, _END, _ALIAS, _ALIAS_START, _EXTENDED, _SPECIAL = 1, 2, 3, 4, 0x42, 0x43, 0x46, 0x48
_MEMORY = ((SEGMENT_BASE, 0xFFFFFF), (0x7D000000, 0x7FFFFF), (0x000E0000, 0x1FFFF))
"""Where firmware's memory is, and how far it goes; the first is where attacks look for the host's."""


def with_tables(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine whose tables leave out some of what is below root ports, name aliases, and want memory."""
    if not plan.iommus:
        return plan
    kept = {spec.address for spec in plan.functions if any(_is_or_leads_to(spec, each) for each in plan.essential)}
    rolled = [spec for spec in plan.functions if _on_root(plan, spec) and dice.random() < 0.25]
    tops = [spec for spec in rolled if spec.address not in kept]
    left = {spec.address for spec in plan.functions if any(_is_or_leads_to(top, spec.address) for top in tops)}
    functions = [replace(spec, iommu=None, ats=False) if spec.address in left else spec for spec in plan.functions]
    if plan.platform is Platform.AMD:
        functions = [_named(spec, dice) for spec in functions]
    memory = tuple(
        (spec.address, start, start + size)
        for spec in functions
        if spec.iommu is not None and spec.port not in BRIDGES and spec.physfn is None and dice.random() < 0.1
        for start, size in (dice.choice(_MEMORY),)
    )
    made = replace(plan, functions=tuple(functions), firmware_memory=memory)
    if plan.platform is not Platform.AMD or dice.random() < 0.15:
        return made
    return replace(made, files=(*made.files, ("sys/firmware/acpi/tables/IVRS", ivrs(made))))


def _on_root(plan: Blueprint, spec: FunctionSpec) -> bool:
    """Whether a function is on a root bus of the processors, and none of the platform's own."""
    roots = {(bridge.domain, bridge.bus) for bridge in plan.bridges if bridge.vmd is None}
    return spec.address[:2] in roots and spec.address not in plan.platform_functions


def _is_or_leads_to(spec: FunctionSpec, address: Address) -> bool:
    return spec.address == address or spec.leads_to(address)


def _named(spec: FunctionSpec, dice: random.Random) -> FunctionSpec:
    """Give a card another name: that of a function that is not there, or of another one of its device."""
    plain = CARD.matches(spec) and not spec.dma_aliases and spec.physfn is None
    if not plain or spec.iommu is None or dice.random() < 0.2:
        return spec
    names = {spec.address.device << 3 | number for number in range(8)} - {spec.address.requester_id & 0xFF}
    return replace(spec, dma_aliases=(dice.choice(sorted(names)),))


def ivrs(plan: Blueprint) -> bytes:
    """Return the table that says what an AMD machine's declaration has."""
    body = b""
    for unit in plan.iommus:
        assert unit.function is not None
        entries = pack("<BHB", _ALL, 0, 0) + pack("<BHBBHB", _SPECIAL, 0, 0, 0, 0xA0, 1)
        for spec in plan.functions:
            if spec.iommu != unit.name:
                continue
            name = spec.address.requester_id
            aliases = spec.dma_aliases if CARD.matches(spec) else ()
            if aliases and name & 1:
                entries += pack("<BHBBHB", _ALIAS, name, 0, 0, name & 0xFF00 | aliases[0], 0)
            elif aliases:
                entries += pack("<BHBBHB", _ALIAS_START, name, 0, 0, name & 0xFF00 | aliases[0], 0)
                entries += pack("<BHB", _END, name, 0)
            elif spec.port is PortType.ROOT_PORT:
                entries += pack("<BHB", _START, name, 0) + pack("<BHB", _END, spec.subordinate << 8 | 0xFF, 0)
            else:
                entries += pack("<BHB", _SELECT, name, 0) + pack("<BHBI", _EXTENDED, name, 0, 0)
        length = _BLOCK + len(entries)
        head = pack("<BBHHHQHHI", 0x10, 0, length, unit.function.requester_id, 0x40, 0, unit.function.domain, 0, 0)
        body += head + entries
    for of, first, last in plan.firmware_memory:
        body += pack("<BBHHHQQQ", 0x21, 0x07, 32, of.requester_id, 0, of.domain, first, last + 1 - first)
    header = pack(
        "<4sIBB6s8sI4sIIQ", b"IVRS", _HEADER + len(body), 2, 0, b"TWIN  ", b"RANDOM  ", 1, b"TWIN", 1, 0x203040, 0
    )
    return header + body
