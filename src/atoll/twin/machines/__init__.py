"""The machines there are: each a declaration, in a file of its own."""

from __future__ import annotations

from atoll.twin.error import TwinError
from atoll.twin.machines import ac922
from atoll.twin.spec import Blueprint

__all__ = ["MACHINES", "blueprint"]

_BUILDERS = {
    "ac922-4gpu": ac922.four,
    "ac922-6gpu": ac922.six,
}
_KERNELS = {
    "ac922-4gpu": ("6.12", "5.4", "5.4-isolate"),
    "ac922-6gpu": ("6.12", "5.4", "5.4-isolate"),
}
"""Each machine's kernels, the default first."""

MACHINES: dict[str, str] = {
    "ac922-4gpu": "IBM AC922 (POWER9, Redbud): two V100 a socket, NVLink among them and to the processors",
    "ac922-6gpu": "IBM AC922 (POWER9, Sequoia): three V100 a socket, NVLink among them and to the processors",
}
"""Name and description of each machine."""


def blueprint(name: str, kernel: str | None, links: bool) -> Blueprint:
    """Return a machine's declaration; TwinError for a name or a kernel that there is not."""
    if name not in _BUILDERS:
        raise TwinError(f"no such twin: {name!r}", hint=f"one of {', '.join(MACHINES)}")
    known = _KERNELS[name]
    chosen = known[0] if kernel is None else kernel
    if chosen not in known:
        raise TwinError(f"{name} does not run kernel {chosen!r}", hint=f"one of {', '.join(known)}")
    return _BUILDERS[name](chosen, links)
