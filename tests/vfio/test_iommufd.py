"""The newer interface: I/O address spaces and devices by their own nodes."""

from __future__ import annotations

import errno
import mmap
from uuid import uuid4

import pytest
from fake_vfio import FakeKernel
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.vfio import Api, IovaRange, interfaces, open_space
from atoll.vfio.errors import Busy, MappingError, NotBound, NotPermitted, NotViable, UnsafeNoIommu, VfioError
from atoll.vfio.errors import VfioMissing as Missing
from atoll.vfio.iommufd import IoAddressSpace
from atoll.vfio.uapi.iommufd import OptionId

A, B, C = address("01:00.0"), address("02:00.0"), address("02:01.0")


def kernel(*devices: FakeDevice, cdev: bool = True, **options: object) -> FakeKernel:
    found = devices or (FakeDevice(A, 5, bus=1), FakeDevice(B, 6, bus=2), FakeDevice(C, 6, bus=2))
    return FakeKernel(FakeMachine(list(found), cdev=cdev, **options))  # type: ignore[arg-type]


def made(fake: FakeKernel) -> IoAddressSpace:
    space = open_space(kernel=fake)
    assert isinstance(space, IoAddressSpace)
    return space


def test_the_interface_is_found_by_its_nodes() -> None:
    assert interfaces(kernel()) == (Api.LEGACY, Api.IOMMUFD)
    assert interfaces(kernel(cdev=False)) == (Api.LEGACY,)
    with pytest.raises(Missing, match="/dev/iommu"):
        open_space(Api.IOMMUFD, kernel=kernel(cdev=False))
    with pytest.raises(UnsafeNoIommu):
        open_space(Api.IOMMUFD, kernel=kernel(), unsafe_noiommu=True)


def test_no_container_and_nothing_bound_yet() -> None:
    fake = kernel(FakeDevice(A, 5, driver=None), container=False)
    assert interfaces(fake) == ()
    with made(fake) as space, pytest.raises(NotBound):
        space.open(A)


@pytest.mark.parametrize("long_bind", [False, True])
def test_devices_in_one_space(long_bind: bool) -> None:
    fake = kernel(long_bind=long_bind)
    with made(fake) as space:
        first, second = space.open(A), space.open(B)
        assert space.devices == (first, second)
        assert len(set(space.device_ids.values())) == 2
        space.detach(first)
        space.attach(first)
    assert fake.files == {}
    assert fake.references == {}
    assert fake.machine.owners == {}
    assert fake.machine.devices[0].seen == ["open", "close"]


def test_mappings_outlive_devices() -> None:
    memory = mmap.mmap(-1, 8192)
    with made(kernel()) as space:
        assert space.iova_ranges() == (IovaRange(0, (1 << 64) - 1),)
        mapping = space.map(0x10000, memory)
        space.open(A).close()
        assert mapping.mapped
        assert space.alignment == 4096
        assert space.page_sizes is None
        assert space.mappings_left is None
    assert not mapping.mapped
    memory.close()


def test_more_ranges_than_expected() -> None:
    many = tuple((n << 20, (n << 20) + 0xFFFF) for n in range(40))
    with made(kernel(FakeDevice(A, 5, aperture=many))) as space:
        space.open(A)
        assert space.iova_ranges() == tuple(IovaRange(*r) for r in many)


def test_a_device_that_does_not_fit_the_mappings() -> None:
    fake = kernel()
    with made(fake) as space:
        with space.map(0xFEE00000, mmap.mmap(-1, 4096)):
            with pytest.raises(MappingError):
                space.open(A)
            assert fake.machine.owners == {}
        space.open(A)


def test_refusals() -> None:
    with made(kernel(FakeDevice(A, 5), FakeDevice(B, 5, driver="ahci"))) as space:
        with pytest.raises(NotViable, match="ahci"):
            space.open(A)
        with pytest.raises(NotBound, match="ahci"):
            space.open(B)
    with made(kernel(isolated_msi=False)) as space, pytest.raises(NotPermitted):
        space.open(A)
    fake = kernel()
    with open_space(Api.LEGACY, kernel=fake) as legacy, made(fake) as space:
        legacy.open(A)
        with pytest.raises(Busy):
            space.open(A)
        space.open(B)
        with pytest.raises(Busy):
            legacy.open(C)
    with made(fake) as space, made(fake) as other:
        space.open(A)
        with pytest.raises(Busy):
            other.open(A)
    assert fake.files == {}


class Unmapped(FakeDevice):
    """A device without an IOMMU, as newer kernels call it."""

    @property
    def name(self) -> str:
        return "noiommu-vfio0"


@pytest.mark.parametrize("fake", [kernel(noiommu=frozenset({5})), kernel(Unmapped(A, 5, bus=1))])
def test_a_device_without_an_iommu_is_not_opened(fake: FakeKernel) -> None:
    """Kernels with CONFIG_IOMMUFD_NOIOMMU bind it, and let memory be mapped for it."""
    with made(fake) as space, pytest.raises(UnsafeNoIommu, match="would reach all memory"):
        space.open(A)
    assert fake.machine.owners == {}
    assert fake.files == {}


def test_no_nodes_for_devices() -> None:
    fake = kernel()
    fake.machine.unopenable[f"dev/vfio/devices/{fake.machine.devices[0].name}"] = errno.ENOENT
    with made(fake) as space, pytest.raises(Missing, match="CONFIG_VFIO_DEVICE_CDEV"):
        space.open(A)


def test_a_token() -> None:
    token = uuid4()
    with made(kernel(FakeDevice(A, 5, token=token.bytes))) as space:
        with pytest.raises(NotPermitted, match="token"):
            space.open(A)
        space.open(A, token=token)


def test_options_and_destroying() -> None:
    with made(kernel()) as space:
        assert space.option(OptionId.HUGE_PAGES) == 1
        space.huge_pages(False)
        assert space.option(OptionId.HUGE_PAGES) == 0
        space.count_by_process(True)
        assert space.option(OptionId.RLIMIT_MODE) == 1
        device = space.open(A)
        with pytest.raises(VfioError) as caught:
            space.destroy()
        assert caught.value.errno == errno.EBUSY
        device.close()
        mapping = space.map(0, mmap.mmap(-1, 4096))
        space.destroy()
        assert not mapping.mapped
        with pytest.raises(VfioError):
            space.open(A)
