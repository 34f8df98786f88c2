"""The model that stands for the kernel keeps the kernel's rules (drivers/vfio/group.c, container.c, vfio_main.c)."""

from __future__ import annotations

import errno
import struct

import pytest
from fake_vfio import FakeKernel
from vfio_machine import FakeDevice, FakeMachine, address

A, B = address("01:00.0"), address("01:00.1")
STATUS, SET, UNSET, GET_DEVICE, SET_IOMMU, MAP = 0x3B67, 0x3B68, 0x3B69, 0x3B6A, 0x3B66, 0x3B71


@pytest.fixture
def fake() -> FakeKernel:
    return FakeKernel(FakeMachine([FakeDevice(A, 5), FakeDevice(B, 5)], cdev=True))


def number_of(fake: FakeKernel, descriptor: int, request: int, argument: int | bytearray = 0) -> int:
    """Return the error number of a request, 0 where it is granted."""
    try:
        fake.ioctl(descriptor, request, argument)
    except OSError as error:
        return error.errno or -1
    return 0


def fd(number: int) -> bytearray:
    return bytearray(struct.pack("=i", number))


def test_order_of_the_legacy_interface(fake: FakeKernel) -> None:
    container, group = fake.open("dev/vfio/vfio"), fake.open("dev/vfio/5")
    name = bytearray(str(A).encode() + b"\0")
    with pytest.raises(OSError, match="busy"):
        fake.open("dev/vfio/5")
    assert number_of(fake, container, SET_IOMMU, 3) == errno.EINVAL
    assert number_of(fake, group, GET_DEVICE, name) == errno.EINVAL
    assert number_of(fake, group, UNSET) == errno.EINVAL
    assert number_of(fake, group, SET, fd(group)) == errno.EINVAL
    assert number_of(fake, group, SET, fd(container)) == 0
    assert number_of(fake, group, SET, fd(container)) == errno.EINVAL
    assert number_of(fake, container, MAP, bytearray(32)) == errno.EINVAL
    assert number_of(fake, container, SET_IOMMU, 99) == errno.ENODEV
    assert number_of(fake, container, SET_IOMMU, 3) == 0
    device = fake.ioctl(group, GET_DEVICE, name)
    assert number_of(fake, group, UNSET) == errno.EBUSY
    fake.close(group)
    fake.close(container)
    assert 5 in fake.machine.group_files  # an open device holds its group, and the group its container
    assert fake.machine.owners
    fake.close(device)
    assert fake.machine.group_files == {}
    assert fake.machine.owners == {}
    assert fake.references == {}


def test_viability(fake: FakeKernel) -> None:
    group = fake.open("dev/vfio/5")
    status = bytearray(struct.pack("=II", 8, 0))
    fake.ioctl(group, STATUS, status)
    assert status[4] == 1
    fake.machine.devices[1].driver = "nvidia"
    fake.ioctl(group, STATUS, status)
    assert status[4] == 0
    assert number_of(fake, group, SET, fd(fake.open("dev/vfio/vfio"))) == errno.EPERM


def test_a_node_of_its_own_is_mute_until_it_is_bound(fake: FakeKernel) -> None:
    device = fake.open(f"dev/vfio/devices/{fake.machine.devices[0].name}")
    assert number_of(fake, device, 0x3B6B, bytearray(struct.pack("=6I", 24, 0, 0, 0, 0, 0))) == errno.EINVAL
    with pytest.raises(OSError, match="Invalid"):
        fake.pread(device, 4, 0)
    iommu = fake.open("dev/iommu")
    assert number_of(fake, device, 0x3B76, bytearray(struct.pack("=IIiI", 16, 0, iommu, 0))) == 0
    with pytest.raises(OSError, match="busy"):
        fake.open("dev/vfio/5")
    fake.close(device)
    fake.open("dev/vfio/5")
