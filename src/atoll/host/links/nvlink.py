"""NVLinks as ``nvidia-smi nvlink -R`` and ``-p`` print them, joined to the functions of a host.

NVML's ``nvmlDeviceGetNvLinkRemotePciInfo`` says what a remote device is: a GPU, an NVSwitch or an IBM NPU.
``-p`` prints that alone, ``-R`` also the number of the link at the other end.

A link that is not up does not say where it leads, and it can come up again: then not all links are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from atoll.host.gap import Gap, GapKind
from atoll.host.links.chips import nvlinks_at_most, nvlinks_wired
from atoll.host.links.doubts import ADDRESSES_BESIDE, ALL_UP, FABRIC, gaps_of
from atoll.host.links.naming import Naming
from atoll.host.links.ordinals import with_own_numbers
from atoll.host.links.smi import SmiGpu
from atoll.host.links.speed import nvlink_speed
from atoll.host.links.told import ToldLinks, in_order
from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import IBM, NVIDIA

__all__ = ["nvlinks"]


def nvlinks(
    gpus: tuple[SmiGpu, ...],
    functions: Mapping[Address, Function],
    naming: Naming,
    *,
    source: str,
    rates: Mapping[tuple[Address, int], int] | None,
) -> ToldLinks:
    """Return the links that ``nvidia-smi nvlink -R`` or ``-p`` tells of the functions of a host.

    Addresses that only the PCI order tells are believed only if every remote end is of this host, and every
    link between two GPUs is told by both; links that are down tell nothing against it. ``rates`` are those of
    ``nvlink -s``; else a link's is its chip's.
    """
    named = naming.addresses
    listed = {named[gpu.index]: gpu for gpu in gpus if gpu.index in named and named[gpu.index] in functions}
    tables = with_own_numbers(listed, rates or {})
    odd = {address: why for address, gpu in tables.items() if (why := _odd(address, gpu, tables, functions))}
    if (gpus and not named) or (naming.by_order and odd):
        why = "no record tells which GPU has which address, and the remote ends do not confirm the PCI order"
        why = "records disagree about which GPU has which address" if naming.disputed else why
        return ToldLinks(source, gaps=(Gap("NVLinks in nvidia-smi's record", why, ADDRESSES_BESIDE),))
    gaps = [
        Gap(f"NVLinks of GPU {gpu.index}", "nvidia-smi shows them, but no record tells its address", ADDRESSES_BESIDE)
        for gpu in gpus
        if gpu.index not in named or named[gpu.index] not in functions
    ]
    doubts = {address: why for address, gpu in tables.items() if (why := _lacking(gpu, functions[address]))} | odd
    unnamed = {address: why for address, why in doubts.items() if tables[address].unnamed and not tables[address].down}
    gaps += gaps_of({address: why for address, why in doubts.items() if address not in unnamed}, ALL_UP)
    gaps += gaps_of(unnamed, FABRIC, GapKind.UNTOLD)
    links = _links(tables, functions, naming.mark(source), rates or {})
    return ToldLinks(source, links, frozenset(tables.keys() - doubts.keys()), tuple(gaps))


def _odd(address: Address, gpu: SmiGpu, tables: Mapping[Address, SmiGpu], functions: Mapping[Address, Function]) -> str:
    """What the remote ends of a GPU's links tell against its address or theirs; empty where nothing does."""
    for number, (far, far_number) in (gpu.remote or {}).items():
        function = functions.get(far)
        if far == address:
            return f"link {number} leads to itself"
        if function is None:
            return f"link {number} leads to {far}, which is no function of this host"
        if _kind(function) is not EndKind.FUNCTION:
            continue
        if far not in tables:
            return f"link {number} leads to {far}, whose links the record does not show"
        if far_number is None:
            if _between(tables, address, far) != _between(tables, far, address):
                return f"it shows another number of links to {far} than that one shows back"
        elif (tables[far].remote or {}).get(far_number) != (address, number):
            return f"link {number} leads to {far} link {far_number}, which does not lead back"
    return ""


def _lacking(gpu: SmiGpu, own: Function) -> str:
    """Why the record does not tell all links of a GPU; empty where it does."""
    remote = gpu.remote or {}
    if len(remote) == nvlinks_wired(own.vendor, own.device) and not gpu.unnamed and remote.keys().isdisjoint(gpu.down):
        # What is down beside them leads nowhere on its board.
        return ""
    if gpu.down:
        return f"links that are not up do not say where they lead: {', '.join(map(str, gpu.down))}"
    if gpu.unnamed:
        return f"the driver does not name where links lead: {', '.join(map(str, gpu.unnamed))}"
    if not gpu.remote:
        return "the record shows no link of it"
    # Links that are down stand in the listings of most drivers too; one link alone (-l), or a cut text, has fewer.
    most = nvlinks_at_most(own.vendor, own.device)
    if most is None:
        return f"how many links it has is not known; the record shows {len(gpu.remote)}"
    return "" if len(gpu.remote) == most else f"the record shows {len(gpu.remote)} of at most {most} links"


def _between(tables: Mapping[Address, SmiGpu], address: Address, far: Address) -> int:
    return sum(end == far for end, _ in (tables[address].remote or {}).values())


def _kind(function: Function) -> EndKind:
    if function.made_by(IBM):
        return EndKind.CPU
    if function.made_by(NVIDIA) and function.device_class == DeviceClass.OTHER_BRIDGE:
        return EndKind.SWITCH
    return EndKind.FUNCTION


def _links(
    tables: Mapping[Address, SmiGpu],
    functions: Mapping[Address, Function],
    source: str,
    rates: Mapping[tuple[Address, int], int],
) -> tuple[Link, ...]:
    links: dict[tuple[LinkEnd, LinkEnd], Link] = {}
    for address, gpu in sorted(tables.items()):
        own = functions[address]
        for number, (far, far_number) in (gpu.remote or {}).items():
            if far == address:
                continue
            near = LinkEnd(EndKind.FUNCTION, address, number)
            link = Link(LinkKind.NVLINK, near, near, nvlink_speed(own.vendor, own.device), source)
            speed = rates.get((address, number), link.bytes_per_second)
            if far in functions:
                end, told = _far_end(tables, (address, number), LinkEnd(_kind(functions[far]), far, far_number))
            else:
                end, told = LinkEnd(EndKind.UNKNOWN, None, far_number, str(far)), True
            a, b = in_order(near, end)
            links.setdefault((a, b), replace(link, a=a, b=b, bytes_per_second=speed, pairing_told=told))
        for number in gpu.unnamed:
            near, end = LinkEnd(EndKind.FUNCTION, address, number), LinkEnd(EndKind.UNKNOWN)
            speed = rates.get((address, number), nvlink_speed(own.vendor, own.device))
            links[near, end] = Link(LinkKind.NVLINK, near, end, speed, source)
    return tuple(sorted(links.values(), key=lambda link: (str(link.a), str(link.b))))


def _far_end(tables: Mapping[Address, SmiGpu], near: tuple[Address, int], shown: LinkEnd) -> tuple[LinkEnd, bool]:
    """Return where a link leads, of which this end shows so much, and whether the pairing of the ends is told."""
    far = shown.function
    if shown.kind is not EndKind.FUNCTION or far is None:
        return shown, True
    if shown.number is None and far in tables:
        return _paired(tables, *near, far)
    if _back(tables, far, shown.number) != near:
        # One end says so, the other does not: kept as a link, and both are left out of what is told.
        return LinkEnd(EndKind.FUNCTION, far, None), True
    return shown, True


def _paired(tables: Mapping[Address, SmiGpu], address: Address, number: int, far: Address) -> tuple[LinkEnd, bool]:
    """The n-th link to a GPU beside its n-th back: which one it is no source told, unless there is only one."""
    here = [n for n, (end, _) in (tables[address].remote or {}).items() if end == far]
    there = [n for n, (end, _) in (tables[far].remote or {}).items() if end == address]
    place = here.index(number)
    back = there[place] if place < len(there) else None
    return LinkEnd(EndKind.FUNCTION, far, back), len(here) == len(there) == 1


def _back(tables: Mapping[Address, SmiGpu], far: Address, number: int | None) -> tuple[Address, int | None] | None:
    return (tables[far].remote or {}).get(number) if number is not None and far in tables else None
