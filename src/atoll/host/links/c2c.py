"""C2C links from a GPU to its CPU, as ``nvidia-smi c2c -s`` prints them: how many are up, and how fast."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.gap import Gap
from atoll.host.links.doubts import ADDRESSES_BESIDE
from atoll.host.links.naming import Naming
from atoll.host.links.smi import SmiGpu
from atoll.host.links.status import status_by_address
from atoll.host.links.told import ToldLinks
from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind
from atoll.pci.address import Address

__all__ = ["c2c_links"]


def c2c_links(
    gpus: tuple[SmiGpu, ...], functions: Mapping[Address, Function], naming: Naming, *, source: str
) -> ToldLinks:
    """Return the links of GPUs whose ``rates`` are those of C2C links; without numbers, which NVLinks have as well."""
    named = status_by_address(gpus, functions, naming)
    gaps = [
        Gap(f"C2C links of GPU {gpu.index} in {source}", "no record tells its address", ADDRESSES_BESIDE)
        for gpu in gpus
        if naming.addresses.get(gpu.index) not in named
    ]
    links = [
        Link(
            LinkKind.C2C,
            LinkEnd(EndKind.FUNCTION, address),
            LinkEnd(EndKind.CPU),
            rate,
            naming.mark(source),
            len(gpu.rates) == 1,
        )
        for address, gpu in sorted(named.items())
        for rate in gpu.rates.values()
    ]
    return ToldLinks(source, tuple(links), gaps=tuple(gaps))
