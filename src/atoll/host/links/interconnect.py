"""Everything that tells links outside PCIe, from a tree's files: device tree, AMD's driver, programs' records."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from atoll.host.attribute import names, text
from atoll.host.devicetree import DeviceTree
from atoll.host.fact import value_of
from atoll.host.gap import GapKind
from atoll.host.links.chips import has_c2c
from atoll.host.links.doubts import gaps_of
from atoll.host.links.gpus import nvidia_gpus
from atoll.host.links.kfd_files import read_kfd
from atoll.host.links.told import ToldLinks, doubted_in, merge, still_open
from atoll.host.model import Function, Host, LinkKind, NpuBrick, Platform
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["Interconnect", "driver_uuids", "read_interconnect", "with_link_records"]

_RECORDS = "records"
_DRIVER = "proc/driver/nvidia/gpus"


class Interconnect(NamedTuple):
    """Links, and the bricks that lead to CPUs."""

    links: ToldLinks
    bricks: tuple[NpuBrick, ...] = ()
    sources: tuple[str, ...] = ()
    """Files beyond sysfs that were read for them."""


def read_interconnect(
    tree: Tree, functions: Mapping[Address, Function], device_tree: DeviceTree | None
) -> Interconnect:
    """Return the links that all sources in the tree tell together."""
    sources: list[ToldLinks] = []
    paths: list[str] = []
    bricks: tuple[NpuBrick, ...] = ()
    if device_tree is not None:
        from atoll.host.links.power9 import read_power_links

        told, bricks = read_power_links(device_tree, functions)
        sources.append(told)
        paths.append(device_tree.root)
    amd = read_kfd(tree, functions)
    if amd is not None:
        sources.append(amd)
        paths.append("sys/class/kfd")
    texts = _texts(tree)
    if texts:
        from atoll.host.links.read import read_link_records

        found = read_link_records(texts, functions, uuids=driver_uuids(tree))
        sources += found.sources
        paths += [f"{_RECORDS}/{name}" for name in found.used]
    told = _checked(merge(sources), functions, powernv=device_tree is not None)
    return Interconnect(told, bricks, tuple(paths))


def with_link_records(host: Host, texts: Mapping[str, bytes], *, uuids: Mapping[str, Address] | None = None) -> Host:
    """Return the host with what further records tell of its links, by the names of the records.

    ``uuids`` are what the driver itself tells (``driver_uuids``).

    All records of links belong into one call: what two of them contradict each other about stays unknown then.
    Records of other things are passed over; ``atoll.host.links.read.is_link_record`` tells them apart.
    """
    from atoll.host.links.read import read_link_records

    found = read_link_records(texts, host.functions, uuids=uuids)
    if not found.used and not found.sources:
        return host
    own = ToldLinks(host.name, host.links, host.links_told, doubted=doubted_in(host.gaps))
    told = _checked(merge([own, *found.sources]), host.functions, powernv=host.platform is Platform.POWERNV)
    gaps = tuple(gap for gap in still_open(host.gaps, told.told) if gap.kind is not GapKind.BOARD)
    return replace(
        host,
        links=told.links,
        links_told=told.told,
        gaps=(*gaps, *told.gaps),
        provenance=(*host.provenance, *found.used),
    )


def _checked(told: ToldLinks, functions: Mapping[Address, Function], *, powernv: bool) -> ToldLinks:
    told = _with_c2c(told, functions)
    if not nvidia_gpus(functions):
        return told
    from atoll.host.links.boards import board_gaps

    return replace(told, gaps=(*told.gaps, *board_gaps(functions, told, powernv=powernv)))


def _texts(tree: Tree) -> dict[str, bytes]:
    """What lies in ``records/``. A file that cannot be read is none: nvidia-smi fails where no GPU is its driver's."""
    held = value_of(names(tree, _RECORDS), ())
    if not held:
        return {}
    from atoll.host.links.text import MOST_BYTES

    found = {}
    for name in held:
        with suppress(OSError):
            found[name] = tree.read(f"{_RECORDS}/{name}", size=MOST_BYTES + 1)
    return found


def _with_c2c(told: ToldLinks, functions: Mapping[Address, Function]) -> ToldLinks:
    """Leave out of what is told GPUs whose chip has a C2C link to its CPU that no source shows."""
    shown = {link.a.function for link in told.links if link.kind is LinkKind.C2C}
    lacking = frozenset(
        address
        for address in told.told
        if address not in shown and has_c2c(functions[address].vendor, functions[address].device)
    )
    why = dict.fromkeys(lacking, "no source tells its C2C link to the CPU")
    gaps = gaps_of(why, "record nvidia-smi c2c -s or nvidia-smi -q -x as well")
    return replace(told, told=told.told - lacking, gaps=(*told.gaps, *gaps))


def driver_uuids(tree: Tree) -> dict[str, Address]:
    """Addresses by UUID, as the driver tells them in ``proc/driver/nvidia/gpus/ADDRESS/information``."""
    found = {}
    for name in value_of(names(tree, _DRIVER), ()):
        try:
            address = Address.parse(name)
        except ValueError:
            continue
        for line in value_of(text(tree, f"{_DRIVER}/{name}/information"), "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "GPU UUID" and value.strip():
                found[value.strip()] = address
    return found
