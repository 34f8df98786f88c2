"""Making an address space: over which of the kernel's interfaces."""

from __future__ import annotations

from atoll.host.attribute import names
from atoll.host.fact import value_of
from atoll.host.tree import Tree
from atoll.vfio.container import Container
from atoll.vfio.errors import UnsafeNoIommu
from atoll.vfio.iommufd import IoAddressSpace
from atoll.vfio.kernel import Kernel, LiveKernel
from atoll.vfio.space import AddressSpace, Api

__all__ = ["interfaces", "open_space"]


def interfaces(tree: Tree) -> tuple[Api, ...]:
    """Return the interfaces that the running kernel offers, by their nodes.

    A kernel with ``/dev/iommu`` but without nodes for single devices has the legacy interface only; and sysfs
    names such nodes (``vfio-dev``) also on kernels that have none.
    """
    nodes = value_of(names(tree, "dev/vfio"), ())
    found = []
    if "vfio" in nodes:
        found.append(Api.LEGACY)
    if "devices" in nodes and "iommu" in value_of(names(tree, "dev"), ()):
        found.append(Api.IOMMUFD)
    return tuple(found)


def open_space(api: Api | None = None, *, kernel: Kernel | None = None, unsafe_noiommu: bool = False) -> AddressSpace:
    """Return a new address space, to be used in a ``with`` block.

    With None, iommufd where the kernel offers it and the legacy interface otherwise. ``unsafe_noiommu`` (legacy
    only) takes devices that have no IOMMU and reach all memory. Raises VfioMissing, NotPermitted.
    """
    kernel = kernel or LiveKernel()
    if api is None:
        found = interfaces(kernel)
        # Nodes of devices appear with the first that is bound: /dev/iommu alone will do where there is no container.
        newer = Api.IOMMUFD in found or (not found and "iommu" in value_of(names(kernel, "dev"), ()))
        api = Api.IOMMUFD if newer and not unsafe_noiommu else Api.LEGACY
    if Api(api) is Api.IOMMUFD:
        if unsafe_noiommu:
            raise UnsafeNoIommu("devices without an IOMMU cannot be opened through iommufd", hint="use Api.LEGACY")
        return IoAddressSpace.create(kernel)
    return Container.create(kernel, unsafe_noiommu=unsafe_noiommu)
