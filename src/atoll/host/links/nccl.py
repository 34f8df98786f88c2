"""The topology that NCCL and RCCL write (``NCCL_TOPO_DUMP_FILE``): links between GPUs, by address, without numbers.

Source: NCCL ``src/graph/xml.cc``, RCCL's the same with ``xgmi``. In ``<pci busid><gpu>`` stand ``<nvlink target count
tclass/>`` and ``<c2c bw count/>`` (MB/s of one link, and how many are up); ``tclass`` is the target's PCI class:
0x068000 an NVSwitch, 0x068001 an IBM NPU.
Links that are down are left out. Where the driver does not name the other side, NCCL writes ``fffffff:ff:ff.0`` and
takes it for a switch: what it is, is not told. RCCL writes XGMI links of one hop only, yet a hive routes over
several: between members of a hive that are not joined directly, reach is not told.
Where NVLink spans machines (NVL72), NCCL writes all that took part, told apart by ``host_hash`` of their CPUs alone:
``src/graph/topo.cc`` joins what the ranks of one clique see, and an address stands for a function of each machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.errors import InputError
from atoll.host.gap import Gap, GapKind
from atoll.host.links.chips import may_have_xgmi_to_cpu, nvlinks_at_most
from atoll.host.links.doubts import ENDS_AS_WELL, FABRIC, KFD_AS_WELL, gaps_of
from atoll.host.links.hive import not_joined, routed, with_unseen
from atoll.host.links.smi import small
from atoll.host.links.speed import nvlink_speed
from atoll.host.links.text import address_in
from atoll.host.links.told import ToldLinks, in_order
from atoll.host.links.xml import Element
from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind
from atoll.pci.address import Address
from atoll.pci.vendor import ATI, HYGON

__all__ = ["NcclGpu", "check_one_machine", "nccl_links", "parse_nccl"]

_MOST_LINKS = 256
_MEGABYTE = 1_000_000
_WITH_KFD = (ATI, HYGON)
"""Makers of GPUs whose driver has a KFD topology."""
_ENDS = {"0x068000": EndKind.SWITCH, "0x068001": EndKind.CPU}


@dataclass(slots=True)
class NcclGpu:
    """One GPU of the topology."""

    address: Address
    nvlinks: dict[tuple[Address | None, EndKind], int] = field(default_factory=dict)
    """Number of links by target; None where the driver does not name it."""
    xgmi: dict[Address, int] = field(default_factory=dict)
    c2c: int = 0
    c2c_rate: int | None = None
    """Bytes per second and direction of one C2C link."""


def parse_nccl(root: Element) -> tuple[NcclGpu, ...]:
    """Return the GPUs of a ``<system>``. A GPU that is used in parts stands in it more than once.

    Raises InputError for more links of a GPU than any has, and where several machines are shown.
    """
    check_one_machine(root, name="NCCL's topology")
    gpus: dict[Address, NcclGpu] = {}
    for pci in root.walk():
        address = address_in(pci.attributes.get("busid", "")) if pci.tag == "pci" else None
        for element in pci.all("gpu") if address is not None else ():
            assert address is not None
            gpu = NcclGpu(address)
            for link in element.children:
                count = small(link.attributes.get("count", "")) or 0
                target = address_in(link.attributes.get("target", ""))
                if link.tag == "nvlink" and count:
                    kind = _ENDS.get(link.attributes.get("tclass", ""), EndKind.FUNCTION)
                    end = target, kind if target is not None else EndKind.UNKNOWN
                    gpu.nvlinks[end] = gpu.nvlinks.get(end, 0) + count
                elif link.tag == "xgmi" and count and target is not None:
                    gpu.xgmi[target] = gpu.xgmi.get(target, 0) + count
                elif link.tag == "c2c":
                    gpu.c2c, gpu.c2c_rate = max(gpu.c2c, count, 1), _rate(link.attributes.get("bw", ""))
            if max(sum(gpu.nvlinks.values()), sum(gpu.xgmi.values()), gpu.c2c) > _MOST_LINKS:
                raise InputError(f"more than {_MOST_LINKS} links of {address}", hint="record it again")
            gpus.setdefault(address, gpu)
    return tuple(gpu for _, gpu in sorted(gpus.items()))


def check_one_machine(root: Element, *, name: str) -> None:
    """Raise InputError where a ``<system>`` shows several machines."""
    machines = {cpu.attributes["host_hash"] for cpu in root.all("cpu") if cpu.attributes.get("host_hash")}
    if len(machines) > 1:
        what = f"{name} shows {len(machines)} machines (host_hash) that NVLink joins, with the same addresses in each"
        raise InputError(what, hint="record one with NCCL_MNNVL_ENABLE=0, or leave in it the <cpu> of one host_hash")


def _rate(megabytes: str) -> int | None:
    if not (megabytes.isascii() and megabytes.isdigit() and len(megabytes) < 8):
        return None
    return int(megabytes) * _MEGABYTE or None


def nccl_links(gpus: tuple[NcclGpu, ...], functions: Mapping[Address, Function], *, source: str) -> ToldLinks:
    """Return the links that the topology tells of the functions of a host."""
    by_address = {gpu.address: gpu for gpu in gpus if gpu.address in functions}
    gaps = [
        Gap(f"links of {gpu.address}", f"{source} shows a GPU there, the host has no such function", "check the record")
        for gpu in gpus
        if gpu.address not in functions
    ]
    links: list[Link] = []
    doubts: dict[Address, str] = {}
    for address, gpu in by_address.items():
        links += _nvlinks(gpu, by_address, functions, source, doubts)
        links += _xgmi(gpu, by_address, functions, source, doubts)
        if gpu.xgmi and may_have_xgmi_to_cpu(functions[address].vendor, functions[address].device):
            doubts.setdefault(address, f"{source} shows no XGMI to the processor, which it may have as well")
        if gpu.c2c:
            ends = LinkEnd(EndKind.FUNCTION, address), LinkEnd(EndKind.CPU)
            links += [Link(LinkKind.C2C, *ends, gpu.c2c_rate, source, gpu.c2c == 1)] * gpu.c2c
        if gpu.nvlinks:
            _complete(functions[address], sum(gpu.nvlinks.values()), source, doubts)
        elif not gpu.xgmi and nvlinks_at_most(functions[address].vendor, functions[address].device) != 0:
            what = "XGMI" if functions[address].vendor in _WITH_KFD else "NVLink"
            doubts.setdefault(address, f"{source} shows no {what} of it, which does not tell that it has none")
    links += _hives(by_address, source)
    hives = frozenset(address for address, gpu in by_address.items() if gpu.xgmi)
    for address in with_unseen(hives, functions):
        doubts.setdefault(address, f"{source} does not show all GPUs of its kind, or no link of some")
    amd = {a for a, gpu in by_address.items() if gpu.xgmi or functions[a].vendor in _WITH_KFD}
    unnamed = {a for a, gpu in by_address.items() if any(kind is EndKind.UNKNOWN for _, kind in gpu.nvlinks)}
    hints: dict[str, dict[Address, str]] = {}
    for address, why in doubts.items():
        hint = KFD_AS_WELL if address in amd else FABRIC if address in unnamed else ENDS_AS_WELL
        hints.setdefault(hint, {})[address] = why
    for hint, why_of in hints.items():
        gaps += gaps_of(why_of, hint, GapKind.UNTOLD)
    told = frozenset(by_address) - doubts.keys()
    return ToldLinks(source, tuple(links), told, tuple(gaps))


def _nvlinks(
    gpu: NcclGpu,
    others: Mapping[Address, NcclGpu],
    functions: Mapping[Address, Function],
    source: str,
    doubts: dict[Address, str],
) -> list[Link]:
    own = functions[gpu.address]
    near = LinkEnd(EndKind.FUNCTION, gpu.address)
    links = []
    for (target, kind), count in gpu.nvlinks.items():
        if target == gpu.address:
            doubts.setdefault(target, f"{source} shows links that lead to itself")
            continue
        if target is None and kind is EndKind.CPU:
            far = LinkEnd(kind)
        elif target is None:
            far = LinkEnd(EndKind.UNKNOWN)
            doubts.setdefault(gpu.address, f"{source} does not name where {count} of its links lead")
        elif target not in functions:
            far = LinkEnd(kind if kind is not EndKind.FUNCTION else EndKind.UNKNOWN, None, None, str(target))
            doubts.setdefault(gpu.address, f"links lead to {target}, which is no function of this host")
        else:
            far = LinkEnd(kind, target)
            if kind is EndKind.FUNCTION:
                back = others[target].nvlinks.get((gpu.address, kind), 0) if target in others else None
                if back != count:
                    doubts.setdefault(gpu.address, _not_back(source, target, count, back))
                if _is_told_there(gpu.address, count, target, back):
                    continue
        speed = nvlink_speed(own.vendor, own.device)
        links += [Link(LinkKind.NVLINK, *in_order(near, far), speed, source, count == 1)] * count
    return links


def _not_back(source: str, target: Address, count: int, back: int | None) -> str:
    shown = "does not show that one's" if back is None else f"{back} back"
    return f"{source} shows {count} links to {target} and {shown}"


def _is_told_there(address: Address, count: int, target: Address, back: int | None) -> bool:
    """Whether a pair's links are taken from the other end: from the one that shows more, else from the first."""
    return back is not None and (back > count or (back == count and target < address))


def _complete(function: Function, shown: int, source: str, doubts: dict[Address, str]) -> None:
    most = nvlinks_at_most(function.vendor, function.device)
    if most is None:
        doubts.setdefault(function.address, f"how many links it has is not known; {source} shows {shown}")
    elif shown != most:
        doubts.setdefault(function.address, f"{source} shows {shown} of at most {most} links: some may be down")


def _xgmi(
    gpu: NcclGpu,
    others: Mapping[Address, NcclGpu],
    functions: Mapping[Address, Function],
    source: str,
    doubts: dict[Address, str],
) -> list[Link]:
    links = []
    for target, count in gpu.xgmi.items():
        if target == gpu.address:
            doubts.setdefault(target, f"{source} shows links that lead to itself")
            continue
        back = others[target].xgmi.get(gpu.address, 0) if target in others else None
        if back != count:
            doubts.setdefault(gpu.address, _not_back(source, target, count, back))
        if target not in functions:
            far = LinkEnd(EndKind.UNKNOWN, None, None, str(target))
        elif _is_told_there(gpu.address, count, target, back):
            continue
        else:
            far = LinkEnd(EndKind.FUNCTION, target)
        ends = in_order(LinkEnd(EndKind.FUNCTION, gpu.address), far)
        links += [Link(LinkKind.XGMI, *ends, None, source, count == 1)] * count
    return links


def _hives(gpus: Mapping[Address, NcclGpu], source: str) -> list[Link]:
    joined = {address: {target for target in gpu.xgmi if target in gpus} for address, gpu in gpus.items() if gpu.xgmi}
    return [
        link
        for members in not_joined(joined)
        for link in routed(members, EndKind.UNKNOWN, f"XGMI hive of {members[0]}", source)
    ]
