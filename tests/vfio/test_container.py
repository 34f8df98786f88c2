"""The legacy interface: what is opened, shared, mapped and let go."""

from __future__ import annotations

import errno
import mmap

import pytest
from fake_vfio import FakeKernel
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.vfio import Access, Api, IovaRange, RegionIndex, open_space
from atoll.vfio.container import Container
from atoll.vfio.errors import (
    Busy,
    Closed,
    LockedMemory,
    MappingError,
    NotBound,
    NotPermitted,
    NotViable,
    UnsafeNoIommu,
    VfioError,
    VfioMissing,
)
from atoll.vfio.handover import export, receive
from atoll.vfio.uapi.container import Extension
from atoll.vfio.uapi.group import GroupRequest

A, B, C = address("01:00.0"), address("02:00.0"), address("02:01.0")


def kernel(*devices: FakeDevice, **options: object) -> FakeKernel:
    found = devices or (FakeDevice(A, 5, bus=1), FakeDevice(B, 6, bus=2), FakeDevice(C, 6, bus=2))
    return FakeKernel(FakeMachine(list(found), **options))  # type: ignore[arg-type]


def test_one_container_for_all_devices_of_an_owner() -> None:
    fake = kernel()
    with open_space(kernel=fake) as space:
        assert space.api is Api.LEGACY
        first, second, third = space.open(A), space.open(B), space.open(C)
        assert space.open(A) is first
        assert space.devices == (first, second, third)
        assert fake.log.count("open dev/vfio/vfio") == 1
        assert fake.log.count("open dev/vfio/6") == 1
        assert isinstance(space, Container)
        assert space.model is Extension.TYPE1V2_IOMMU
        assert first.info.resets
    assert fake.files == {}
    assert fake.references == {}
    assert fake.machine.owners == {}


def test_opening_and_closing_reset() -> None:
    fake = kernel()
    with open_space(kernel=fake) as space:
        space.open(A).close()
        assert fake.machine.devices[0].seen == ["open", "close"]
        assert space.devices == ()


def test_a_group_is_let_go_with_its_last_device() -> None:
    fake = kernel()
    with open_space(kernel=fake) as space:
        space.open(A)
        second, third = space.open(B), space.open(C)
        second.close()
        assert 6 in fake.machine.group_files
        third.close()
        assert 6 not in fake.machine.group_files
        assert 5 in fake.machine.group_files
        space.open(B)
        assert 6 in fake.machine.group_files


def test_mappings_end_with_the_last_group() -> None:
    fake = kernel()
    memory = mmap.mmap(-1, 8192)
    with open_space(kernel=fake) as space:
        device = space.open(A)
        mapping = space.map(0x10000, memory)
        with pytest.raises(BufferError):
            memory.close()
        device.close()
        assert not mapping.mapped
        memory.close()
        space.open(A)
        assert space.mappings == ()


def test_the_last_group_takes_its_mappings_out_of_what_others_share() -> None:
    """As long as another process has the container with its groups, the kernel drops nothing by itself."""
    fake = kernel()
    with open_space(kernel=fake) as space:
        device = space.open(A)
        space.map(0x10000, mmap.mmap(-1, 4096))
        sent = export(space)
        with receive(sent.text, [fake.duplicate(n) for n in sent.descriptors], kernel=fake) as other:
            device.close()
            with other.map(0x10000, mmap.mmap(-1, 4096)):
                pass


def test_ranges_and_pages() -> None:
    with open_space(kernel=kernel()) as space:
        with pytest.raises(MappingError, match="no group yet") as caught:
            space.iova_ranges()
        assert "open a device first" in caught.value.hint
        space.open(A)
        assert space.iova_ranges() == (IovaRange(0, 0xFEDFFFFF), IovaRange(0xFEF00000, (1 << 39) - 1))
        assert space.iova_ranges()[0].holds(0xFEDFF000, 0x1000)
        assert not space.iova_ranges()[0].holds(0xFEDFF000, 0x1001)
        assert space.page_sizes == (4096, 1 << 21, 1 << 30)
        assert space.alignment == 4096
        before = space.mappings_left
        assert before is not None
        with space.map(0x1000, mmap.mmap(-1, 4096), access=Access.READ):
            assert space.mappings_left == before - 1


def test_mapping_refused() -> None:
    fake = kernel(limit=2, locked_limit=1 << 20)
    memory = mmap.mmap(-1, 2 << 20)
    small = memoryview(memory)[:4096]
    with open_space(kernel=fake) as space:
        space.open(A)
        with space.map(0, small):
            with pytest.raises(MappingError) as caught:
                space.map(0, small)
            assert caught.value.errno == errno.EEXIST
        with pytest.raises(MappingError, match="no such place"):
            space.map(0xFEE00000, small)
        with pytest.raises(MappingError):
            space.map(0x800, small)
        with pytest.raises(MappingError, match="cannot be used"):
            space.map(0, bytes(4096))
        with pytest.raises(MappingError):
            space.map(0, bytearray())
        with pytest.raises(MappingError):
            space.map((1 << 64) - 4096, memory)
        with pytest.raises(MappingError, match="no access"):
            space.map(0, small, access=Access(0))
        with pytest.raises(LockedMemory, match="RLIMIT_MEMLOCK"):
            space.map(0, memory)
        space.map(0, small)
        space.map(4096, small)
        with pytest.raises(MappingError) as caught:
            space.map(8192, small)
        assert caught.value.errno == errno.ENOSPC
        space.unmap_all()
        assert space.mappings == ()
    small.release()
    memory.close()


def test_somebody_else_has_the_group() -> None:
    fake = kernel()
    with open_space(kernel=fake) as space, open_space(kernel=fake) as other:
        space.open(A)
        with pytest.raises(Busy) as caught:
            other.open(A)
        assert caught.value.errno == errno.EBUSY
        assert "in use" in caught.value.message
        other.open(B)


def test_not_viable_names_the_neighbour() -> None:
    fake = kernel(FakeDevice(A, 5), FakeDevice(B, 5, driver="snd_hda_intel"), FakeDevice(C, 5, driver="pcieport"))
    with open_space(kernel=fake) as space:
        with pytest.raises(NotViable, match=r"02:00.0 is bound to snd_hda_intel") as caught:
            space.open(A)
        assert caught.value.siblings == ((str(B), "snd_hda_intel"),)
    assert fake.files == {}


def test_not_bound() -> None:
    fake = kernel(FakeDevice(A, 5, driver="nvidia"), FakeDevice(B, 6, driver=None), FakeDevice(C, 6))
    with open_space(kernel=fake) as space:
        with pytest.raises(NotBound, match="bound to nvidia"):
            space.open(A)
        with pytest.raises(NotBound, match="no driver"):
            space.open(B)
        with pytest.raises(NotBound, match="there is no device"):
            space.open(address("77:00.0"))
        space.open(C)


def test_no_model_and_no_isolated_interrupts() -> None:
    with open_space(kernel=kernel(type1=False)) as space, pytest.raises(VfioMissing, match="IOMMU model"):
        space.open(A)
    with open_space(kernel=kernel(isolated_msi=False)) as space, pytest.raises(NotPermitted) as caught:
        space.open(A)
    assert "allow_unsafe_interrupts" in caught.value.hint


def test_power() -> None:
    with open_space(kernel=kernel(type1=False, spapr=True)) as space:
        space.open(A).reset()
        with pytest.raises(MappingError, match="SPAPR"):
            space.map(0, mmap.mmap(-1, 4096))


def test_without_an_iommu() -> None:
    fake = kernel(noiommu=frozenset({5}))
    with open_space(kernel=fake) as space, pytest.raises(UnsafeNoIommu) as caught:
        space.open(A)
    assert caught.value.exit_code == 4
    with open_space(kernel=fake, unsafe_noiommu=True) as space:
        space.open(A)
        assert fake.log.count("open dev/vfio/noiommu-5") == 1
        with pytest.raises(MappingError):
            space.iova_ranges()
    assert fake.files == {}


@pytest.mark.parametrize(("number", "kind"), [(errno.EACCES, NotPermitted), (errno.ENOENT, VfioMissing)])
def test_no_container(number: int, kind: type[VfioError]) -> None:
    fake = kernel(unopenable={"dev/vfio/vfio": number})
    with pytest.raises(kind) as caught:
        open_space(kernel=fake)
    assert caught.value.hint


def test_a_token() -> None:
    from uuid import uuid4

    token = uuid4()
    fake = kernel(FakeDevice(A, 5, token=token.bytes))
    with open_space(kernel=fake) as space:
        with pytest.raises(NotPermitted, match="token"):
            space.open(A)
        assert fake.machine.group_files == {}
        space.open(A, token=token)


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.EAGAIN, Busy, "it is being reset elsewhere"),
        (errno.EACCES, NotPermitted, "wants a token"),
        (errno.EIO, VfioError, "does not answer"),
    ],
)
def test_a_device_that_its_group_does_not_give(number: int, kind: type[VfioError], says: str) -> None:
    fake = kernel()
    with open_space(kernel=fake) as space:
        space.open(A)
    calls = [call for call in fake.log if call != "close"]
    fake = kernel()
    fake.fail_at = {1 + calls.index(f"ioctl {GroupRequest.GET_DEVICE_FD:#x}"): number}
    with open_space(kernel=fake) as space, pytest.raises(kind, match=says) as caught:
        space.open(A)
    assert caught.value.errno == number
    assert fake.files == {}


def test_used_after_the_end() -> None:
    fake = kernel()
    with open_space(kernel=fake) as space:
        device = space.open(A)
        region = device.region(RegionIndex.BAR0)
    for use in (lambda: space.open(A), lambda: device.reset(), lambda: region.read32(0), lambda: device.fileno()):
        with pytest.raises(Closed):
            use()
    space.close()
    device.close()
