"""Functions that follow another function's cluster: the NPU functions of a GPU on POWER8 and POWER9."""

from __future__ import annotations

from atoll.host.model import Host
from atoll.pci.address import Address

__all__ = ["follow"]


def follow(host: Host) -> dict[Address, Address]:
    """Return the GPU by NPU function, of the functions that this kernel shows, in address order.

    Source: ``ibm,gpu`` of the brick's node in the device tree (skiboot doc/nvlink.rst).
    """
    found = {
        brick.function: brick.gpu
        for brick in host.npu_bricks
        if brick.function is not None and brick.gpu is not None and brick.function in host.functions
    }
    return dict(sorted(found.items()))
