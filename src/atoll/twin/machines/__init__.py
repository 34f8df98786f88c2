"""The machines there are: each a declaration, in a file of its own; random ones in a room of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atoll.twin.error import TwinError
from atoll.twin.machines import ac922, dgx1v, pcie_box, random, vmd_server
from atoll.twin.spec import Blueprint

__all__ = ["MACHINES", "RANDOM", "blueprint"]


@dataclass(frozen=True, slots=True)
class _Machine:
    """What it is in a line, how it is built from a kernel and whether its files tell links, and its kernels."""

    description: str
    build: Callable[[str, bool], Blueprint]
    kernels: tuple[str, ...]
    """The default first."""


_POWER9_KERNELS, _X86_KERNELS = ("6.12", "5.4", "5.4-isolate"), ("6.12", "6.1")
_MACHINES = {
    "ac922-4gpu": _Machine(
        "IBM AC922 (POWER9, Redbud): two V100 a socket, NVLink among them and to the processors",
        ac922.four,
        _POWER9_KERNELS,
    ),
    "ac922-6gpu": _Machine(
        "IBM AC922 (POWER9, Sequoia): three V100 a socket, NVLink among them and to the processors",
        ac922.six,
        _POWER9_KERNELS,
    ),
    "dgx1v": _Machine(
        "NVIDIA DGX-1 (x86): eight V100 in a hybrid cube mesh behind four switches", dgx1v.machine, _X86_KERNELS
    ),
    "pcie-box": _Machine(
        "an x86 box with one of everything that decides about PCI Express isolation", pcie_box.machine, _X86_KERNELS
    ),
    "vmd-server": _Machine(
        "an x86 server whose drives are behind two Intel Volume Management Devices", vmd_server.machine, _X86_KERNELS
    ),
}

MACHINES: dict[str, str] = {name: each.description for name, each in _MACHINES.items()}
"""Name and description of each machine."""

RANDOM = (f"{random.PREFIX}SEED", "a random fabric for trying laws on, the same for each seed (a number)")
"""How random machines are named, and what they are."""


def blueprint(name: str, kernel: str | None, links: bool) -> Blueprint:
    """Return a machine's declaration; TwinError for a name or a kernel that there is not."""
    rolled = name.startswith(random.PREFIX)
    if name not in _MACHINES and not rolled:
        raise TwinError(f"no such twin: {name!r}", hint=f"one of {', '.join((*MACHINES, RANDOM[0]))}")
    known = random.KERNELS if rolled else _MACHINES[name].kernels
    chosen = known[0] if kernel is None else kernel
    if chosen not in known:
        raise TwinError(f"{name} does not run kernel {chosen!r}", hint=f"one of {', '.join(known)}")
    return random.machine(name, chosen, links) if rolled else _MACHINES[name].build(chosen, links)
