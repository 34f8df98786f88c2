"""The chips that can be emulated: registers and resets are the twin's, shown to a real kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atoll.pci.address import Address
from atoll.twin import a100, v100
from atoll.twin.spec import Bar, FunctionSpec, Model
from lab.errors import LabError

__all__ = ["CHIPS", "Chip", "chip"]

_DISPLAY_3D = 0x030200


@dataclass(frozen=True, slots=True)
class Chip:
    """A kind of GPU: how its registers behave."""

    name: str
    device: int
    """PCI device id; the vendor is NVIDIA."""
    subsystem: int
    model: Model
    links: int
    bar0: int
    """Bytes of BAR 0."""
    flr: bool
    """Has function level reset."""
    read: Callable[[dict[int, int], int], int]
    write: Callable[[dict[int, int], int, int], None]
    cut_links: Callable[[dict[int, int]], int]
    """The links that are cut at this end, one bit each."""
    function_reset: Callable[[dict[int, int]], None]
    """What a function level reset takes away."""

    def spec(self, memory: int) -> FunctionSpec:
        """Return the function as it leaves the factory, with ``memory`` bytes in BAR 1."""
        return FunctionSpec(
            Address(0, 0, 0, 0),
            0x10DE,
            self.device,
            _DISPLAY_3D,
            bars=(Bar(0, self.bar0), Bar(1, memory, wide=True, prefetchable=True)),
            flr=self.flr,
            model=self.model,
            subsystem=(0x10DE, self.subsystem),
        )


def _nothing(registers: dict[int, int]) -> None:
    """A V100 has no function level reset."""


CHIPS = {
    "v100": Chip(
        "v100",
        0x1DB1,
        0x1212,
        Model.V100,
        v100.LINKS,
        v100.SIZE,
        False,
        v100.read,
        v100.write,
        v100.cut_links,
        _nothing,
    ),
    "a100": Chip(
        "a100",
        0x20B0,
        0x134F,
        Model.PLAIN,
        a100.LINKS,
        a100.SIZE,
        True,
        a100.read,
        a100.write,
        a100.cut_links,
        a100.function_reset,
    ),
}
"""Each chip by its name. Ids: the PCI ID repository (V100-SXM2-16GB, A100-SXM4-40GB)."""


def chip(name: str) -> Chip:
    """Return a chip by its name; LabError for one that there is not."""
    if name not in CHIPS:
        raise LabError(f"no such GPU: {name!r}", f"one of {', '.join(CHIPS)}")
    return CHIPS[name]
