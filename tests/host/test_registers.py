"""Registers behind BARs: read, or the reason why not."""

from __future__ import annotations

import pytest

from atoll.host import read_host
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Register
from atoll.pci.address import Address
from host.handmade import FOLDER, GPU, Files, Refusing, function_files, host_with, tree_of

A = Address.parse
MASK = Register(0, 0xA00148)


def wanted(vendor: int, device: int) -> tuple[Register, ...]:
    return (MASK,) if (vendor, device) == (0x10DE, 0x1DB1) else ()


def mask_of(files: Files, *refused: str) -> Fact[int]:
    tree = tree_of({**function_files(GPU), **function_files("0000:02:00.0", device=0x20B0), **files})
    host = read_host(Refusing(tree, *refused), registers=wanted)
    assert list(host.registers) == [(A(GPU), MASK)]
    return host.registers[A(GPU), MASK]


def bar(value: bytes) -> Files:
    return {f"{FOLDER}/resource0": bytes(0xA00148) + value}


def test_registers() -> None:
    assert mask_of(bar(b"\x00\x00\x15\x00")) == Known(0x150000, f"{FOLDER}/resource0+0xa00148")
    assert host_with(bar(bytes(4))).registers == {}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (bar(b"\xff" * 4), "all ones"),
        (bar(b"\x00"), "not captured up to"),
        ({}, "not captured"),
        (bar(bytes(4)) | {f"{FOLDER}/power_state": "D3hot"}, "D3hot"),
        (bar(bytes(4)) | {f"{FOLDER}/config": b"\xde\x10\xb1\x1d" + bytes(60)}, "memory decoding is off"),
        (bar(bytes(4)) | {f"{FOLDER}/config": bytes(64)}, "all zeros"),
        (bar(bytes(4)) | {f"{FOLDER}/config": b""}, "not known"),
    ],
)
def test_registers_that_tell_nothing(files: Files, reason: str) -> None:
    found = mask_of(files)
    assert isinstance(found, Unknown)
    assert reason in found.reason


def test_registers_that_may_not_be_read() -> None:
    found = mask_of(bar(bytes(4)), f"{FOLDER}/resource0")
    assert isinstance(found, Unknown)
    assert "root" in found.reason
