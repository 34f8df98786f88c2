"""The secret that opens virtual functions."""

from __future__ import annotations

import uuid

import pytest
from fake_vfio import FakeKernel
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.vfio import Api, open_space
from atoll.vfio.errors import Busy, NotPermitted, VfioMissing

A, B = address("01:00.0"), address("02:00.0")
EITHER = pytest.mark.parametrize("api", list(Api))


def machine(*, long_bind: bool = True) -> FakeKernel:
    devices = [FakeDevice(A, 5, bus=1, physical=True), FakeDevice(B, 6, bus=2)]
    return FakeKernel(FakeMachine(devices, cdev=True, long_bind=long_bind))


@EITHER
def test_the_secret_of_virtual_functions(api: Api) -> None:
    kernel = machine()
    token = uuid.uuid4()
    with open_space(api, kernel=kernel) as space:
        space.open(A).set_vf_token(token)
        assert kernel.machine.devices[0].seen[-1] == f"token {token.hex}"
        with pytest.raises(VfioMissing):
            space.open(B).set_vf_token(token)


def test_a_kernel_whose_nodes_take_no_token_wants_none() -> None:
    kernel = machine(long_bind=False)
    token = uuid.uuid4()
    with open_space(Api.IOMMUFD, kernel=kernel) as space:
        assert space.open(B, token=token).address == B
        with open_space(Api.IOMMUFD, kernel=kernel) as other, pytest.raises(Busy):
            other.open(B, token=token)
    kernel = machine()
    kernel.machine.devices[1].token = token.bytes
    with open_space(Api.IOMMUFD, kernel=kernel) as space:
        with pytest.raises(NotPermitted):
            space.open(B, token=uuid.uuid4())
        space.open(B, token=token)
