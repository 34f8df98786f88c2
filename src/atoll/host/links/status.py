"""``nvidia-smi nvlink -s``: how many links a GPU has, which are up and how fast; not where they lead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from atoll.host.gap import Gap
from atoll.host.links.chips import nvlinks_wired
from atoll.host.links.doubts import ADDRESSES_BESIDE, ALL_UP
from atoll.host.links.naming import Naming
from atoll.host.links.smi import SmiGpu
from atoll.host.links.told import ToldLinks
from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind
from atoll.pci.address import Address

__all__ = ["status_by_address", "status_links", "united"]


def status_by_address(
    gpus: tuple[SmiGpu, ...], functions: Mapping[Address, Function], naming: Naming
) -> dict[Address, SmiGpu]:
    """Return what is told of each function, by all listings of it."""
    found: dict[Address, SmiGpu] = {}
    for gpu in gpus:
        address = naming.addresses.get(gpu.index)
        if address is not None and address in functions:
            found[address] = united(found.get(address, gpu), gpu)
    return found


def united(one: SmiGpu, other: SmiGpu) -> SmiGpu:
    """Return what two listings of a GPU show: a link that is up in one is there, whatever the other says."""
    rates = dict(sorted({**other.rates, **one.rates}.items()))
    return replace(one, rates=rates, down=tuple(sorted({*one.down, *other.down} - rates.keys())))


def status_links(
    gpus: tuple[SmiGpu, ...], functions: Mapping[Address, Function], naming: Naming, *, source: str
) -> ToldLinks:
    """Return the links that are up, with their numbers; where they lead is unknown, so no function's are told.

    Links are trained by hardware: that one is up says nothing of what a fabric manager lets through it.
    """
    named = status_by_address(gpus, functions, naming)
    gaps = [
        Gap(f"NVLinks of GPU {gpu.index} in {source}", "no record tells its address", ADDRESSES_BESIDE)
        for gpu in gpus
        if naming.addresses.get(gpu.index) not in named and (gpu.rates or gpu.down)
    ]
    gaps += [
        Gap(f"NVLinks of {address}", f"{source} shows links that are down: {' '.join(map(str, gpu.down))}", ALL_UP)
        for address, gpu in sorted(named.items())
        if gpu.down and len(gpu.rates) != nvlinks_wired(functions[address].vendor, functions[address].device)
    ]
    links = tuple(
        Link(
            LinkKind.NVLINK,
            LinkEnd(EndKind.FUNCTION, address, number),
            LinkEnd(EndKind.UNKNOWN),
            rate,
            naming.mark(source),
        )
        for address, gpu in sorted(named.items())
        for number, rate in gpu.rates.items()
    )
    return ToldLinks(source, links, gaps=tuple(gaps))
