"""Whatever fails, and in whatever order things are done: nothing stays open, and every error says what to do."""

from __future__ import annotations

import errno
import mmap
import struct

import pytest
from fake_vfio import FakeKernel
from hypothesis import event, given
from hypothesis import strategies as st
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.vfio import Api, VfioError, open_space
from atoll.vfio.chain import capabilities

PLACES = [address("01:00.0"), address("02:00.0"), address("02:01.0"), address("03:00.0")]
DRIVERS = st.sampled_from(["vfio-pci", "vfio-pci", "vfio-pci", "nvidia", "pci-stub", None])
NUMBERS = st.sampled_from([errno.EPERM, errno.EBUSY, errno.EINVAL, errno.ENOMEM, errno.EIO, errno.EAGAIN])
DEED = ("open", "close", "reset", "hot", "map", "unmap", "window", "event", "ranges")
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(DEED),
        st.integers(0, 3),
    ),
    max_size=12,
)


FAILURES = st.dictionaries(st.integers(1, 60), NUMBERS, max_size=4)
"""Error numbers of the calls that fail, by their count."""
FUNCTIONS = st.tuples(*[st.tuples(st.integers(4, 6), DRIVERS, st.booleans()) for _ in PLACES])
"""Of each function its group, its driver, and whether it resets."""


@given(
    FUNCTIONS,
    st.booleans(),
    st.sampled_from(list(Api)),
    DEEDS,
    FAILURES,
)
def test_nothing_stays_open(
    functions: tuple[tuple[int, str | None, bool], ...],
    isolated: bool,
    api: Api,
    deeds: list[tuple[str, int]],
    failures: dict[int, int],
) -> None:
    devices = [FakeDevice(p, g, d, bus=p.bus, resets=r) for p, (g, d, r) in zip(PLACES, functions, strict=True)]
    machine = FakeMachine(devices, cdev=True, isolated_msi=isolated)
    fake = FakeKernel(machine)
    fake.fail_at = failures
    said: list[VfioError] = []
    try:
        with open_space(api, kernel=fake) as space:
            for deed, which in deeds:
                opened = {d.address: d for d in space.devices}
                device = opened.get(PLACES[which])
                try:
                    if deed == "open":
                        space.open(PLACES[which])
                    elif deed == "map":
                        space.map(which << 12, mmap.mmap(-1, 4096))
                    elif deed == "unmap":
                        space.unmap_all()
                    elif deed == "ranges":
                        assert all(r.first <= r.last for r in space.iova_ranges())
                    elif deed == "event" and device:
                        with device.event() as counter:
                            device.interrupt(1).signal([counter])
                    elif deed == "window" and device:
                        device.region(0).map()
                    elif deed == "close" and device:
                        device.close()
                        assert device.closed
                    elif deed == "reset" and device:
                        device.reset()
                    elif deed == "hot" and device:
                        device.hot_reset()
                except VfioError as error:
                    said.append(error)
    except VfioError as error:
        said.append(error)
    assert all(e.hint and e.message and e.errno for e in said)
    assert fake.files == {}
    assert fake.references == {}
    assert machine.owners == {}
    assert machine.group_files == {}
    assert all(d.opened == 0 for d in machine.devices)


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 64))
def test_garbage_chains_end(data: bytes, first: int, fixed: int) -> None:
    try:
        found = capabilities(data, first, fixed)
    except VfioError:
        event("refused")
    else:
        assert sum(len(c.data) for c in found) <= len(data)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.binary(max_size=24)), max_size=6), st.randoms())
def test_good_chains_are_read(links: list[tuple[int, int, bytes]], random: object) -> None:
    data, offsets = bytearray(32), []
    for _, _, body in links:
        offsets.append(len(data))
        data += bytes(8) + body
    order = list(range(len(links)))
    random.shuffle(order)  # type: ignore[attr-defined]
    for place, number in enumerate(order):
        kind, version, _ = links[number]
        following = offsets[order[place + 1]] if place + 1 < len(order) else 0
        struct.pack_into("=HHI", data, offsets[number], kind, version, following)
    found = capabilities(bytes(data), offsets[order[0]] if order else 0, 32)
    assert [(c.id, c.version, c.data[8:]) for c in found] == [links[number] for number in order]


@given(st.binary(max_size=120))
def test_a_device_with_a_garbage_chain(chain: bytes) -> None:
    fake = FakeKernel(FakeMachine([FakeDevice(PLACES[0], 5, chain=chain)]))
    with open_space(kernel=fake) as space:
        device = space.open(PLACES[0])
        try:
            region = device.region(0)
        except VfioError:
            event("refused")
        else:
            assert all(a.offset + a.size <= region.size for a in region.info.areas)
    assert fake.files == {}


def test_a_circle_is_told() -> None:
    data = bytes(32) + struct.pack("=HHI", 1, 1, 40) + struct.pack("=HHI", 2, 1, 32)
    with pytest.raises(VfioError, match="comes back to offset 32"):
        capabilities(data, 32, 32)


@pytest.mark.parametrize(
    ("first", "links", "says"),
    [
        (16, {}, "leads to offset 16 of 64 bytes, 32 of which are the structure"),
        (60, {}, "leads to offset 60 of 64 bytes"),
        (32, {32: 16}, "leads to offset 16 of 64 bytes"),
        (32, {32: 36}, "has a header at offset 32 that the next one overlaps"),
    ],
)
def test_a_chain_that_leaves_its_place_is_told(first: int, links: dict[int, int], says: str) -> None:
    data = bytearray(64)
    for offset, following in links.items():
        struct.pack_into("=HHI", data, offset, 1, 1, following)
    with pytest.raises(VfioError, match=says):
        capabilities(bytes(data), first, 32)


def test_many_links_are_read_at_once() -> None:
    count = 100_000
    data = b"".join(struct.pack("=HHI", 1, 1, 8 * (n + 2) if n + 1 < count else 0) for n in range(count))
    assert len(capabilities(bytes(8) + data, 8, 8)) == count
