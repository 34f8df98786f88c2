"""Registers behind BARs: read only where a read is safe and means something."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from atoll.host.asleep import asleep
from atoll.host.attribute import names, reason
from atoll.host.capture.register_record import read_record
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Function, Register
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["read_registers"]


def read_registers(
    tree: Tree,
    functions: Mapping[Address, Function],
    folders: Mapping[Address, str],
    wanted: Callable[[int, int], tuple[Register, ...]],
) -> dict[tuple[Address, Register], Fact[int]]:
    """Return the wanted registers of all functions: 32 bits each, little-endian, or why they are not known.

    Nothing is read of a function whose memory decoding is off or that is not in D0: such a read is answered
    with all ones at best, and on some machines it is an error that takes the host down. Where a capture has no
    BARs, what it recorded of them is believed.
    """
    recorded: dict[tuple[Address, Register], Fact[int]] | None = None
    found: dict[tuple[Address, Register], Fact[int]] = {}
    for address, function in functions.items():
        registers = wanted(function.vendor, function.device)
        if not registers:
            continue
        listed = value_of(names(tree, folders[address]), ())
        obstacle = asleep(function)
        for register in registers:
            name = f"resource{register.bar}"
            if obstacle:
                found[address, register] = Unknown(obstacle)
            elif name not in listed:
                recorded = read_record(tree) if recorded is None else recorded
                absent = Unknown(f"{name} was not captured, or the function has no such BAR")
                found[address, register] = recorded.get((address, register), absent)
            else:
                found[address, register] = _load(tree, f"{folders[address]}/{name}", register.offset)
    return found


def _load(tree: Tree, path: str, offset: int) -> Fact[int]:
    try:
        data = tree.read(path, offset=offset, size=4)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EBUSY):
            return Unknown(f"{path}: a driver claims it, or the offset is beyond its end")
        return Unknown(reason(error, path))
    if len(data) < 4:
        return Unknown(f"{path}: was not captured up to offset 0x{offset:x}")
    value = int.from_bytes(data, "little")
    if value == 0xFFFFFFFF:
        return Unknown(f"{path}: reads as all ones: the device is off or does not answer")
    return Known(value, f"{path}+0x{offset:x}")
