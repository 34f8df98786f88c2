"""What is there: the model of a host, the tree seam, and the readers."""

from __future__ import annotations

from collections.abc import Callable

from atoll.host.extent import Extent
from atoll.host.model import Host, Register
from atoll.host.tree import Tree

__all__ = ["read_host"]


def read_host(
    name_or_tree: str | Tree,
    *,
    registers: Callable[[int, int], tuple[Register, ...]] | None = None,
    extent: Extent = Extent.ALL,
) -> Host:
    """Return the host of this name (``live``, a folder, an archive, a ``.dtb``, a pasted text) or behind this tree.

    ``registers(vendor, device)`` returns the registers to read of functions with these ids. Raises
    InputError for what cannot be opened. Of a tree, what is beyond ``extent`` is not read.
    """
    from atoll.host import linux
    from atoll.host.open import open_named

    tree = open_named(name_or_tree) if isinstance(name_or_tree, str) else name_or_tree
    if isinstance(tree, Host):
        return tree
    return linux.read(tree, registers=registers or linux.no_registers, extent=extent)
