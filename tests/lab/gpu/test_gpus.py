"""Emulated GPUs, driven by our own client: registers, links, mask, resets, DMA, interrupts, attack, logs."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from owned import V100_MASK, Owner, owned, until

from atoll.vfio.user.client import Client
from atoll.vfio.user.protocol import IrqIndex
from lab.errors import LabError
from lab.gpu.gpus import Gpus

Three = tuple[Gpus, list[Owner]]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Three]:
    with owned(tmp_path) as made:
        yield made


def code_of(owner: Owner, link: int) -> int:
    with pytest.raises(OSError, match=r".") as caught:
        owner.gpu.secret(link)
    return caught.value.errno or 0


def test_it_is_a_v100(three: Three) -> None:
    _, owners = three
    client = owners[0].client
    assert client.read(7, 0, 4) == bytes.fromhex("de10b11d")
    assert client.read32(0, 0) == 0x140000A1
    assert client.read(0, 1, 2) == b"\x00\x00"
    client.write32(0, 0x200, 0x12345678)
    client.write(0, 0x201, b"\xff")
    assert client.read32(0, 0x200) == 0x1234FF78


def test_without_decoding_nobody_answers(three: Three) -> None:
    _, owners = three
    client = owners[0].client
    client.write(7, 4, b"\x04\x00")
    assert client.read32(0, 0) == 0xFFFFFFFF
    client.write32(0, 0x200, 1)
    owners[0].enable()
    assert client.read32(0, 0x200) == 0


def test_what_configuration_space_holds_can_be_written_as_far_as_hardware_lets(three: Three) -> None:
    _, owners = three
    client = owners[0].client
    client.write(7, 0, b"\xff\xff\xff\xff")
    assert client.read(7, 0, 2) == b"\xde\x10"
    client.write(7, 0x10, b"\xff\xff\xff\xff")
    assert client.read(7, 0x10, 4) == b"\x00\x00\x00\xff", "BAR 0 has 16 MiB"
    client.write(7, 0x14, b"\xff" * 8)
    assert client.read(7, 0x14, 8) == b"\x0c\x00\xf0" + b"\xff" * 5, "BAR 1 has 1 MiB, 64-bit, prefetchable"


def test_links_read_secrets_and_memory_moves_both_ways(three: Three) -> None:
    gpus, owners = three
    assert owners[0].gpu.secret(0) == gpus.secrets[1]
    assert owners[0].gpu.secret(1) == gpus.secrets[2]
    assert owners[2].gpu.secret(1) == gpus.secrets[1]
    owners[0].gpu.write_peer(0, 0x8000, b"planted here")
    assert owners[1].client.read(1, 0x8000, 12) == b"planted here"
    mapping = owners[1].client.map_region(1)
    assert mapping[0x8000:0x800C] == b"planted here"
    mapping.close()
    assert code_of(owners[0], 5) == errno.ENOLINK


@pytest.mark.parametrize("count", [0, 1025])
def test_an_order_that_no_gpu_carries_out(three: Three, count: int) -> None:
    _, owners = three
    with pytest.raises(ValueError, match="one order"):
        owners[0].gpu.read_peer(0, 0, count)
    with pytest.raises(OSError, match="Bad address"):
        owners[0].gpu.read_peer(0, (1 << 20) - 1, 2)
    with pytest.raises(OSError, match="Invalid"):
        owners[0].gpu.order(99, 0, 4)


def test_a_cut_at_either_end_stops_both_directions_until_a_bus_reset(three: Three) -> None:
    gpus, owners = three
    owners[1].cut(0b000001)
    assert owners[1].client.read32(0, V100_MASK) == 0x10000
    assert code_of(owners[0], 0) == errno.EREMOTEIO
    assert code_of(owners[1], 0) == errno.ENOLINK
    assert owners[1].gpu.secret(1) == gpus.secrets[2], "the other link is up"
    owners[1].client.write32(0, V100_MASK, 0)
    assert code_of(owners[0], 0) == errno.EREMOTEIO
    owners[0].cut(0b000001)
    owners[1].client.reset()
    owners[1].enable()
    assert code_of(owners[1], 0) == errno.EREMOTEIO, "the other end holds"
    owners[0].client.reset()
    owners[0].enable()
    assert owners[0].gpu.secret(0) == gpus.secrets[1]


def test_the_mask_outlives_its_client(tmp_path: Path) -> None:
    with owned(tmp_path) as (gpus, owners):
        owners[0].cut(0b1)
        owners[0].client.close()
        with Client.connect(gpus.devices[0], seconds=20) as client:
            assert client.read32(0, V100_MASK) == 0x10000
            assert code_of(owners[1], 0) == errno.EREMOTEIO


def test_one_client_at_a_time(three: Three) -> None:
    gpus, owners = three
    with pytest.raises(OSError, match=r"closed|reset|Broken"):
        Client.connect(gpus.devices[0], seconds=20)
    assert owners[0].client.read32(0, 0) == 0x140000A1
    assert gpus.record().named("refuse", 0)


def test_dma_reaches_what_the_client_opened_and_only_as_bus_master(three: Three) -> None:
    _, owners = three
    owner = owners[0]
    memory = os.memfd_create("ram")
    os.ftruncate(memory, 0x2000)
    os.pwrite(memory, b"in memory", 0)
    for share in (True, False):
        owner.client.map_memory(0x10000, memory, 0x1000, share=share)
        assert owner.gpu.dma_read(0x10000, 9) == b"in memory"
        owner.gpu.dma_write(0x10040, b"by the gpu")
        assert os.pread(memory, 10, 0x40) == b"by the gpu"
        owner.client.write(7, 4, b"\x02\x00")
        with pytest.raises(OSError, match="not permitted"):
            owner.gpu.dma_read(0x10000, 9)
        owner.enable()
        owner.client.unmap_memory(0x10000, 0x1000)
        with pytest.raises(OSError, match="Bad address"):
            owner.gpu.dma_read(0x10000, 9)
    os.close(memory)


def test_an_interrupt_tells_that_an_order_ended(three: Three) -> None:
    _, owners = three
    owner = owners[0]
    eventfd = os.eventfd(0)
    owner.client.set_eventfds(IrqIndex.MSI, [eventfd])
    owner.gpu.secret(0)
    assert not select.select([eventfd], [], [], 0)[0], "it was not asked for"
    owner.gpu.interrupts(True)
    owner.gpu.secret(0)
    assert select.select([eventfd], [], [], 20)[0]
    assert os.eventfd_read(eventfd) == 1
    os.close(eventfd)


def test_a_reset_forgets_the_order_and_the_registers(three: Three) -> None:
    _, owners = three
    owners[0].gpu.secret(0)
    owners[0].gpu.run(7)
    owners[0].client.reset()
    owners[0].enable()
    assert owners[0].gpu.register(0x04) == 0
    assert owners[0].gpu.register(0x20) == 0
    assert owners[0].gpu.register(0x1C) == 7, "who runs on it did not stop"


def test_an_a100_is_cut_link_by_link_and_a_function_reset_does_not_open_it(tmp_path: Path) -> None:
    with owned(tmp_path, model="a100", count=2, links=((0, 5, 1, 11),)) as (gpus, owners):
        client = owners[0].client
        assert client.read32(0, 0) == 0x170000A1
        block = 0xA17000 + 0x40000 + 0x8000
        assert owners[0].gpu.secret(5) == gpus.secrets[1]
        client.write32(0, block + 0x64C, 1)
        assert code_of(owners[1], 11) == errno.EREMOTEIO
        client.write32(0, block + 0x64C, 0)
        assert owners[1].gpu.secret(11) == gpus.secrets[0], "not locked yet"
        client.write32(0, block + 0x64C, 1)
        client.write32(0, block + 0x650, 1)
        client.write32(0, block + 0x64C, 0)
        client.write32(0, block + 0x650, 0)
        assert code_of(owners[1], 11) == errno.EREMOTEIO
        client.write(7, 0x80, b"\x00\x80")  # Initiate Function Level Reset in device control
        owners[0].enable()
        assert client.read32(0, block + 0x64C) == 1
        assert code_of(owners[1], 11) == errno.EREMOTEIO
        client.reset()
        owners[0].enable()
        assert owners[1].gpu.secret(11) == gpus.secrets[0]


# -- the attack and what the logs say of it


def test_the_attack_sees_what_opens_and_what_closes(tmp_path: Path) -> None:
    with owned(tmp_path, attack=0.0005) as (gpus, owners):
        until(lambda: len(gpus.attacks()) == 6)
        assert all(attempt.reads for attempt in gpus.attacks()), "every secret is read before anything is cut"
        before = time.monotonic_ns()
        owners[1].cut(0b11)
        until(lambda: sum(not attempt.reads for attempt in gpus.attacks()) == 4)
        closed = time.monotonic_ns()
        owners[1].client.reset()
        until(lambda: sum(attempt.reads for attempt in gpus.attacks()) == 10)
        record = gpus.record()
    assert record.opened(0, 2, before, closed)[0].end == closed
    assert record.opened(0, 1, before, closed)[0].end < closed
    assert len(record.opened(0, 1, before, time.monotonic_ns())) == 2
    assert len(record.named("reset", 1)) == 1
    tries = gpus.record().named("tries", 0)
    assert tries
    assert all(event["count"] for event in tries)


def test_a_breach_is_a_path_between_two_who_run(tmp_path: Path) -> None:
    start = time.monotonic_ns()
    with owned(tmp_path) as (gpus, owners):
        for token, owner in enumerate(owners, start=1):
            owner.cut(0b11)
            owner.gpu.run(token)
        assert gpus.record().breaches(start, time.monotonic_ns()) == {}
        owners[0].client.reset()
        assert gpus.record().breaches(start, time.monotonic_ns()) == {}, "both ends were cut"
        owners[1].client.reset()
        owners[1].enable()
        found = gpus.record().breaches(start, time.monotonic_ns())
        assert list(found) == [gpus.links[0]]
        owners[1].gpu.run(0)
        later = time.monotonic_ns()
        assert gpus.record().breaches(later, time.monotonic_ns()) == {}
        owners[1].gpu.run(1)
        assert gpus.record().breaches(later, time.monotonic_ns()) == {}, "one owner may have both"


def test_whoever_goes_away_runs_no_longer(tmp_path: Path) -> None:
    with owned(tmp_path) as (gpus, owners):
        owners[0].gpu.run(5)
        owners[0].client.close()
        until(lambda: [event["token"] for event in gpus.record().named("owner", 0)] == [5, 0])
        assert gpus.record().named("disconnect", 0)


# -- starting and stopping


@pytest.mark.parametrize(
    ("links", "told"),
    [
        (((0, 0, 1, 6),), "no link 6"),
        (((0, 0, 3, 0),), "GPU 3"),
        (((0, 0, 1, 0), (0, 0, 2, 0)), "twice"),
        (((0, 0, 0, 1),), "itself"),
    ],
)
def test_links_that_cannot_be(tmp_path: Path, links: tuple[tuple[int, int, int, int], ...], told: str) -> None:
    with pytest.raises(LabError, match=told):
        Gpus(count=3, links=links, folder=tmp_path)


def test_no_such_gpu(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="h100"):
        Gpus(count=1, folder=tmp_path, model="h100")


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    stack = ExitStack()
    gpus = stack.enter_context(Gpus(count=2, links=((0, 0, 1, 0),), folder=tmp_path))
    os.kill(gpus.pids[1], signal.SIGKILL)
    until(lambda: not gpus.alive(1))
    with pytest.raises(LabError, match="GPU 1 died"):
        stack.close()


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    with Gpus(count=1, folder=deep) as gpus, Client.connect(gpus.devices[0], seconds=20) as client:
        assert client.info().regions == 9
    assert (deep / "gpu0.log").exists()
    assert not gpus.devices


def test_what_qemu_gets(tmp_path: Path) -> None:
    with Gpus(count=1, folder=tmp_path) as gpus:
        text = gpus.qemu(0, bus="rp0", addr="0.1")
        assert '"driver": "vfio-user-pci"' in text
        assert '"addr": "0.1"' in text
        assert str(gpus.devices[0]) in text
