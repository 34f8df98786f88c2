"""Virtual functions, as their physical ones declare them."""

from __future__ import annotations

from dataclasses import replace

from atoll.pci.address import Address
from atoll.twin.spec import Bar, FunctionSpec

__all__ = ["virtual_function"]


def virtual_function(physical: FunctionSpec, index: int, *, ats: bool = False) -> FunctionSpec:
    """Return one of those that a physical function declares, like that but for what SR-IOV makes of it."""
    name = physical.address.requester_id + physical.vf_offset + physical.vf_stride * index
    return replace(
        physical,
        address=Address(physical.address.domain, name >> 8, name >> 3 & 0x1F, name & 7),
        device=physical.vf_device,
        bars=(Bar(0, physical.vf_bar, wide=True, prefetchable=True),),
        multifunction=False,
        physfn=physical.address,
        vf_index=index,
        vf_total=0,
        vf_bar=0,
        vf_device=0,
        ari_next=None,
        ats=ats,
        serial=None,
    )
