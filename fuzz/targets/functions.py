"""What a function says of itself: the capability lists of configuration space, and what their structures hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from atoll.errors import Unreadable
from atoll.host.capture.redaction import Redactor
from atoll.host.ivrs import aliases_alone, id_aliases
from atoll.host.trees.memory import FileEntry, LinkEntry, MemoryTree
from atoll.pci.acs import read_acs
from atoll.pci.ats import read_ats, read_pasid
from atoll.pci.bar import read_bars
from atoll.pci.bridge import read_bridge
from atoll.pci.config import ConfigSpace
from atoll.pci.express import (
    read_ari_forwarding,
    read_flr,
    read_link,
    read_pending,
    read_port_number,
    read_port_type,
    read_slot,
)
from fuzz.target import Target
from fuzz.targets.seeds import configurations

__all__ = ["FUNCTIONS", "TABLE"]

_READERS: tuple[Callable[[ConfigSpace], object], ...] = (
    *(read_ats, read_pasid, read_bars, read_bridge, read_ari_forwarding, read_flr, read_link, read_pending),
    *(read_port_number, read_port_type, read_slot),
)
_READS_AT_MOST = 1024 + 16
"""Dwords of a configuration space, and the header: no walk asks for more."""


def _config(data: bytes) -> None:
    asked = 0

    def read(offset: int, size: int, /) -> bytes:
        nonlocal asked
        asked += 1
        assert 0 <= offset <= 4096 - size, f"{size} bytes at {offset:#x}"
        assert asked <= _READS_AT_MOST, f"{asked} reads of one configuration space"
        return data[offset : offset + size]

    space = ConfigSpace(read)
    for reader in _READERS:
        try:
            reader(space)
        except Unreadable:
            continue
    for ids in ((0x8086, 0x1901), (0x8086, 0x9D10)):
        try:
            read_acs(space, *ids)
        except Unreadable:
            continue
    _no_serial_number_is_left(data)


_FOLDER = "sys/devices/pci0000:00/0000:00:01.0"


def _no_serial_number_is_left(data: bytes) -> None:
    """What redaction leaves in a configuration space has as many bytes, and reads alike but for the numbers."""
    tree = MemoryTree("fuzz")
    tree.add(f"{_FOLDER}/config", FileEntry(data))
    tree.add("sys/bus/pci/devices/0000:00:01.0", LinkEntry(f"../../../{_FOLDER.removeprefix('sys/')}"))
    found = Redactor(b"secret").tree(tree).read(f"{_FOLDER}/config")
    assert len(found) == len(data)
    changed = [at for at in range(min(len(data), 256)) if found[at] != data[at]]
    if changed:
        # What the data register of vital product data latched (PCI Local Bus Specification 3.0, appendix I).
        assert changed[-1] - changed[0] < 4, f"changed from {changed[0]:#x} to {changed[-1]:#x}"
        assert not any(found[at] for at in changed)
    assert _walked(found) == _walked(data)


def _walked(data: bytes) -> list[object]:
    space, lists = ConfigSpace(lambda offset, size: data[offset : offset + size]), []
    for capabilities in (ConfigSpace.standard, ConfigSpace.extended):
        try:
            lists.append(capabilities.__get__(space))
        except Unreadable as error:
            lists.append(error.message)
    return lists


def _firmware_table(data: bytes) -> None:
    told = id_aliases(data)
    alone = aliases_alone(data)
    assert id_aliases(alone) == told
    assert len(alone) <= 48 + 36 * len(told)


TABLE = bytes.fromhex(
    "495652536c000000020053414d504c4553414d504c452d312001000000434f5245010000413020000000000000000000"
    "10b03c0002004000000018fd000000000000000000000000"
    "0308000004feff004200030000a4000043080a0000000a0004ff0a00480000d722a00002"
)
"""An IOMMU's block: a range, an alias, a range of aliases, what is no PCI function."""


def _seeds() -> Iterator[bytes]:
    yield from sorted(set(configurations().values()))


FUNCTIONS = (
    Target(
        "config-space",
        _config,
        _seeds,
        (b"\x10\x00\x42\x00", b"\x0d\x00\x01\x10", b"\x10\x00\x01\x10", b"\xff\xff\xff\xff", b"\x0f\x00\x01\x10"),
        longest=4096,
    ),
    Target(
        "firmware-table",
        _firmware_table,
        lambda: iter((TABLE,)),
        (b"\x10\x00\x24\x00", b"\x43\x00\x01\x00", b"\x04\xff\xff\x00", b"\xf0", b"\x40\x00"),
        longest=4096,
    ),
)
