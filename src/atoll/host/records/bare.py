"""A function of which a record shows no configuration space: place, ids and class, and what else it names."""

from __future__ import annotations

from dataclasses import replace

from atoll.host.fact import Known, Unknown
from atoll.host.model import UNTOLD_CLASS, Function
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import HeaderType

__all__ = ["bare_function", "placed_function"]

_PATH_ONLY = "a link's path shows where it stands and no more: add the output of lspci -nnvvv, run as root"


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


def placed_function(address: Address, *, bridge: bool, source: str, why: str = _PATH_ONLY) -> Function:
    """Return what a link into ``/sys/devices`` tells of a function: whether something stands below it.

    ``why`` says why the record tells no more.
    """
    function = bare_function(address, (0xFFFF, 0xFFFF), DeviceClass.PCI_BRIDGE << 8 if bridge else None, why)
    header = Known(HeaderType.BRIDGE, source) if bridge else function.header
    return replace(function, header=header, driver=Unknown(why), possible_ids=((None, None),))
