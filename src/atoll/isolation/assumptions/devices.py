"""Functions of clusters: what is taken of what they send, and of the boards that they are on."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.fabric.families import possible_kinds
from atoll.fabric.passage import translation_blocked
from atoll.host.fact import value_of
from atoll.host.model import LinkKind
from atoll.isolation.assumptions.assumption import Assumption
from atoll.isolation.clusters import HOST, Clusters
from atoll.isolation.handover import without_ats
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.pci.vendor import MELLANOX

__all__ = ["ats_off", "bus_mastering", "ends_of_devices", "nvswitch_management"]

_FIRST_OF_BLACKWELL = 0x2900
"""NVIDIA's device ids from here on are those of Blackwell's dies and of later ones (``fabric.families``)."""
_CONNECTX_7 = (MELLANOX, 0x1021)
"""MT2910 (pci.ids)."""


def bus_mastering(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where functions of clusters are not let send."""
    silent = [address for address in clusters.tenant() if reach.settings.can_master(address) is False]
    if silent:
        yield Assumption("bus-mastering", f"{len(silent)} function(s) whose bus mastering is off send no request")


def ats_off(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where ATS of functions of clusters is off, and nothing keeps it off."""
    quiet = [address for address in sorted(clusters.tenant()) if _may_have_ats_again(reach, address)]
    if quiet:
        yield Assumption(
            "ats-off",
            f"ATS of {len(quiet)} function(s) is off because the kernel left it off: where somebody switched it off by "
            "hand, a reset switches it on again, and the IOMMU takes requests that are marked as translated meanwhile",
        )


def _may_have_ats_again(reach: Reach, address: Address) -> bool:
    """Whether a function's ATS is off, and would be on again after a reset (``pci_restore_ats_state``)."""
    topology, settings = reach.topology, reach.settings
    if settings.ats.get(address) is not False or without_ats(topology.host):
        return False
    return translation_blocked(topology, settings, topology.up(address)) is not True


def ends_of_devices(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where functions of several owners bear one serial number."""
    topology = reach.topology
    owner = clusters.cluster_of(topology.functions)
    alike: dict[tuple[int, str], list[Address]] = {}
    for address in topology.endpoints:
        function = topology.functions[address]
        serial = value_of(function.serial, None)
        if serial is not None:
            alike.setdefault((function.vendor, serial), []).append(address)
    split = [
        one
        for members in alike.values()
        for one in members
        if owner[one] != HOST
        and any(owner[one] != owner[other] and not topology.same_device(one, other) for other in members)
    ]
    if split:
        yield Assumption(
            "ends-of-devices",
            f"{len(split)} function(s) of clusters bear the serial number of others' functions elsewhere: where they "
            "are ends of one device (a network card for two sockets, a drive with two ports), it keeps them apart",
        )


def nvswitch_management(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Of boards with Blackwell's GPUs: the driver of such a function sets up who reaches whom over NVLink.

    Source: NVIDIA Fabric Manager user guide, "NVLink Subnet Manager": on HGX B200 and B300 it has the NVSwitches by
    functions of ConnectX-7 whose vital product data have SW_MNG in the field SMDL.
    """
    functions = reach.topology.functions
    on_board = any(
        LinkKind.NVLINK in possible_kinds(one) and (not one.ids_told or one.device >= _FIRST_OF_BLACKWELL)
        for one in functions.values()
    )
    named = [functions[address] for address in clusters.tenant() if on_board]
    able = [one for one in named if (one.vendor, one.device) == _CONNECTX_7 and one.physical_function is None]
    if able:
        yield Assumption(
            "nvswitch-management",
            f"none of {len(able)} ConnectX-7 function(s) of clusters manages the board's NVSwitches (HGX B200, B300): "
            "vital product data (SMDL=SW_MNG), which tell, are not read",
        )
