"""The NVLink disable register: its sequence, its stickiness, what opens it again."""

from __future__ import annotations

import errno

import pytest

from atoll.twin import Twin
from twin.bench import ALL_PEERS, DISABLE, at, cut, give, set_command, sysfs, text

GPU, NEIGHBOUR, PORT = at("0004:04:00.0"), at("0004:05:00.0"), at("0004:02:0a.0")


def mask(twin: Twin) -> int:
    return twin.peek(GPU, "bar0", DISABLE)


def test_boot_register_names_a_v100() -> None:
    assert Twin.new("ac922-4gpu").peek(GPU, "bar0", 0) == 0x140000A1


def test_whole_sequence_is_accepted() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, GPU)
    assert mask(twin) == ALL_PEERS
    assert twin.peek(NEIGHBOUR, "bar0", DISABLE) == 0


@pytest.mark.parametrize("left_out", [0x12004C, 0x122204, 0x200])
def test_without_one_of_its_steps_it_is_not(left_out: int) -> None:
    twin = Twin.new("ac922-4gpu")
    for offset, value in ((0x12004C, 4), (0x122204, 2), (0x200, 1 << 25), (DISABLE, ALL_PEERS)):
        if offset != left_out:
            twin.poke(GPU, "bar0", offset, value)
    assert mask(twin) == 0


def test_bits_can_be_set_only_and_only_six_of_them() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, GPU, 0x010000)
    twin.poke(GPU, "bar0", DISABLE, 0)
    assert mask(twin) == 0x010000
    twin.poke(GPU, "bar0", DISABLE, 0xFFFFFFFF)
    assert mask(twin) == 0x3F0000


def test_only_secondary_bus_resets_and_power_open_it() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, GPU)
    twin.write(sysfs(GPU, "driver/unbind"), b"0004:04:00.0")
    twin.write(sysfs(GPU, "driver_override"), b"vfio-pci")
    twin.write("sys/bus/pci/drivers_probe", b"0004:04:00.0")
    twin.write(sysfs(GPU, "remove"), b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    assert mask(twin) == ALL_PEERS
    twin.reset(GPU, "bus")
    assert mask(twin) == 0
    assert twin.peek(GPU, "bar0", 0x200) == 0
    cut(twin, GPU)
    twin.event("suspend")
    assert mask(twin) == 0


@pytest.mark.parametrize("bridge", ["0004:02:0a.0", "0004:01:00.0", "0004:00:00.0"])
def test_reset_of_any_bridge_above_opens_it(bridge: str) -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, GPU)
    twin.write(sysfs(at(bridge), "reset_subordinate"), b"1")
    assert mask(twin) == 0


def test_reset_of_the_neighbour_does_not() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, GPU)
    twin.reset(NEIGHBOUR, "bus")
    assert mask(twin) == ALL_PEERS


def test_raw_secondary_bus_reset_leaves_the_device_unconfigured() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, GPU)
    control = twin.peek(PORT, "config", 0x3C)
    twin.poke(PORT, "config", 0x3C, control | 0x40 << 16)
    assert twin.peek(GPU, "config", 0) == 0xFFFFFFFF
    twin.poke(PORT, "config", 0x3C, control)
    assert twin.peek(GPU, "config", 0) == 0x1DB110DE
    assert twin.peek(GPU, "config", 0x10) == 0
    assert twin.peek(GPU, "bar0", 0) == 0xFFFFFFFF
    set_command(twin, GPU, on=0x2)
    assert twin.peek(GPU, "bar0", 0) == 0xFFFFFFFF, "no load comes to a BAR at 0"
    twin.poke(GPU, "config", 0x10, 0x81000000)
    assert twin.peek(GPU, "bar0", DISABLE) == 0


def test_rescan_configures_what_a_raw_reset_left() -> None:
    twin = Twin.new("ac922-4gpu")
    before = twin.read(sysfs(GPU, "config"))
    control = twin.peek(PORT, "config", 0x3C)
    for value in (control | 0x40 << 16, control):
        twin.poke(PORT, "config", 0x3C, value)
    twin.write(sysfs(GPU, "remove"), b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    assert twin.read(sysfs(GPU, "config")) == before
    assert twin.peek(GPU, "bar0", 0) == 0x140000A1


def test_registers_do_not_answer_without_decoding_or_power() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, GPU)
    set_command(twin, GPU, off=0x2)
    assert mask(twin) == 0xFFFFFFFF
    twin.poke(GPU, "bar0", 0x12004C, 0x77)
    set_command(twin, GPU, on=0x2)
    assert twin.peek(GPU, "bar0", 0x12004C) == 4
    twin.poke(GPU, "config", 0x64, 3)
    assert mask(twin) == 0xFFFFFFFF
    twin.poke(GPU, "config", 0x64, 0)
    assert mask(twin) == ALL_PEERS


def test_resource_file_reads_aligned_words_even_with_a_driver_bound() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin, GPU)
    assert text(twin, sysfs(GPU, "uevent")).startswith("DRIVER=nouveau")
    assert twin.read(sysfs(GPU, "resource0"), offset=DISABLE, size=4) == ALL_PEERS.to_bytes(4, "little")
    for offset, size in ((0, 8), (0, None), (2, 4), (16 << 20, 4)):
        with pytest.raises(OSError, match="32-bit") as caught:
            twin.read(sysfs(GPU, "resource0"), offset=offset, size=size)
        assert caught.value.errno == errno.EINVAL
    set_command(twin, GPU, off=0x2)
    with pytest.raises(OSError, match="decoding") as caught:
        twin.read(sysfs(GPU, "resource0"), offset=0, size=4)
    assert caught.value.errno == errno.EIO


def test_resource_lease_needs_a_free_device_that_answers() -> None:
    twin = Twin.new("ac922-4gpu")
    with pytest.raises(OSError, match="claimed by nouveau"):
        twin.lease_resource(GPU)
    give(twin, GPU)
    lease = twin.lease_resource(GPU)
    assert (lease.address, lease.reset_on_open, lease.reset_on_close) == (GPU, False, False)
    lease.write32(0, 0x200, 1 << 25)
    assert lease.read32(0, 0x200) == twin.peek(GPU, "bar0", 0x200) == 1 << 25
    with pytest.raises(OSError, match="cannot reset") as caught:
        lease.reset()
    assert caught.value.errno == errno.ENOTTY
    lease.close()
    with pytest.raises(OSError, match="closed"):
        lease.read32(0, 0)
    set_command(twin, GPU, off=0x2)
    with pytest.raises(OSError, match="decoding"):
        twin.lease_resource(GPU)
    twin.write(sysfs(GPU, "driver/unbind"), b"0004:04:00.0")
    twin.write(sysfs(GPU, "enable"), b"1")
    assert twin.lease_resource(GPU).read32(0, 0) == 0x140000A1
