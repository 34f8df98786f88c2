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
    """Return the host of this name (``live``, a folder, an archive, a ``.dtb``, a record) or behind this tree.

    ``registers(vendor, device)`` returns the registers to read of functions with these ids. Raises
    InputError for what cannot be opened. Of a tree, what is beyond ``extent`` is not read.
    """
    from atoll.host import linux
    from atoll.host.open import open_named
    from atoll.host.records.content import Record

    opened = open_named(name_or_tree) if isinstance(name_or_tree, str) else name_or_tree
    if isinstance(opened, Record):
        from atoll.host.together import read_together

        return read_together([opened])
    from atoll.host.capture.withheld import withheld

    host = linux.read(withheld(opened), registers=registers or linux.no_registers, extent=extent)
    if isinstance(name_or_tree, str):
        from atoll.host.records.programs.sosreport import read_sosreport
        from atoll.host.together import read_together

        texts = read_sosreport(opened)
        return read_together(texts, read=host) if texts else host
    return host
