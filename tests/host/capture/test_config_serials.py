"""Serial numbers in configuration space, in captures that are redacted."""

from __future__ import annotations

import struct

import pytest

from atoll.host.capture.redaction import Redactor
from atoll.host.trees.memory import FileEntry, MemoryTree
from host.capture.redaction_bench import NIC, SERIAL, redacted, with_serial
from host.handmade import function_files


def test_only_the_serial_number_of_configuration_space_changes() -> None:
    before, after = with_serial(), redacted().tree.read(f"{NIC}/config")
    assert [at for at in range(4096) if before[at] != after[at]]
    assert before[:0x144] == after[:0x144]
    assert before[0x14C:] == after[0x14C:]


@pytest.mark.parametrize("serial", [b"\0" * 8, b"\xff" * 8])
def test_no_serial_number_stays_none(serial: bytes) -> None:
    tree = MemoryTree("t")
    tree.add(f"{NIC}/config", FileEntry(with_serial(serial)))
    assert Redactor(b"s").tree(tree).read(f"{NIC}/config") == with_serial(serial)


def test_a_list_that_breaks_off_is_told() -> None:
    config = bytearray(with_serial())
    struct.pack_into("<I", config, 0x100, 0x0001 | 1 << 16 | 0x180 << 20)
    struct.pack_into("<I", config, 0x180, 0x0002 | 1 << 16 | 0x100 << 20)
    made = redacted(function_files("0000:01:00.0", config=bytes(config)))
    assert [entry.path for entry in made.manifest.missing] == [f"{NIC}/config"]
    assert "a serial number may be left" in made.manifest.missing[0].reason


def test_a_serial_number_behind_a_broken_standard_list() -> None:
    config = bytearray(with_serial())
    config[0x40:0x42] = bytes((0x05, 0x00))
    made = redacted(function_files("0000:01:00.0", config=bytes(config)))
    assert SERIAL not in made.tree.read(f"{NIC}/config")


def test_what_the_register_of_vital_product_data_holds() -> None:
    config = bytearray(with_serial())
    config[0x41] = 0x80
    config[0x80:0x88] = bytes((0x03, 0x00, 0x08, 0x80)) + b"SN77"
    found = redacted(function_files("0000:01:00.0", config=bytes(config))).tree.read(f"{NIC}/config")
    assert found[0x80:0x84] == config[0x80:0x84]
    assert b"SN77" not in found


def test_vital_product_data_at_the_end_of_the_list_leaves_the_extended_one_whole() -> None:
    config = bytearray(with_serial())
    config[0x41] = 0xFC
    config[0xFC:0x100] = bytes((0x03, 0x00, 0x08, 0x80))
    made = redacted(function_files("0000:01:00.0", config=bytes(config)))
    found = made.tree.read(f"{NIC}/config")
    assert found[:0x104] == config[:0x104]
    assert SERIAL not in found


def test_vital_product_data_under_another_capability_keeps_the_list_whole() -> None:
    config = bytearray(with_serial())
    config[0x41] = 0x80
    config[0x80:0x86] = bytes((0x03, 0x84, 0x08, 0x80, 0x05, 0x00))
    made = redacted(function_files("0000:01:00.0", config=bytes(config)))
    assert made.tree.read(f"{NIC}/config")[:0x100] == config[:0x100]
    assert any("another capability lies over it" in missing.reason for missing in made.manifest.missing)
