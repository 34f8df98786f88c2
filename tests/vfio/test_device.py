"""An open device: regions, windows, interrupts, resets, features."""

from __future__ import annotations

import errno
import mmap
import struct
from collections.abc import Callable, Iterator

import pytest
from fake_vfio import FakeKernel
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.vfio import AddressSpace, Api, Device, IrqIndex, RegionIndex, VfioError, open_space
from atoll.vfio.errors import Closed, HotResetRefused, MappingError, VfioMissing
from atoll.vfio.uapi.feature import Feature

A, B, C = address("01:00.0"), address("02:00.0"), address("02:01.0")


@pytest.fixture
def fake() -> FakeKernel:
    devices = [FakeDevice(A, 5, bus=1), FakeDevice(B, 6, bus=2), FakeDevice(C, 7, bus=2, resets=False)]
    return FakeKernel(FakeMachine(devices, cdev=True))


@pytest.fixture(params=list(Api))
def space(request: pytest.FixtureRequest, fake: FakeKernel) -> Iterator[AddressSpace]:
    with open_space(request.param, kernel=fake) as made:
        yield made
    assert fake.files == {}
    assert fake.references == {}


def test_accesses(space: AddressSpace, fake: FakeKernel) -> None:
    bar = space.open(A).region(RegionIndex.BAR0)
    bar.write32(0x100, 0x12345678)
    assert bar.read(0x100, 4) == b"\x78\x56\x34\x12"
    assert bar.load(0x102, 2) == 0x1234
    assert bar.read32(0x100) == 0x12345678
    bar.store(0x108, 1 << 63, 8)
    assert bar.load(0x108, 8) == 1 << 63
    assert len(bar.read(0, bar.size)) == bar.size
    for wrong in (lambda: bar.read32(bar.size), lambda: bar.read32(2), lambda: bar.load(0, 3), lambda: bar.read(-4, 4)):
        with pytest.raises(VfioError) as caught:
            wrong()
        assert caught.value.errno == errno.EINVAL
    none = space.open(A).region(RegionIndex.BAR3)
    assert none.size == 0
    with pytest.raises(VfioError, match="beyond"):
        none.read32(0)


def test_what_the_kernel_does_not_offer_of_it_is_a_kind_that_it_has_not(space: AddressSpace, fake: FakeKernel) -> None:
    """It has no information on VGA where that is not built, nor on errors of what is not PCI Express."""
    del fake.machine.devices[0].irqs[IrqIndex.ERR]
    device = space.open(A)
    assert device.region(RegionIndex.VGA).size == 0
    assert device.interrupt(IrqIndex.ERR).info.count == 0
    for wrong in (lambda: device.region(device.info.regions), lambda: device.interrupt(device.info.irqs)):
        with pytest.raises(VfioError) as caught:
            wrong()
        assert caught.value.errno == errno.EINVAL


def test_all_regions(space: AddressSpace) -> None:
    bar, config = space.open(A).regions()
    assert (bar.index, config.index) == (0, 7)
    assert [(area.offset, area.size) for area in bar.areas] == [(0, bar.size)]
    assert config.areas == ()


def test_decoding_off_is_an_error_not_ones(space: AddressSpace) -> None:
    device = space.open(A)
    assert device.command == Command.MEMORY
    device.bus_master(True)
    assert device.command == Command.MEMORY | Command.MASTER
    device.decode(False)
    with pytest.raises(VfioError) as caught:
        device.region(0).read32(0)
    assert caught.value.errno == errno.EIO
    device.decode(True)
    device.bus_master(False)
    assert device.command == Command.MEMORY


def test_a_window(space: AddressSpace, fake: FakeKernel) -> None:
    device = space.open(A)
    device.region(0).write32(0x1008, 77)
    with device.region(0).map(0x1000, 0x1000) as window:
        assert window.read32(0x1008) == 77
        window.write32(0x100C, 78)
        assert window.words[3] == 78
        for offset in (0, 0x2000, 0x1002):
            with pytest.raises(VfioError, match="not in it"):
                window.read32(offset)
    with pytest.raises(Closed):
        window.read32(0x1008)
    for offset, size in ((0x800, None), (0, 1 << 20), (0, 0)):
        with pytest.raises(VfioError, match="cannot be mapped"):
            device.region(0).map(offset, size)
    with pytest.raises(VfioError):
        device.config.map()


def test_closing_unmaps(space: AddressSpace, fake: FakeKernel) -> None:
    device = space.open(A)
    window = device.region(0).map()
    device.close()
    with pytest.raises(Closed):
        window.read32(0)
    assert fake.machine.devices[0].seen[-1] == "close"


def test_a_slice_keeps_the_device_open_and_is_told(space: AddressSpace, fake: FakeKernel) -> None:
    device = space.open(A)
    window = device.region(0).map()
    taken = window.words[:4]
    with pytest.raises(BufferError):
        device.close()
    assert device.closed
    assert fake.machine.devices[0].opened == 1
    taken.release()
    window.close()
    assert fake.machine.devices[0].opened == 0


def test_sparse_areas(fake: FakeKernel) -> None:
    areas = struct.pack("=HHIII", 1, 1, 0, 2, 0) + struct.pack("=QQQQ", 0, 0x1000, 0x2000, 0x1000)
    fake.machine.devices[0].chain = areas
    with open_space(kernel=fake) as space:
        region = space.open(A).region(0)
        assert [(a.offset, a.size) for a in region.info.areas] == [(0, 0x1000), (0x2000, 0x1000)]
        assert region.map().size == 0x1000
        assert region.map(0x2000).read32(0x2000) == 0
        with pytest.raises(VfioError, match="cannot be mapped"):
            region.map(0x1000, 0x1000)


@pytest.mark.parametrize(
    ("count", "areas", "says"),
    [
        (1, (0x3000, 0x2000), "has an area of 0x2000 bytes at 0x3000 in a region of 0x4000"),
        (2, (0, 0x1000), "tells of 2 areas in 32 bytes"),
    ],
)
def test_areas_that_a_region_does_not_have(fake: FakeKernel, count: int, areas: tuple[int, int], says: str) -> None:
    chain = struct.pack("=HHIII", 1, 1, 0, count, 0) + struct.pack("=QQ", *areas)
    fake.machine.devices[0].chain = chain
    with open_space(kernel=fake) as space, pytest.raises(VfioError, match=says):
        space.open(A).region(0)


def test_interrupts(space: AddressSpace) -> None:
    device = space.open(A)
    msi = device.interrupt(IrqIndex.MSI)
    assert msi.info.count == 4
    with device.event() as first, device.event() as third:
        msi.signal([first, None, third])
        msi.trigger(0, 3)
        assert first.wait(5) == 1
        assert third.take() == 1
        assert third.take() == 0
        assert third.wait(0) == 0
        msi.disable()
        msi.trigger(0, 3)
        assert first.take() == 0
        with pytest.raises(VfioError, match="setting MSI "):
            msi.signal([first] * 5)
    with pytest.raises(VfioError):
        device.interrupt(99)
    assert device.interrupt(IrqIndex.MSIX).info.count == 0


@pytest.mark.parametrize("vectors", [1, 2])
def test_fewer_vectors_than_wanted_are_an_error_and_none_is_on(
    space: AddressSpace, fake: FakeKernel, vectors: int
) -> None:
    """The kernel answers with their number, which is no error of the request's."""
    fake.machine.devices[0].vectors = vectors
    msi = space.open(A).interrupt(IrqIndex.MSI)
    with space.open(A).event() as event:
        with pytest.raises(VfioError, match=f"the kernel has {vectors} vectors for it, not 4") as caught:
            msi.signal([event] * 3, start=1)
        assert caught.value.errno == errno.ENOSPC
        assert f"{vectors} vectors at most" in caught.value.hint
        msi.trigger(1)
        assert event.take() == 0
        msi.signal([event] * vectors)
        msi.trigger(0)
        assert event.take() == 1


def test_what_an_interrupt_cannot_do_is_told(space: AddressSpace) -> None:
    device = space.open(A)
    with pytest.raises(VfioError) as caught:
        device.interrupt(IrqIndex.MSI).mask()
    assert caught.value.errno == errno.ENOTTY
    assert "info.flags" in caught.value.hint
    with device.event() as event, pytest.raises(VfioError) as caught:
        device.interrupt(IrqIndex.MSI).signal([event] * 5)
    assert caught.value.errno == errno.EINVAL
    assert "exclude one another" in caught.value.hint
    event = device.event()
    event.close()
    with pytest.raises(Closed):
        device.interrupt(IrqIndex.MSI).signal([event])


def test_numbers_that_no_register_holds(space: AddressSpace) -> None:
    bar = space.open(A).region(RegionIndex.BAR0)
    with bar.map() as window:
        stores: list[Callable[[], None]] = [lambda: bar.write32(0, -1), lambda: bar.store(0, 256, 1)]
        stores.append(lambda: window.write32(0, 1 << 32))
        for wrong in stores:
            with pytest.raises(VfioError, match="no number") as caught:
                wrong()
            assert caught.value.errno == errno.EINVAL
    bar.write32(0, 0xFFFFFFFF)
    assert bar.read32(0) == 0xFFFFFFFF


@pytest.mark.parametrize("offset", [(1 << 63) - 0x1000, 1 << 63, (1 << 64) - 0x1000])
def test_a_region_beyond_what_a_file_can_have(fake: FakeKernel, offset: int) -> None:
    fake.machine.devices[0].file_offset = offset
    with open_space(kernel=fake) as space, pytest.raises(VfioError, match="beyond what a file can have"):
        space.open(A).region(0)


def test_regions_that_cannot_be_asked_for_are_not_passed_over(space: AddressSpace, fake: FakeKernel) -> None:
    device = space.open(A)
    fake.machine.devices[0].broken = errno.EIO
    with pytest.raises(VfioError, match="for region 0"):
        device.regions()
    device.close()
    with pytest.raises(Closed):
        device.regions()


def test_masking(space: AddressSpace, fake: FakeKernel) -> None:
    device = space.open(A)
    intx = device.interrupt(IrqIndex.INTX)
    intx.mask()
    intx.unmask()
    with device.event() as event:
        intx.unmask_by(event)
        intx.unmask_by(None)
    assert fake.machine.devices[0].seen[-2:] == ["mask", "unmask"]
    with pytest.raises(VfioError):
        device.interrupt(IrqIndex.MSI).mask()


def test_somebody_else_took_a_mapping_out(space: AddressSpace, fake: FakeKernel) -> None:
    """Who was handed the address space can unmap: the memory is free then, and the rest still ends in order."""
    memory, more = mmap.mmap(-1, 4096), mmap.mmap(-1, 4096)
    space.open(A)
    first, second = space.map(0x10000, memory), space.map(0x20000, more)
    space._unmap(0x10000, 4096)
    with pytest.raises(MappingError) as caught:
        first.unmap()
    assert caught.value.errno == errno.ENOENT
    assert not first.mapped
    assert space.mappings == (second,)
    first.unmap()
    memory.close()
    space._unmap(0x20000, 4096)
    with pytest.raises(MappingError):
        space.close()
    assert not second.mapped
    more.close()


def test_reset(space: AddressSpace) -> None:
    device = space.open(A)
    device.region(0).write32(0, 1)
    device.reset()
    assert device.region(0).read32(0) == 0
    assert not space.open(C).info.resets
    with pytest.raises(VfioError, match="no reset of its own") as caught:
        space.open(C).reset()
    assert caught.value.errno == errno.EINVAL


def test_hot_reset(space: AddressSpace, fake: FakeKernel) -> None:
    device = space.open(B)
    scope = device.hot_reset_scope()
    assert [f.address for f in scope.functions] == [B, C]
    by_ids = space.api is Api.IOMMUFD
    assert scope.owned is (False if by_ids else None)
    assert scope.groups == (frozenset() if by_ids else {6, 7})
    with pytest.raises(HotResetRefused, match=r"02:01\.0"):
        device.hot_reset()
    assert "hot reset" not in fake.machine.devices[1].seen
    space.open(C)
    assert device.hot_reset() == device.hot_reset_scope()
    assert device.hot_reset_scope().owned is (True if by_ids else None)
    assert all(d.seen[-1] == "hot reset" for d in fake.machine.devices[1:])
    fake.machine.devices[0].bus_resets = False
    with pytest.raises(HotResetRefused, match="no hot reset"):
        space.open(A).hot_reset()


@pytest.mark.parametrize("api", list(Api))
def test_a_hot_reset_behind_a_vmd_hits_what_is_behind_it(api: Api) -> None:
    """Its domains have more than the 16 bits that are told (vmd_find_free_domain, drivers/pci/controller/vmd.c)."""
    pair = [Address.parse(f"10000:02:0{n}.0") for n in range(2)]
    behind = FakeKernel(FakeMachine([FakeDevice(a, n, bus=2) for n, a in enumerate(pair)], cdev=True))
    with open_space(api, kernel=behind) as space:
        device = space.open(pair[0])
        with pytest.raises(HotResetRefused, match=r" 10000:02:01\.0"):
            device.hot_reset()
        assert [f.address for f in device.hot_reset_scope().functions] == pair


def test_a_neighbour_of_the_hosts_stops_a_hot_reset(space: AddressSpace, fake: FakeKernel) -> None:
    fake.machine.devices[2].driver = "nvme"
    with pytest.raises(HotResetRefused):
        space.open(B).hot_reset()


def test_features(space: AddressSpace, fake: FakeKernel) -> None:
    device = space.open(A)
    assert device.supports(Feature.LOW_POWER_ENTRY)
    assert not device.supports(Feature.DMA_BUF)
    device.enter_low_power()
    device.leave_low_power()
    assert fake.machine.devices[0].seen[-2:] == ["sleep", "wake"]
    with device.event() as event, pytest.raises(VfioMissing):
        device.enter_low_power(event)


def test_a_device_alone(space: AddressSpace, fake: FakeKernel) -> None:
    device = space.open(A)
    other = Device.from_descriptor(fake.duplicate(device.fileno()), A, kernel=fake)
    device.close()
    assert fake.machine.devices[0].seen == ["open"]
    other.region(0).write32(0, 5)
    if space.api is Api.LEGACY:
        with pytest.raises(HotResetRefused, match=rf"would also hit {A} \(group 5\)"):
            other.hot_reset()
    other.close()
    assert fake.machine.devices[0].seen == ["open", "close"]


def test_what_is_no_device_is_closed(fake: FakeKernel) -> None:
    with pytest.raises(VfioError):
        Device.from_descriptor(fake.open("dev/vfio/vfio"), A, kernel=fake)
    assert fake.files == {}
