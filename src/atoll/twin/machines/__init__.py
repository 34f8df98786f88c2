"""The machines there are: each a declaration, in a file of its own."""

from __future__ import annotations

from atoll.twin.error import TwinError
from atoll.twin.machines import ac922, dgx1v, fabric, pcie_box, vmd_server
from atoll.twin.spec import Blueprint

__all__ = ["MACHINES", "RANDOM", "blueprint"]

_BUILDERS = {
    "ac922-4gpu": ac922.four,
    "ac922-6gpu": ac922.six,
    "dgx1v": dgx1v.machine,
    "pcie-box": pcie_box.machine,
    "vmd-server": vmd_server.machine,
}
_KERNELS = {
    "ac922-4gpu": ("6.12", "5.4", "5.4-isolate"),
    "ac922-6gpu": ("6.12", "5.4", "5.4-isolate"),
    "dgx1v": ("6.12", "6.1"),
    "pcie-box": ("6.12", "6.1"),
    "vmd-server": ("6.12", "6.1"),
}
"""Each machine's kernels, the default first."""

MACHINES: dict[str, str] = {
    "ac922-4gpu": "IBM AC922 (POWER9, Redbud): two V100 a socket, NVLink among them and to the processors",
    "ac922-6gpu": "IBM AC922 (POWER9, Sequoia): three V100 a socket, NVLink among them and to the processors",
    "dgx1v": "NVIDIA DGX-1 (x86): eight V100 in a hybrid cube mesh behind four switches",
    "pcie-box": "an x86 box with one of everything that decides about PCI Express isolation",
    "vmd-server": "an x86 server whose drives are behind two Intel Volume Management Devices",
}
"""Name and description of each machine."""

RANDOM = (f"{fabric.PREFIX}SEED", "a random fabric for trying laws on, the same for each seed (a number)")
"""How random machines are named, and what they are."""


def blueprint(name: str, kernel: str | None, links: bool) -> Blueprint:
    """Return a machine's declaration; TwinError for a name or a kernel that there is not."""
    rolled = name.startswith(fabric.PREFIX)
    if name not in _BUILDERS and not rolled:
        raise TwinError(f"no such twin: {name!r}", hint=f"one of {', '.join((*MACHINES, RANDOM[0]))}")
    known = fabric.KERNELS if rolled else _KERNELS[name]
    chosen = known[0] if kernel is None else kernel
    if chosen not in known:
        raise TwinError(f"{name} does not run kernel {chosen!r}", hint=f"one of {', '.join(known)}")
    return fabric.machine(name, chosen, links) if rolled else _BUILDERS[name](chosen, links)
