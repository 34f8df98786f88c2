"""Leases through VFIO: one address space a holder, nothing left open, decoding as its owner wants it."""

from __future__ import annotations

import pytest
from fake_vfio import FakeKernel
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.act.live.holders import Holders
from atoll.pci.header import Command
from atoll.vfio import Api
from atoll.vfio.errors import VfioError

RED, BLUE = address("01:00.0"), address("02:00.0")
HOLDER = "atoll-hold:red"


def kernel(*, resets: bool = True, bus_resets: bool = True) -> FakeKernel:
    devices = [FakeDevice(RED, 5, bus=1, resets=resets, bus_resets=bus_resets), FakeDevice(BLUE, 6, bus=2)]
    return FakeKernel(FakeMachine(devices, cdev=True))


@pytest.mark.parametrize("api", [Api.LEGACY, Api.IOMMUFD])
def test_devices_of_a_holder_share_a_space_and_holders_do_not(api: Api) -> None:
    fake = kernel()
    holders = Holders(api=api, kernel=fake)
    red = holders.lease(RED, holder=HOLDER)
    assert holders.lease(RED, holder=HOLDER).device is red.device
    holders.lease(BLUE, holder="atoll-hold:blue")
    spaces = holders.space(HOLDER), holders.space("atoll-hold:blue")
    assert None not in spaces
    assert spaces[0] is not spaces[1]
    holders.close()
    assert fake.files == {}


def test_what_cannot_be_opened_leaves_nothing() -> None:
    fake = kernel()
    holders = Holders(api=Api.LEGACY, kernel=fake)
    with pytest.raises(VfioError) as caught:
        holders.lease(address("09:00.0"), holder=HOLDER)
    assert isinstance(caught.value, OSError)
    assert holders.space(HOLDER) is None
    assert fake.files == {}


def test_registers_are_reached_where_the_owner_has_decoding_off() -> None:
    holders = Holders(api=Api.LEGACY, kernel=kernel())
    lease = holders.lease(RED, holder=HOLDER)
    lease.write32(0, 0x10, 0xDEADBEEF)
    lease.device.decode(False)
    assert lease.read32(0, 0x10) == 0xDEADBEEF
    assert Command.MEMORY not in lease.device.command
    with pytest.raises(VfioError):
        lease.read32(0, 1 << 30)
    holders.close()


@pytest.mark.parametrize(("resets", "bus_resets"), [(True, True), (False, True), (False, False)])
def test_resets_are_declared(resets: bool, bus_resets: bool) -> None:
    holders = Holders(api=Api.LEGACY, kernel=kernel(resets=resets, bus_resets=bus_resets))
    lease = holders.lease(RED, holder=HOLDER)
    assert (lease.reset_on_open, lease.reset_on_close) == (resets, resets or bus_resets)
    lease.close()
    lease.close()
    holders.close()
