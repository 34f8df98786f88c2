"""Which hive of XGMI a GPU joined, as amdgpu says in the kernel's log.

Source: Linux ``drivers/gpu/drm/amd/amdgpu/amdgpu_xgmi.c``, ``amdgpu_xgmi_add_device``: ``amdgpu 0000:83:00.0: amdgpu:
XGMI: Add node 0, hive 0x25bbae7e3fd04cf4.`` Members of one hive reach each other; which links there are it does not
say, and a GPU whose driver did not load is not named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from atoll.host.gap import Gap
from atoll.host.links.hive import routed
from atoll.host.links.told import ToldLinks
from atoll.host.model import EndKind, Function
from atoll.pci.address import Address

__all__ = ["hive_links", "may_tell_hives", "parse_hives"]

_LINE = re.compile(r"(\S{7,20}): (?:amdgpu: )?XGMI: Add node \d{1,5}, hive 0x([0-9a-fA-F]{1,16})\b")
_MOST = 4096


def may_tell_hives(data: bytes) -> bool:
    """Whether a text may name hives."""
    return b"XGMI: Add node" in data


def parse_hives(text: str) -> Mapping[int, tuple[Address, ...]]:
    """Return the members by the hive's identity. Of a GPU that joined several, after a reset or a boot, the last."""
    hive: dict[Address, int] = {}
    for line in text.splitlines():
        found = _LINE.search(line) if "XGMI: Add node" in line else None
        if found is None or len(hive) >= _MOST:
            continue
        try:
            hive[Address.parse(found[1])] = int(found[2], 16)
        except ValueError:
            continue
    members: dict[int, list[Address]] = {}
    for address, identity in sorted(hive.items()):
        if identity:
            members.setdefault(identity, []).append(address)
    return {identity: tuple(members[identity]) for identity in sorted(members)}


def hive_links(
    hives: Mapping[int, tuple[Address, ...]], functions: Mapping[Address, Function], *, source: str
) -> ToldLinks:
    """Return a link of each GPU to its hive, where it is not alone in it. No GPU's links are all told by them."""
    links, gaps = [], []
    for identity, members in hives.items():
        there = [address for address in members if address in functions]
        if len(there) > 1:
            links += routed(there, EndKind.SWITCH, f"XGMI hive {identity:#x}", source)
        gaps += [
            Gap(f"XGMI links of {address}", f"{source} names it, the host has no such function", "check the record")
            for address in members
            if address not in functions
        ]
    return ToldLinks(source, tuple(links), gaps=tuple(gaps))
