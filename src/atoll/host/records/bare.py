"""A function of which a record shows no configuration space: place, ids and class, and what else it names."""

from __future__ import annotations

from atoll.host.fact import Unknown
from atoll.host.model import UNTOLD_CLASS, Function
from atoll.pci.address import Address

__all__ = ["bare_function"]


def bare_function(address: Address, ids: tuple[int, int], class_code: int | None, why: str) -> Function:
    """Return it with all that configuration space would tell unknown, for that reason; its place is told elsewhere.

    A class of None: the record does not show it.
    """
    unread = Unknown(why)
    return Function(
        address=address,
        vendor=ids[0],
        device=ids[1],
        class_code=UNTOLD_CLASS if class_code is None else class_code,
        parent=None,
        host_bridge="",
        header=unread,
        multifunction=unread,
        port_type=unread,
        command=unread,
        acs=unread,
        ats=unread,
        pasid=unread,
        cxl_cache=unread,
        multicast=unread,
        sriov=unread,
        flr=unread,
        pending=unread,
        port_number=unread,
        link=unread,
        slot=unread,
        power_state=unread,
        bridge=unread,
        bars=unread,
        rom=unread,
        revision=unread,
        subsystem=unread,
        serial=unread,
    )
