"""The GPUs of a KFD topology as a host: what little it has that shows nothing else of the machine.

Source: ``kfd_topology.c`` (``node_show``): ``vendor_id``, ``device_id``, ``domain`` and ``location_id`` of each GPU; of
the partitions of one device, the lowest place is the device's.
"""

from __future__ import annotations

from atoll.host.fact import Known, Unknown
from atoll.host.gap import Gap, GapKind
from atoll.host.links.kfd import KfdNode, device_places
from atoll.host.model import UNTOLD_CLASS, Function, Host
from atoll.host.records.programs.smi_gpus import GPUS_ONLY
from atoll.host.records.shown import Shown, Standing, host_of_shown
from atoll.pci.address import Address

__all__ = ["read_kfd_gpus"]

_LONE = "the KFD topology shows GPUs only, not what stands beside them"
_LEFT_OUT = Gap(
    GPUS_ONLY.what,
    "the KFD topology shows neither",
    "name an lspci text or a folder of the same machine as well: --host lspci.txt --host topology/",
    GapKind.GPUS_ONLY,
)


def read_kfd_gpus(nodes: tuple[KfdNode, ...], *, name: str) -> Host:
    """Return the host of a topology's nodes. Raises InputError where it shows no GPU."""
    shown = Shown.of(name)
    told = [node for node in nodes if 0 < node.get("device_id") <= 0xFFFF and node.get("domain") <= 0xFFFFFFFF]
    first: dict[Address, KfdNode] = {}
    for number, place in device_places(told).items():
        first.setdefault(place, next(node for node in told if node.number == number))
    for place, node in first.items():
        shown.add(_function(place, node, shown.name), Standing())
    return host_of_shown(
        shown, path=name, lone=_LONE, left_out=(_LEFT_OUT,), no_groups="the KFD topology shows no groups"
    )


def _function(address: Address, node: KfdNode, source: str) -> Function:
    unread = Unknown(f"{source}: the KFD topology does not show it")
    return Function(
        address=address,
        vendor=node.get("vendor_id"),
        device=node.get("device_id"),
        class_code=UNTOLD_CLASS,
        parent=None,
        host_bridge="",
        multifunction=unread,
        port_type=unread,
        acs=Unknown(f"{source}: the KFD topology does not show configuration space"),
        driver=Known("amdgpu", source),
    )
