"""The kernel of the 2019 patch, which cuts links by itself after each bus reset of a GPU.

Source: "powerpc/powernv: Isolate NVLinks between GV100GL on Witherspoon", v3 (A. Kardashevskiy, linuxppc-dev,
11 April 2019; never merged), ``pnv_try_isolate_nvidia_v100``: called at the end of the platform's secondary bus
reset for the first device below the bridge that was reset; keeps links to the CPU and to devices of the same group.
"""

from __future__ import annotations

from atoll.controls.registry import link_control
from atoll.fabric.links import far_end, near_end
from atoll.fabric.topology import Topology
from atoll.host.command_line import parameters
from atoll.host.fact import value_of
from atoll.host.model import EndKind, Platform
from atoll.pci.address import Address

__all__ = ["kernel_cuts"]

_LINKS = frozenset(range(6))
_PARAMETER = "isolate_nvlink"


def kernel_cuts(topology: Topology, address: Address) -> frozenset[int]:
    """Return the links that this kernel cuts at a GPU when the bridge right above it is reset; most kernels none.

    The parameter alone proves nothing, an unpatched kernel ignores it: the patch also gives each GPU a group of its
    own, apart from the GPUs that its links join it to.
    """
    host = topology.host
    words = parameters(value_of(host.command_line, ""))
    if host.platform is not Platform.POWERNV or not any(word.split("=")[0] == _PARAMETER for word in words):
        return frozenset()
    function = topology.functions[address]
    group = value_of(function.group, None)
    if link_control(function) is None or group is None or address not in host.links_told:
        return frozenset()
    kept = set()
    apart = False
    for link in topology.links.get(address, ()):
        near, far = near_end(link, address), far_end(link, address)
        peer = topology.functions.get(far.function) if far.function is not None else None
        same = peer is not None and value_of(peer.group, None) == group
        if near.number is not None and (far.kind is EndKind.CPU or same):
            kept.add(near.number)
        apart = apart or (far.kind is EndKind.FUNCTION and not same)
    return _LINKS - kept if apart and host.npu_bricks and _bricks_shown(topology) else frozenset()


def _bricks_shown(topology: Topology) -> bool:
    """Whether this kernel shows NPU functions (until 5.13): the patch is for those."""
    return bool(topology.bricks)
