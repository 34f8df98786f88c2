"""Twins whose registers are changed behind everybody's back, by a seeded chance."""

from __future__ import annotations

from random import Random

from reach_hosts import Scene, scene

from atoll.host.fact import Known
from atoll.host.model import Function
from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.twin import Twin

__all__ = ["MACHINES", "cut", "gpus_of", "set_acs", "set_command", "shake", "some_twin"]

MACHINES = (
    ("ac922-4gpu", "6.12"),
    ("ac922-4gpu", "5.4"),
    ("ac922-4gpu", "5.4-isolate"),
    ("ac922-6gpu", "6.12"),
    ("dgx1v", "6.12"),
    ("pcie-box", "6.12"),
    ("pcie-box", "6.1"),
)
_WORDS = (0, 0x1D, 0x1D, 0x0D, 0x0C, 0x04, 0x5D, 0x1F, 0x1C)


def some_twin(rng: Random, *names: str) -> Twin:
    """Return a fresh twin of some machine, or of one of these."""
    name, kernel = rng.choice([one for one in MACHINES if not names or one[0] in names])
    return Twin.new(name, kernel=kernel)


def gpus_of(found: Scene) -> list[Address]:
    """Return the V100s of a scene."""
    return [a for a, f in found.host.functions.items() if (f.vendor, f.device) == (0x10DE, 0x1DB1)]


def set_acs(twin: Twin, function: Function, word: int) -> None:
    """Write what is implemented of an ACS control word."""
    assert isinstance(function.acs, Known)
    assert function.acs.value is not None
    offset, shift = function.acs.value.control_offset & ~3, 8 * (function.acs.value.control_offset & 3)
    kept = twin.peek(function.address, "config", offset) & ~(0xFFFF << shift)
    word &= int(function.acs.value.capability)
    twin.poke(function.address, "config", offset, kept | word << shift)


def set_command(twin: Twin, address: Address, word: Command) -> None:
    """Write the command register; the status register keeps its state where zeroes are written."""
    twin.poke(address, "config", 4, int(word))


def cut(twin: Twin, gpu: Address, mask: int) -> None:
    """Set bits of a V100's disable mask by the documented sequence."""
    twin.poke(gpu, "bar0", 0x12004C, 0x4)
    twin.poke(gpu, "bar0", 0x122204, 0x2)
    twin.poke(gpu, "bar0", 0x200, twin.peek(gpu, "bar0", 0x200) | 0x02000000)
    twin.poke(gpu, "bar0", 0xA00148, twin.peek(gpu, "bar0", 0xA00148) | mask)


def shake(rng: Random, twin: Twin, *, much: float = 0.4, commands: bool = True, masks: bool = True) -> list[str]:
    """Change some ACS words, command registers and masks; return what was done."""
    done = []
    found = scene(twin)
    for address, function in found.host.functions.items():
        if address in found.settings.acs and rng.random() < much:
            word = rng.choice((*_WORDS, rng.randrange(0x80)))
            set_acs(twin, function, word)
            done.append(f"{address} acs {word:#x}")
        if commands and rng.random() < much / 3:
            command = rng.choice((Command(0), Command.MEMORY, Command.MASTER, Command.MEMORY | Command.MASTER))
            set_command(twin, address, command)
            done.append(f"{address} command {int(command):#x}")
    for gpu in gpus_of(found) if masks else ():
        if rng.random() < much:
            mask = rng.randrange(64) << 16
            cut(twin, gpu, mask)
            done.append(f"{gpu} mask {mask:#x}")
    return done
