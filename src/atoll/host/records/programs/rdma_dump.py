"""What ``rdma_topo dump`` writes: a JSON list of functions, with their paths and whole configuration spaces.

Source: rdma-core ``kernel-boot/rdma_topo`` (``SysfsDevice``): of each function ``realpath``, ``config`` and ``vpd``
(zlib, then base64), ``modalias``, ``iommu_group`` and ``numa_node`` (null where sysfs has none). Host bridges, ISA
bridges, system peripherals and performance counters are left out (``dump_ignored``).
"""

from __future__ import annotations

import binascii
import json
import zlib
from base64 import b64decode
from dataclasses import replace
from typing import Any

from atoll.errors import InputError
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.gap import Gap
from atoll.host.model import Function, Host
from atoll.host.place import address_of
from atoll.host.records.configured import from_dump
from atoll.host.records.programs.modalias import parse_modalias
from atoll.host.records.shown import Shown, host_of_shown, standing_of_path
from atoll.host.records.virtual import VirtualFunctions, physical_of
from atoll.pci.address import Address

__all__ = ["is_json", "read_rdma_dump"]

_MOST_BYTES = 128 << 20
"""10,000 functions of 4 KiB are 40 MB before they are packed."""
_MOST_PACKED = 16 << 10
_SPACE = 4096
_HINT = "of JSON, give what rdma_topo dump or pvesh get /nodes/NODE/hardware/pci prints; else lspci -nnvvv, as root"
_LEFT_OUT = Gap(
    "host bridges, ISA bridges, system peripherals and performance counters",
    "rdma_topo leaves them out of its dump",
    "record the host with atoll capture",
)


def is_json(data: bytes) -> bool:
    """Whether bytes begin like a JSON list or object; ``{code}`` and ``{noformat}`` are a bug tracker's marks."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    after = start[1:].lstrip(b" \t\r\n")[:1]
    return (start[:1] == b"{" and not after.isalpha()) or (start[:1] == b"[" and after in (b"{", b"]", b""))


def read_rdma_dump(data: bytes, *, name: str) -> Host:
    """Return the host that a dump shows. Raises InputError for what is no such dump."""
    shown = Shown.of(name)
    virtual: dict[Address, VirtualFunctions] = {}
    damaged = 0
    for item in _items(data, name):
        path = item.get("realpath")
        address = address_of(path.rstrip("/").rpartition("/")[2]) if isinstance(path, str) else None
        space = _unpacked(item.get("config"))
        if address is None or space is None or not isinstance(path, str):
            damaged += 1
            continue
        source = f"{shown.name}: {address}"
        dumped = from_dump(address, space, source=source)
        if dumped is None:
            damaged += 1
            continue
        shown.add(_complete(dumped.function, item, source), standing_of_path(path))
        shown.forwarding.setdefault(address, dumped.ari_forwarding)
        if dumped.virtual is not None:
            virtual.setdefault(address, dumped.virtual)
        group = item.get("iommu_group")
        if isinstance(group, int) and not isinstance(group, bool) and 0 <= group < 1 << 32:
            shown.put(address, group)
        elif group is None and "iommu_group" in item:
            shown.put(address, None)
    shown.physical = physical_of(shown.functions, virtual)
    if damaged:
        shown.gaps.append(
            Gap(f"{damaged} functions", f"{shown.name}: what it says of them is damaged", "record it again")
        )
    return host_of_shown(shown, path=name, left_out=(_LEFT_OUT,), no_groups="no function in it has an IOMMU group")


def _complete(function: Function, item: dict[str, Any], source: str) -> Function:
    """Add what the dump tells beside configuration space, where the ids of a virtual function read ffff."""
    text = item.get("modalias")
    alias = parse_modalias(text) if isinstance(text, str) else None
    if alias is not None:
        vendor, device, class_code = alias.vendor, alias.device, alias.class_code
        function = replace(function, vendor=vendor, device=device, possible_ids=(), class_code=class_code)
    return replace(function, numa_node=_node(item, source), driver=Unknown(f"{source}: the dump shows no drivers"))


def _items(data: bytes, name: str) -> list[dict[str, Any]]:
    if len(data) > _MOST_BYTES:
        raise InputError(f"{name}: {len(data)} bytes are too many for a dump of rdma_topo", hint="name an archive")
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: no JSON that can be read: {str(error)[:120]}", hint="record it again") from error
    items = found if isinstance(found, list) else []
    if any(isinstance(item, dict) and "rdma_nic_pf_bdf" in item for item in items):
        why = "rdma_topo's topology names functions and shows nothing of them"
        raise InputError(f"{name}: {why}", hint=_HINT)
    kept = [item for item in items if isinstance(item, dict) and "realpath" in item and "config" in item]
    if not kept:
        raise InputError(f"{name}: JSON, but none of a kind that tells of PCI functions", hint=_HINT)
    return kept


def _unpacked(text: object) -> bytes | None:
    """Return a configuration space; None for what is damaged, or longer than any."""
    if not isinstance(text, str) or len(text) > _MOST_PACKED:
        return None
    try:
        unpacking = zlib.decompressobj()
        found = unpacking.decompress(b64decode(text, validate=True), _SPACE + 1)
    except (ValueError, binascii.Error, zlib.error):
        return None
    return found if len(found) <= _SPACE and unpacking.eof else None


def _node(item: dict[str, Any], source: str) -> Fact[int | None]:
    node = item.get("numa_node")
    if isinstance(node, bool) or not isinstance(node, int):
        return Unknown(f"{source}: no NUMA node in the dump")
    return Known(node if node >= 0 else None, source)
