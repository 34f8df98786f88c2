"""Why the links of functions are not told, as gaps: one for one cause."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.gap import Gap, GapKind
from atoll.pci.address import Address

__all__ = ["ADDRESSES_BESIDE", "ALL_UP", "ENDS_AS_WELL", "FABRIC", "KFD_AS_WELL", "gaps_of"]

ADDRESSES_BESIDE = "record nvidia-smi --query-gpu=index,pci.bus_id,uuid --format=csv beside it"
ALL_UP = "record it again with all links up"
ENDS_AS_WELL = "record nvidia-smi nvlink -R as well: it tells where each link leads"
FABRIC = "record nvidia-smi topo -m and nvidia-smi -q -x: they tell which GPUs switches join"
KFD_AS_WELL = "record the KFD topology as well: grep -r . /sys/class/kfd/kfd/topology/nodes"
"""What to do where a record of links lacks addresses, links that are down, or ends."""


def gaps_of(doubts: Mapping[Address, str], hint: str, kind: GapKind = GapKind.OTHER) -> tuple[Gap, ...]:
    """Return the gaps of functions, by reason."""
    by_reason: dict[str, list[Address]] = {}
    for address, why in sorted(doubts.items()):
        by_reason.setdefault(why, []).append(address)
    return tuple(
        Gap(
            f"links of {addresses[0]}"
            if len(addresses) == 1
            else f"links of {len(addresses)} functions ({addresses[0]} first)",
            why,
            hint,
            kind,
            tuple(addresses),
        )
        for why, addresses in by_reason.items()
    )
