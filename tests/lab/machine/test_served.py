"""Functions that are served to QEMU: what a client sees and can write, each function its own, and the end of it all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from atoll.pci.acs import REDIRECTING, AcsFlag, read_acs
from atoll.pci.address import Address
from atoll.pci.config import ConfigSpace
from atoll.twin.spec import Bar, FunctionSpec
from atoll.vfio.user.client import Client
from atoll.vfio.user.protocol import RegionIndex
from lab.machine.served import Served, ServedFunction, served_argument

CONFIG = int(RegionIndex.CONFIG)
SPECS = (
    FunctionSpec(Address.parse("0000:01:00.0"), 0x8086, 0x10FB, 0x020000, bars=(Bar(0, 1 << 16),)),
    FunctionSpec(Address.parse("0000:01:00.1"), 0x1EDE, 0x0001, 0x120000, acs=REDIRECTING | AcsFlag.TB),
)


def sockets(served: Served) -> list[Path]:
    words = served.arguments(["-device", *(served_argument(index, {"id": f"f{index}"}) for index in range(2))])
    return [Path(json.loads(word)["socket"]["path"]) for word in words[1:]]


def test_each_is_as_declared() -> None:
    with Served(SPECS) as served:
        for spec, path in zip(SPECS, sockets(served), strict=True):
            with Client.connect(path) as client:
                space = ConfigSpace(lambda offset, count, client=client: client.read(CONFIG, offset, count))
                assert space.dword(0) == spec.device << 16 | spec.vendor
                acs = read_acs(space, spec.vendor, spec.device)
                assert (acs.capability if acs is not None else None) == spec.acs
                assert client.region(int(RegionIndex.BAR0)).size == (1 << 16 if spec.bars else 0)


def test_acs_control_is_written_until_a_reset_and_ids_are_not() -> None:
    device = ServedFunction(SPECS[1])
    space = ConfigSpace(lambda offset, count: device.read(CONFIG, offset, count))
    acs = read_acs(space, 0x1EDE, 1)
    assert acs is not None
    at = acs.control_offset
    device.write(CONFIG, at, b"\xff\xff")
    assert AcsFlag(int.from_bytes(device.read(CONFIG, at, 2), "little")) == SPECS[1].acs
    device.write(CONFIG, 0, b"\0\0\0\0")
    assert device.read(CONFIG, 0, 2) == b"\xde\x1e"
    device.reset()
    assert device.read(CONFIG, at, 2) == b"\0\0"


def test_a_client_that_leaves_makes_place_for_the_next_and_nothing_is_left_at_the_end() -> None:
    with Served(SPECS) as served:
        path = sockets(served)[0]
        for _ in range(3):
            with Client.connect(path) as client:
                assert client.read(CONFIG, 0, 2) == b"\x86\x80"
    assert not os.path.exists(path.parent)
    with pytest.raises(FileNotFoundError):
        Client.connect(path)


def test_other_words_are_left_as_they_are() -> None:
    with Served(()) as served:
        assert served.arguments(("-M", "q35", '{"driver": "nvme"}')) == ("-M", "q35", '{"driver": "nvme"}')
